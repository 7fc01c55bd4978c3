//! What a bundle must satisfy before the node serves it, and what it becomes then.

use std::path::Path;
use std::sync::OnceLock;

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use sealwire_proto::anchors::{AnchorError, Anchors};
use sealwire_proto::v1::{Bundle, NackReason};
use sealwire_proto::validate::{self, Checked, Names, Rejection};
use zeroize::Zeroizing;

use super::resolver::Served;

/// Checks bundles for one node.
#[derive(Debug)]
pub(crate) struct Validator {
    server_names: Vec<String>,
    /// The operator's roots, which win over those in a bundle.
    configured: Option<Anchors>,
    platform: OnceLock<Anchors>,
}

impl Validator {
    pub(crate) fn new(server_names: Vec<String>, trust_roots: Option<&Path>) -> Result<Self, AnchorError> {
        let configured = trust_roots.map(Anchors::from_pem_file).transpose()?;
        Ok(Self { server_names, configured, platform: OnceLock::new() })
    }

    /// Checks a bundle at `now`; `served` is what is served of the certificate, `None` for a rollback, which
    /// may go back.
    pub(crate) fn check(
        &self,
        mut bundle: Bundle,
        served: Option<&Served>,
        now: UnixTime,
    ) -> Result<Served, Rejection> {
        // Out of the message and into memory that is wiped, before anything can fail.
        let key = Zeroizing::new(std::mem::take(&mut bundle.key));
        let chain: Vec<_> = std::mem::take(&mut bundle.chain).into_iter().map(CertificateDer::from).collect();
        let own;
        let anchors = match &self.configured {
            Some(configured) => configured,
            None if bundle.trust_anchors.is_empty() => self.platform.get_or_init(Anchors::platform),
            None => {
                let roots = std::mem::take(&mut bundle.trust_anchors).into_iter().map(CertificateDer::from);
                own = Anchors::from_der(roots)
                    .map_err(|error| Rejection::new(NackReason::Malformed, error.to_string()))?;
                &own
            }
        };
        let key = PrivatePkcs8KeyDer::from(key.as_slice());
        let Checked { certified_key, leaf } =
            validate::validate(&chain, &key, Names::Any(&self.server_names), anchors, now)?;
        let checked = Served {
            certificate: std::mem::take(&mut bundle.certificate),
            generation: bundle.generation,
            leaf,
            certified_key,
        };
        match served {
            Some(served) => not_stale(&checked, served).map(|()| checked),
            None => Ok(checked),
        }
    }

    /// The names the node must serve and that this leaf covers.
    pub(crate) fn covered(&self, served: &Served) -> Vec<String> {
        let leaf = served.certified_key.cert.first();
        leaf.map(|leaf| validate::covered(leaf, &served.leaf, &self.server_names)).unwrap_or_default()
    }
}

/// Numbers only grow; the same number must be the same leaf.
fn not_stale(new: &Served, served: &Served) -> Result<(), Rejection> {
    if new.generation > served.generation {
        return Ok(());
    }
    if new.generation == served.generation && new.leaf.sha256 == served.leaf.sha256 {
        return Ok(());
    }
    let detail = if new.generation == served.generation {
        format!("generation {} is served already, with another leaf", served.generation)
    } else {
        format!("generation {} is older than {}, which is served", new.generation, served.generation)
    };
    Err(Rejection::new(NackReason::StaleGeneration, detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use time::{Duration, OffsetDateTime};

    use super::*;

    /// A sound bundle with a CA of its own.
    pub(crate) fn bundle_for(certificate: &str, generation: u64, names: &[&str]) -> Bundle {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (now - Duration::HOUR, now + Duration::HOUR);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Bundle {
            certificate: certificate.to_owned(),
            generation,
            chain: vec![leaf.der().to_vec()],
            key: key.serialize_der(),
            trust_anchors: vec![issuer.der().to_vec()],
            staple: Vec::new(),
            staple_policy: 0,
            staple_grace_s: 0,
            r#use: 0,
        }
    }

    pub(crate) fn checked(bundle: &Bundle) -> Served {
        let names: Vec<_> =
            validate::LeafFacts::parse(&CertificateDer::from(bundle.chain[0].as_slice())).unwrap().names;
        let first = names.iter().map(|name| name.replace('*', "x")).collect();
        Validator::new(first, None).unwrap().check(bundle.clone(), None, UnixTime::now()).unwrap()
    }

    fn validator() -> Validator {
        Validator::new(vec!["a.example".into()], None).unwrap()
    }

    fn reason(bundle: &Bundle, served: Option<&Served>) -> Option<NackReason> {
        validator().check(bundle.clone(), served, UnixTime::now()).err().map(|rejection| rejection.reason)
    }

    #[test]
    fn stale_generations_are_refused_unless_rolled_back() {
        let (old, new) = (bundle_for("web", 1, &["a.example"]), bundle_for("web", 2, &["a.example"]));
        let served = checked(&new);
        assert_eq!(reason(&new, Some(&served)), None, "the same again is fine");
        assert_eq!(reason(&old, Some(&served)), Some(NackReason::StaleGeneration));
        assert_eq!(reason(&old, None), None, "a rollback");
        let other = bundle_for("web", 2, &["a.example"]);
        assert_eq!(reason(&other, Some(&served)), Some(NackReason::StaleGeneration));
    }

    #[test]
    fn faults_have_their_reasons() {
        let good = bundle_for("web", 1, &["a.example"]);
        assert_eq!(reason(&bundle_for("web", 1, &["b.example"]), None), Some(NackReason::NameMismatch));
        let mut bundle = good.clone();
        bundle.trust_anchors.clear();
        assert_eq!(reason(&bundle, None), Some(NackReason::UntrustedChain), "not a root of the system's");
        let mut bundle = good.clone();
        bundle.trust_anchors = vec![vec![1, 2, 3]];
        assert_eq!(reason(&bundle, None), Some(NackReason::Malformed));
        let mut bundle = good;
        bundle.key.clear();
        assert_eq!(reason(&bundle, None), Some(NackReason::Malformed));
    }

    #[test]
    fn configured_roots_win_over_those_in_a_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let other = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(&path, other.pem()).unwrap();
        let strict = Validator::new(vec!["a.example".into()], Some(&path)).unwrap();
        let rejection =
            strict.check(bundle_for("web", 1, &["a.example"]), None, UnixTime::now()).unwrap_err();
        assert_eq!(rejection.reason, NackReason::UntrustedChain);
    }

    #[test]
    fn only_names_the_node_must_serve_are_covered() {
        let names = ["a.example".to_owned(), "c.example".to_owned()];
        let validator = Validator::new(names.to_vec(), None).unwrap();
        let served = checked(&bundle_for("web", 1, &["a.example", "b.example"]));
        assert_eq!(validator.covered(&served), ["a.example"]);
    }
}
