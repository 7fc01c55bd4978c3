//! The gate: what a chain must satisfy before it may become a generation. The node checks again before it
//! swaps; here the agent also knows what was ordered and from whom.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::NackReason;
use sealwire_proto::validate::{LeafFacts, Names, Rejection, validate};
use x509_parser::prelude::{FromDer, X509Certificate};

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
    let leaf = validate(chain, key, Names::All(identifiers), anchors, unix_time(now))?.leaf;
    outlived(chain, &leaf)?;
    Ok(leaf)
}

/// A leaf is of no use beyond the end of a certificate above it, and would break in service: no CA means that.
fn outlived(chain: &[CertificateDer<'static>], leaf: &LeafFacts) -> Result<(), Rejection> {
    for above in &chain[1..] {
        let above = LeafFacts::parse(above)?;
        if above.not_after < leaf.not_after {
            let ends = |second| Timestamp::from_second(second).unwrap_or_default();
            return Err(Rejection::new(
                NackReason::UntrustedChain,
                format!(
                    "the chain ends before the leaf: the certificate issued by {} ends {}, the leaf {}",
                    above.issuer,
                    ends(above.not_after),
                    ends(leaf.not_after)
                ),
            ));
        }
    }
    Ok(())
}

/// Whether one of those who may issue has issued it: an organization or common name of the leaf's issuer.
/// Nobody named: anyone may.
///
/// # Errors
/// Who did.
pub fn check_issued_by(chain: &[CertificateDer<'_>], allowed: &[String]) -> Result<(), String> {
    if allowed.is_empty() {
        return Ok(());
    }
    let leaf = chain.first().ok_or("there is no leaf")?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let issuer = leaf.issuer();
    let names = issuer.iter_organization().chain(issuer.iter_common_name());
    if names.filter_map(|name| name.as_str().ok()).any(|name| allowed.iter().any(|allowed| allowed == name)) {
        return Ok(());
    }
    Err(format!("it was issued by \"{issuer}\", and issued_by allows {}", allowed.join(", ")))
}

/// How far a lifetime may be from what was promised: CAs round, and backdate by an hour.
const LIFETIME_TOLERANCE: f64 = 0.1;

/// Compares the life of a leaf with what its profile promises. A shorter one is told, not refused: gives what
/// is to be told.
///
/// # Errors
/// It lives too long: what it is ordered for (a key that is of no use for long) is not kept.
pub fn check_lifetime(leaf: &LeafFacts, promised: Duration) -> Result<Option<String>, String> {
    // The last second is part of it (RFC 5280 section 4.1.2.5).
    let lives = leaf.not_after.saturating_sub(leaf.not_before).saturating_add(1);
    let (lives, promised) = (lives as f64 / 3600.0, promised.as_secs_f64() / 3600.0);
    let text = format!("the leaf lives for {lives:.1} h, its profile promises {promised:.1} h");
    if lives > promised * (1.0 + LIFETIME_TOLERANCE) {
        return Err(text);
    }
    Ok((lives < promised * (1.0 - LIFETIME_TOLERANCE)).then_some(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_than_promised_is_too_much() {
        let leaf = |hours: i64| LeafFacts {
            sha256: [0; 32],
            serial: String::new(),
            not_before: 0,
            not_after: hours * 3600 - 1,
            names: Vec::new(),
            issuer: String::new(),
        };
        let promised = Duration::from_hours(160);
        assert_eq!(check_lifetime(&leaf(160), promised), Ok(None));
        assert_eq!(check_lifetime(&leaf(176), promised), Ok(None));
        let refusal = check_lifetime(&leaf(177), promised).unwrap_err();
        assert_eq!(refusal, "the leaf lives for 177.0 h, its profile promises 160.0 h");
        assert!(check_lifetime(&leaf(100), promised).unwrap().is_some());
    }
}
