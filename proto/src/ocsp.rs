//! OCSP responses (RFC 6960): whether one is about a certificate, signed by one who may, and what it says.
//! Agent and node run the same code, each for itself.
//!
//! The revocation of a delegated signer itself is not asked for: such certificates are short-lived or carry
//! `id-pkix-ocsp-nocheck` (section 4.2.2.2.1), and a compromised one ends with the issuer's own answer.

mod response;
mod signer;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use der::asn1::ObjectIdentifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_ocsp::{CertId, CertStatus, SingleResponse};
use x509_parser::prelude::{FromDer, X509Certificate};

use response::Response;

/// Longest response taken, in bytes. Real ones have 300 to 3,000, the longest with a delegated RSA signer.
pub const MAX_RESPONSE_BYTES: usize = 32 * 1024;

/// How far the clocks of a responder and ours may differ, in seconds.
pub const CLOCK_SKEW_S: i64 = 300;

/// How old, in seconds, a response without `nextUpdate` may be: it claims that newer information is available all
/// the time (RFC 6960 section 4.2.2.1).
pub const MAX_AGE_WITHOUT_END_S: i64 = 3600;

/// A response that can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says of the certificate.
    pub status: Status,
    /// When that was known to be so: seconds since the Unix epoch.
    pub this_update: i64,
    /// Until when: seconds since the Unix epoch; `None`: the responder does not say.
    pub next_update: Option<i64>,
    /// When it was signed: seconds since the Unix epoch.
    pub produced_at: i64,
    /// Signed by a delegate of the issuer.
    pub delegated: bool,
    /// That of the question, if the responder gave it back (RFC 9654).
    pub nonce: Option<Vec<u8>>,
}

/// What a responder says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked {
        /// Since when: seconds since the Unix epoch.
        at: i64,
        /// `CRLReason` of RFC 5280 section 5.3.1, if given.
        reason: Option<u8>,
    },
    /// The responder does not know it.
    Unknown,
}

/// Why a response is not to be believed, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// More than [`MAX_RESPONSE_BYTES`].
    #[error("the OCSP response has {0} bytes, at most {MAX_RESPONSE_BYTES} are taken")]
    TooLong(usize),
    /// Not an OCSP response, or one with parts that must be understood and are not.
    #[error("not an OCSP response that can be used: {0}")]
    Malformed(String),
    /// The responder answered that it does not answer (section 4.2.1): ask again later, or elsewhere.
    #[error("the OCSP responder answered {0}")]
    Refused(&'static str),
    /// Our own certificates cannot be used for the comparison.
    #[error("no OCSP response can be judged: {0}")]
    Certificate(String),
    /// It is about other certificates.
    #[error("the OCSP response is not about this certificate and issuer")]
    OtherCertificate,
    /// Neither the issuer nor a delegate of it signed it.
    #[error("the OCSP response is signed by one who may not: {0}")]
    Signer(String),
    /// The signature does not match.
    #[error("the signature of the OCSP response does not match its contents")]
    Signature,
    /// An algorithm that is too weak or not known.
    #[error("the OCSP response is signed with an algorithm that is not taken")]
    Algorithm,
    /// `thisUpdate` lies in the future by more than [`CLOCK_SKEW_S`].
    #[error("the OCSP response begins to be valid {ahead_s} s from now; check the clocks")]
    NotYetValid {
        /// By how many seconds.
        ahead_s: i64,
    },
    /// `nextUpdate` is over, or there is none and `thisUpdate` is older than [`MAX_AGE_WITHOUT_END_S`].
    #[error("the OCSP response ended {since_s} s ago")]
    Stale {
        /// For how many seconds.
        since_s: i64,
    },
}

/// Reads a response about `leaf`, which `issuer` issued, and checks form, subject, signer, signature and time.
///
/// # Errors
/// The first check that fails. A response that says `revoked` or `unknown` is no error.
pub fn verify(
    response: &[u8],
    leaf: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<Verified, OcspError> {
    if response.len() > MAX_RESPONSE_BYTES {
        return Err(OcspError::TooLong(response.len()));
    }
    let response = Response::parse(response)?;
    let leaf = certificate("the certificate", leaf)?;
    let issuer_parsed = certificate("its issuer", issuer)?;
    if leaf.issuer().as_raw() != issuer_parsed.subject().as_raw() {
        return Err(OcspError::Certificate(format!(
            "it names the issuer {}, not {}",
            leaf.issuer(),
            issuer_parsed.subject()
        )));
    }
    // Of several about the same certificate, the newest.
    let ours = response
        .data
        .responses
        .iter()
        .filter(|single| is_about(&single.cert_id, &leaf, &issuer_parsed))
        .max_by_key(|single| response::seconds(&single.this_update))
        .ok_or(OcspError::OtherCertificate)?;
    let delegated = signer::check(&response, issuer, &issuer_parsed, now)?;
    let (this_update, next_update) = timely(ours, now)?;
    Ok(Verified {
        status: status(&ours.cert_status),
        this_update,
        next_update,
        produced_at: response::seconds(&response.data.produced_at),
        delegated,
        nonce: response.nonce()?,
    })
}

fn certificate<'a>(what: &str, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, OcspError> {
    match X509Certificate::from_der(der) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(OcspError::Certificate(format!("{what} is not an X.509 certificate: {error}"))),
    }
}

/// Whether a `CertID` names this leaf (section 4.1.1): serial number, and digests of the issuer's name and key.
fn is_about(id: &CertId, leaf: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    const SHA1_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
    const SHA256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
    const SHA384_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
    const SHA512_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
    // SHA-1 only finds the certificate here; what protects the answer is its signature.
    let algorithm = match id.hash_algorithm.oid {
        SHA1_OID => &SHA1_FOR_LEGACY_USE_ONLY,
        SHA256_OID => &SHA256,
        SHA384_OID => &SHA384,
        SHA512_OID => &SHA512,
        _ => return false,
    };
    let key = &issuer.public_key().subject_public_key.data;
    without_sign_byte(id.serial_number.as_bytes()) == without_sign_byte(leaf.raw_serial())
        && id.issuer_name_hash.as_bytes() == digest(algorithm, issuer.subject().as_raw()).as_ref()
        && id.issuer_key_hash.as_bytes() == digest(algorithm, key).as_ref()
}

/// One parser keeps the zero that DER puts before a high bit, another does not.
fn without_sign_byte(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}

fn timely(single: &SingleResponse, now: UnixTime) -> Result<(i64, Option<i64>), OcspError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let this_update = response::seconds(&single.this_update);
    let next_update = single.next_update.as_ref().map(response::seconds);
    if next_update.is_some_and(|next| next < this_update) {
        return Err(OcspError::Malformed("nextUpdate lies before thisUpdate".to_owned()));
    }
    if this_update > now.saturating_add(CLOCK_SKEW_S) {
        return Err(OcspError::NotYetValid { ahead_s: this_update - now });
    }
    let end = next_update.unwrap_or(this_update.saturating_add(MAX_AGE_WITHOUT_END_S));
    if now > end {
        return Err(OcspError::Stale { since_s: now - end });
    }
    Ok((this_update, next_update))
}

fn status(status: &CertStatus) -> Status {
    match status {
        CertStatus::Good(_) => Status::Good,
        CertStatus::Unknown(_) => Status::Unknown,
        CertStatus::Revoked(info) => Status::Revoked {
            at: response::seconds(&info.revocation_time),
            reason: info.revocation_reason.map(|reason| reason as u8),
        },
    }
}

#[cfg(test)]
#[path = "ocsp/tests.rs"]
mod tests;
