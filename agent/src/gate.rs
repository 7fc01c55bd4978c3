//! The gate: what a chain must satisfy before it may become a generation. The node checks again before it
//! swaps; here the agent also knows what was ordered and from whom.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::NackReason;
use sealwire_proto::validate::{LeafFacts, Names, Rejection, validate};

use crate::clock::unix_time;

/// Checks what an issuer sent for `identifiers`, against the key that was ordered for.
///
/// # Errors
/// The first check that fails, with what was found and expected.
pub fn check(
    chain: &[CertificateDer<'static>],
    key: &PrivatePkcs8KeyDer<'_>,
    identifiers: &[String],
    anchors: &Anchors,
    now: Timestamp,
) -> Result<LeafFacts, Rejection> {
    if anchors.is_empty() {
        return Err(Rejection::new(
            NackReason::UntrustedChain,
            "there are no trust anchors: the operating system has none; set trust_roots of the issuer",
        ));
    }
    Ok(validate(chain, key, Names::All(identifiers), anchors, unix_time(now))?.leaf)
}
