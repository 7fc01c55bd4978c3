//! What a bundle must satisfy before the node serves it, and what it becomes then.

use std::path::Path;
use std::sync::OnceLock;

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use sealwire_proto::anchors::{AnchorError, Anchors};
use sealwire_proto::v1::{self, Bundle, NackReason, StaplePolicy};
use sealwire_proto::validate::{self, Names, Rejection};
use zeroize::Zeroizing;

use super::served::{Served, Stapling, seconds};
use super::staple::Staple;
use super::trust::{AnnouncedRoots, TrustError};

/// Checks bundles for one node.
#[derive(Debug)]
pub(crate) struct Validator {
    server_names: Vec<String>,
    /// The operator's roots, which win over all others.
    configured: Option<Anchors>,
    announced: AnnouncedRoots,
    platform: OnceLock<Anchors>,
}

impl Validator {
    pub(crate) fn new(server_names: Vec<String>, trust_roots: Option<&Path>) -> Result<Self, AnchorError> {
        let configured = trust_roots.map(Anchors::from_pem_file).transpose()?;
        Ok(Self { server_names, configured, announced: AnnouncedRoots::default(), platform: OnceLock::new() })
    }

    /// Takes all roots of an internal issuer; tells their digest.
    pub(crate) fn trust(&mut self, announced: v1::Trust) -> Result<[u8; 32], TrustError> {
        self.announced.replace(&announced.issuer, announced.roots, self.configured.as_ref())
    }

    /// Checks a bundle at `now`, whatever is served.
    pub(crate) fn check(&self, mut bundle: Bundle, now: UnixTime) -> Result<Served, Rejection> {
        // Out of the message and into memory that is wiped, before anything can fail.
        let key = Zeroizing::new(std::mem::take(&mut bundle.key));
        let chain: Vec<_> = std::mem::take(&mut bundle.chain).into_iter().map(CertificateDer::from).collect();
        let own;
        let anchors = match &self.configured {
            Some(configured) => configured,
            None if bundle.trust_anchors.is_empty() => self.platform.get_or_init(Anchors::platform),
            None => {
                let roots = std::mem::take(&mut bundle.trust_anchors).into_iter().map(CertificateDer::from);
                own = self
                    .announced
                    .with(roots.collect())
                    .map_err(|error| Rejection::new(NackReason::Malformed, error.to_string()))?;
                &own
            }
        };
        let key = PrivatePkcs8KeyDer::from(key.as_slice());
        let checked = validate::validate(&chain, &key, Names::Any(&self.server_names), anchors, now)?;
        let policy = bundle.staple_policy();
        let stapling = Stapling { policy, grace_s: 0, covered_until: seconds(now) };
        let certificate = std::mem::take(&mut bundle.certificate);
        let served = Served::new(certificate, bundle.generation, checked, stapling);
        let response = std::mem::take(&mut bundle.staple);
        let staple = match policy {
            StaplePolicy::Unspecified => None,
            _ if response.is_empty() => None,
            _ => Some(checked_staple(&served, response, now)?),
        };
        Ok(served.with_staple(staple, policy, bundle.staple_grace_s))
    }

    /// The names the node must serve and that this leaf covers.
    pub(crate) fn covered(&self, served: &Served) -> Vec<String> {
        let leaf = served.leaf_der();
        leaf.map(|leaf| validate::covered(leaf, &served.leaf, &self.server_names)).unwrap_or_default()
    }
}

/// Checks a response about what is served.
pub(crate) fn checked_staple(served: &Served, response: Vec<u8>, now: UnixTime) -> Result<Staple, Rejection> {
    let leaf = served
        .leaf_der()
        .ok_or_else(|| Rejection::new(NackReason::Internal, "what is served has no leaf"))?;
    Staple::check(response, leaf, served.issuer.as_ref(), now)
}

/// Numbers only grow; the same number must be the same leaf.
pub(crate) fn not_stale(new: &Served, served: &Served) -> Result<(), Rejection> {
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
#[path = "validate_tests.rs"]
pub(crate) mod tests;
