//! Which of a CA's chains to serve (RFC 8555 section 7.4.2): the one that ends at the preferred root.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::chain::parse_chain;
use super::http::Answer;
use super::order::OrderRun;

/// CAs offer one or two beside the default.
const MAX_ALTERNATES: usize = 8;

impl OrderRun<'_> {
    /// The preferred chain if there is one; the default, with a warning, if not. No certificate waits for it.
    pub(super) async fn preferred(
        &self,
        default: Vec<CertificateDer<'static>>,
        answer: Option<&Answer>,
    ) -> Vec<CertificateDer<'static>> {
        let Some(wanted) = self.preferred_chain else { return default };
        if ends_at(&default, wanted) {
            return default;
        }
        let alternates = answer.into_iter().flat_map(|answer| answer.links("alternate"));
        let mut seen = vec![roots_of(&default)];
        for url in alternates.take(MAX_ALTERNATES) {
            let chain = match self.wire.ask("download an alternate chain", url, self.signer, None).await {
                Ok(reply) => parse_chain(&String::from_utf8_lossy(&reply.body)),
                Err(error) => Err(error.to_string()),
            };
            match chain {
                // The same leaf, or it would not be for our key.
                Ok(chain) if chain.first() == default.first() && ends_at(&chain, wanted) => return chain,
                Ok(chain) => seen.push(roots_of(&chain)),
                Err(why) => {
                    tracing::warn!(issuer = self.ca.issuer, url, why, "an alternate chain is left out")
                }
            }
        }
        tracing::warn!(
            issuer = self.ca.issuer,
            preferred_chain = wanted,
            offered = seen.join(", "),
            "the CA offers no chain to the preferred root; taking its default"
        );
        default
    }
}

/// Whether the chain builds to a root of that common name: its last certificate is signed by it, or one of
/// its certificates is it.
fn ends_at(chain: &[CertificateDer<'_>], wanted: &str) -> bool {
    let named = |name: &X509Name<'_>| common_name(name) == Some(wanted);
    let parsed = |certificate: &CertificateDer<'_>, issuer: bool| {
        X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
            named(if issuer { certificate.issuer() } else { certificate.subject() })
        })
    };
    let authorities = chain.get(1..).unwrap_or_default();
    chain.last().is_some_and(|last| parsed(last, true)) || authorities.iter().any(|one| parsed(one, false))
}

/// The name of the root above a chain, for messages.
fn roots_of(chain: &[CertificateDer<'_>]) -> String {
    let last = chain.last().and_then(|last| X509Certificate::from_der(last).ok());
    let name = last
        .map(|(_, last)| common_name(last.issuer()).map_or_else(|| last.issuer().to_string(), str::to_owned));
    format!("\"{}\"", name.unwrap_or_default())
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name().next().and_then(|name| name.as_str().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    #[test]
    fn chains_are_known_by_the_root_above_or_within() {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = CertifiedIssuer::self_signed(params("Root X1"), KeyPair::generate().unwrap()).unwrap();
        let middle =
            CertifiedIssuer::signed_by(params("Middle"), KeyPair::generate().unwrap(), &root).unwrap();
        let mut leaf = params("Root X9");
        leaf.is_ca = IsCa::NoCa;
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &middle).unwrap();
        let chain = vec![leaf.der().clone(), middle.der().clone()];
        assert!(ends_at(&chain, "Root X1"));
        assert!(ends_at(&chain, "Middle"));
        assert!(!ends_at(&chain, "Root X9"), "the leaf's own name does not count");
        assert!(!ends_at(&chain, "Root"));
        assert_eq!(roots_of(&chain), "\"Root X1\"");
        assert!(!ends_at(&[], "Root X1"));
    }
}
