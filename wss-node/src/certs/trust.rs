//! Roots of internal issuers as the agent announces them, the old and the new while one takes the other's place: a
//! chain to either is then good, whichever comes first, the bundle or the change.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::{AnchorError, Anchors, roots_sha256};

/// Issuers whose roots are kept. An agent has a handful.
const MAX_ISSUERS: usize = 64;
/// Roots of one issuer: two, and what was left by earlier changes.
const MAX_ROOTS: usize = 16;

/// Roots by issuer. They are forgotten when the node stops: the agent announces them after each Hello.
#[derive(Debug, Default)]
pub(crate) struct AnnouncedRoots {
    by_issuer: BTreeMap<String, Vec<CertificateDer<'static>>>,
}

/// Why announced roots are not in use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error(transparent)]
    Unusable(#[from] AnchorError),
    #[error("{0}")]
    TooMany(String),
    /// The operator's file decides, and it lacks one of them.
    #[error(
        "delivery.trust_roots does not hold {0} of the {1} roots; add them to the file and restart the node"
    )]
    NotConfigured(usize, usize),
}

impl AnnouncedRoots {
    /// Replaces the roots of an issuer; tells their digest. With `configured` roots nothing is kept: either they
    /// hold all that is announced, or it is not trusted.
    pub(crate) fn replace(
        &mut self,
        issuer: &str,
        roots: Vec<Vec<u8>>,
        configured: Option<&Anchors>,
    ) -> Result<[u8; 32], TrustError> {
        if roots.len() > MAX_ROOTS {
            return Err(TrustError::TooMany(format!("{} roots, at most {MAX_ROOTS} are taken", roots.len())));
        }
        let roots: Vec<_> = roots.into_iter().map(CertificateDer::from).collect();
        Anchors::from_der(roots.iter().cloned())?;
        let digest = roots_sha256(&roots);
        if let Some(configured) = configured {
            let missing = roots.iter().filter(|root| !configured.certificates().contains(root)).count();
            return if missing == 0 {
                Ok(digest)
            } else {
                Err(TrustError::NotConfigured(missing, roots.len()))
            };
        }
        if !self.by_issuer.contains_key(issuer) && self.by_issuer.len() >= MAX_ISSUERS {
            return Err(TrustError::TooMany(format!("more than {MAX_ISSUERS} issuers")));
        }
        self.by_issuer.insert(issuer.to_owned(), roots);
        Ok(digest)
    }

    /// Those of a bundle and the announced ones, each once.
    ///
    /// # Errors
    /// One in the bundle cannot be used.
    pub(crate) fn with(&self, own: Vec<CertificateDer<'static>>) -> Result<Anchors, AnchorError> {
        let mut all = own;
        for root in self.by_issuer.values().flatten() {
            if !all.contains(root) {
                all.push(root.clone());
            }
        }
        Anchors::from_der(all)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::certs::validate::tests::authority;

    fn root() -> Vec<u8> {
        authority().der().to_vec()
    }

    #[test]
    fn an_announcement_replaces_the_one_before_it() {
        let mut roots = AnnouncedRoots::default();
        let (old, new, own) = (root(), root(), root());
        let digest = roots.replace("pki", vec![old.clone()], None).unwrap();
        let both = roots.replace("pki", vec![old.clone(), new.clone()], None).unwrap();
        assert_ne!(digest, both);
        let others = vec![CertificateDer::from(own), CertificateDer::from(old)];
        assert_eq!(roots.with(others.clone()).unwrap().as_slice().len(), 3, "each once");
        assert_ne!(roots.replace("pki", vec![new], None).unwrap(), both);
        assert_eq!(roots.with(Vec::new()).unwrap().as_slice().len(), 1);
    }

    #[test]
    fn what_the_operator_has_configured_wins() {
        let mut roots = AnnouncedRoots::default();
        let (configured, other) = (root(), root());
        let file = Anchors::from_der([CertificateDer::from(configured.clone())]).unwrap();
        assert!(roots.replace("pki", vec![configured.clone()], Some(&file)).is_ok());
        let error = roots.replace("pki", vec![configured, other], Some(&file)).unwrap_err();
        assert!(matches!(error, TrustError::NotConfigured(1, 2)), "{error}");
    }

    #[test]
    fn there_are_limits() {
        let mut roots = AnnouncedRoots::default();
        let one = root();
        assert!(matches!(roots.replace("pki", vec![vec![1]], None), Err(TrustError::Unusable(_))));
        let many = vec![one.clone(); MAX_ROOTS + 1];
        assert!(matches!(roots.replace("pki", many, None), Err(TrustError::TooMany(_))));
        for number in 0..MAX_ISSUERS {
            roots.replace(&number.to_string(), vec![one.clone()], None).unwrap();
        }
        assert!(matches!(roots.replace("more", vec![one.clone()], None), Err(TrustError::TooMany(_))));
        assert!(roots.replace("0", vec![one], None).is_ok(), "a known one may change");
    }
}
