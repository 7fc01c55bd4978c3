//! What a bundle must satisfy before it may be served. The agent runs it as part of its gate and the
//! node runs it again before a swap: neither takes the other's word.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::{any_ecdsa_type, any_supported_type};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroize;

use crate::anchors::Anchors;
use crate::signatures::remembering;
use crate::v1::NackReason;

/// Longest chain taken. Real ones have two to four certificates.
pub const MAX_CHAIN_LEN: usize = 10;

/// Largest single certificate taken, in bytes. A leaf with 100 names has about 5 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// Why a bundle must not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", .reason.as_str_name())]
pub struct Rejection {
    /// The kind of fault, as it goes over the wire.
    pub reason: NackReason,
    /// What was found and what was expected.
    pub detail: String,
}

impl Rejection {
    /// A rejection with its explanation.
    pub fn new(reason: NackReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Which names the leaf must cover.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// Each of them: the agent's view of a certificate.
    All(&'a [String]),
    /// At least one of them: the view of a node that several certificates may serve.
    Any(&'a [String]),
}

/// What the leaf says, in units that need no parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// Serial number, lower-case hexadecimal as openssl prints it (but in lower case).
    pub serial: String,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    /// Seconds since the Unix epoch.
    pub not_after: i64,
    /// DNS names and IP addresses of the subject alternative name.
    pub names: Vec<String>,
    /// The issuer's distinguished name.
    pub issuer: String,
}

impl LeafFacts {
    /// Reads the first certificate of a chain.
    ///
    /// # Errors
    /// [`NackReason::Malformed`] if it is not an X.509 certificate.
    pub fn parse(leaf: &CertificateDer<'_>) -> Result<Self, Rejection> {
        let malformed = |detail: String| Rejection::new(NackReason::Malformed, detail);
        let (rest, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| malformed(format!("the leaf is not an X.509 certificate: {error}")))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes follow the leaf's DER", rest.len())));
        }
        let mut names: Vec<_> = parsed
            .subject_alternative_name()
            .map_err(|error| malformed(format!("the leaf's subjectAltName: {error}")))?
            .map(|extension| extension.value.general_names.iter().filter_map(name_of).collect())
            .unwrap_or_default();
        // Kept for as long as the leaf is.
        names.shrink_to_fit();
        Ok(Self {
            sha256: sha256(leaf),
            serial: serial_of(parsed.raw_serial()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            names,
            issuer: parsed.issuer().to_string(),
        })
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// A serial number without the sign byte that DER puts before a high bit.
fn serial_of(raw: &[u8]) -> String {
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    crate::hex(digits)
}

/// SHA-256 of a certificate's DER: how generations are told apart on the wire and in a proof.
#[must_use]
pub fn sha256(der: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// SHA-256 over the SHA-256 digests of certificates (DER) in their order: tells chains, and sets of roots, apart.
#[must_use]
pub fn digest_of_all<C: AsRef<[u8]>>(certificates: &[C]) -> [u8; 32] {
    let digests: Vec<u8> = certificates.iter().flat_map(|der| sha256(der.as_ref())).collect();
    sha256(&digests)
}

/// A chain and key that passed every check, ready for a rustls resolver.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What rustls serves.
    pub certified_key: Arc<CertifiedKey>,
    /// What the leaf says.
    pub leaf: LeafFacts,
    /// What issued the leaf on the verified path: the certificate above it in the chain, or a root.
    pub issuer: Option<CertificateDer<'static>>,
}

/// Runs every check, cheapest and most telling first: form, key, names, time, then chain and usage.
///
/// # Errors
/// The first check that fails, with the reason that goes into a Nack.
pub fn validate(
    chain: &[CertificateDer<'static>],
    key: &PrivatePkcs8KeyDer<'_>,
    names: Names<'_>,
    anchors: &Anchors,
    now: UnixTime,
) -> Result<Checked, Rejection> {
    let malformed = |detail: String| Rejection::new(NackReason::Malformed, detail);
    let Some((leaf_der, intermediates)) = chain.split_first() else {
        return Err(malformed("the chain is empty".to_owned()));
    };
    if chain.len() > MAX_CHAIN_LEN {
        return Err(malformed(format!(
            "the chain has {} certificates, at most {MAX_CHAIN_LEN} are taken",
            chain.len()
        )));
    }
    for (position, certificate) in chain.iter().enumerate() {
        if certificate.len() > MAX_CERTIFICATE_BYTES {
            return Err(malformed(format!(
                "certificate {} of the chain has {} bytes, at most {MAX_CERTIFICATE_BYTES} are taken",
                position + 1,
                certificate.len()
            )));
        }
        if let Err(error) = X509Certificate::from_der(certificate) {
            return Err(malformed(format!("certificate {} of the chain: {error}", position + 1)));
        }
    }
    let leaf = LeafFacts::parse(leaf_der)?;
    let end_entity = EndEntityCert::try_from(leaf_der)
        .map_err(|error| malformed(format!("the leaf cannot be used by webpki: {error}")))?;

    let certified_key = matching_key(chain, key)?;
    check_names(&end_entity, &leaf, names)?;
    check_time(&leaf, now)?;
    let issuer = check_path(&end_entity, chain, intermediates, anchors, now)?;
    Ok(Checked { certified_key: Arc::new(certified_key), leaf, issuer })
}

/// Builds and verifies a path to one of the anchors; gives the issuer of the leaf on it.
fn check_path(
    end_entity: &EndEntityCert<'_>,
    chain: &[CertificateDer<'_>],
    intermediates: &[CertificateDer<'_>],
    anchors: &Anchors,
    now: UnixTime,
) -> Result<Option<CertificateDer<'static>>, Rejection> {
    let algorithms = remembering();
    let algorithms: Vec<_> = algorithms.iter().map(|algorithm| algorithm as _).collect();
    let path = end_entity
        .verify_for_usage(
            &algorithms,
            anchors.as_slice(),
            intermediates,
            now,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(|error| path_rejection(&error, chain, anchors))?;
    let above = path.intermediate_certificates().next();
    Ok(match above {
        Some(above) => Some(above.der().into_owned()),
        None => anchors.certificate_of(path.anchor()).cloned(),
    })
}

/// Whether a chain, without its key, would be trusted for a TLS server.
///
/// # Errors
/// Why not.
pub fn trust(chain: &[CertificateDer<'static>], anchors: &Anchors, now: UnixTime) -> Result<(), Rejection> {
    let (leaf, intermediates) =
        chain.split_first().ok_or_else(|| Rejection::new(NackReason::Malformed, "the chain is empty"))?;
    let end_entity = EndEntityCert::try_from(leaf)
        .map_err(|error| Rejection::new(NackReason::Malformed, format!("the leaf: {error}")))?;
    check_path(&end_entity, chain, intermediates, anchors, now).map(|_| ())
}

/// The key together with the chain, if the leaf is for it.
///
/// # Errors
/// [`NackReason::Malformed`] or [`NackReason::KeyMismatch`].
pub fn matching_key(
    chain: &[CertificateDer<'static>],
    key: &PrivatePkcs8KeyDer<'_>,
) -> Result<CertifiedKey, Rejection> {
    // By reference, unlike the provider's own loader, so that this copy can be wiped.
    let mut copy = PrivateKeyDer::Pkcs8(key.clone_key());
    // ECDSA first: most keys are, and to find that one is no RSA key costs more than to load it.
    let signer = any_ecdsa_type(&copy).or_else(|_| any_supported_type(&copy));
    copy.zeroize();
    let signer =
        signer.map_err(|error| Rejection::new(NackReason::Malformed, format!("the private key: {error}")))?;
    let certified_key = CertifiedKey::new(chain.to_vec(), signer);
    // Strictly: rustls' own from_der() lets "unknown" pass.
    certified_key.keys_match().map_err(|_| {
        Rejection::new(NackReason::KeyMismatch, "the private key does not belong to the leaf")
    })?;
    Ok(certified_key)
}

/// The names among `wanted` (DNS names, wildcards, IP addresses) that a leaf may be used for.
#[must_use]
pub fn covered(leaf_der: &CertificateDer<'_>, leaf: &LeafFacts, wanted: &[String]) -> Vec<String> {
    let Ok(end_entity) = EndEntityCert::try_from(leaf_der) else { return Vec::new() };
    wanted.iter().filter(|name| covers(&end_entity, leaf, name)).cloned().collect()
}

fn covers(end_entity: &EndEntityCert<'_>, leaf: &LeafFacts, name: &str) -> bool {
    if name.starts_with("*.") {
        // A wildcard is a pattern, not a name that a client could ask for: compare it as text.
        return leaf.names.iter().any(|have| have.eq_ignore_ascii_case(name));
    }
    ServerName::try_from(name).is_ok_and(|name| end_entity.verify_is_valid_for_subject_name(&name).is_ok())
}

fn check_names(end_entity: &EndEntityCert<'_>, leaf: &LeafFacts, names: Names<'_>) -> Result<(), Rejection> {
    let mismatch = |missing: &[String]| {
        Rejection::new(
            NackReason::NameMismatch,
            format!("the leaf is for {}, not for {}", listed(&leaf.names), listed(missing)),
        )
    };
    match names {
        Names::All(wanted) => {
            let missing: Vec<_> =
                wanted.iter().filter(|name| !covers(end_entity, leaf, name)).cloned().collect();
            if missing.is_empty() { Ok(()) } else { Err(mismatch(&missing)) }
        }
        Names::Any(wanted) => {
            if wanted.iter().any(|name| covers(end_entity, leaf, name)) {
                Ok(())
            } else {
                Err(mismatch(wanted))
            }
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

fn check_time(leaf: &LeafFacts, now: UnixTime) -> Result<(), Rejection> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < leaf.not_before {
        return Err(Rejection::new(
            NackReason::NotYetValid,
            format!("the leaf becomes valid {} s from now; check the clocks", leaf.not_before - now),
        ));
    }
    if now > leaf.not_after {
        return Err(Rejection::new(
            NackReason::Expired,
            format!("the leaf expired {} s ago", now - leaf.not_after),
        ));
    }
    Ok(())
}

fn path_rejection(error: &webpki::Error, chain: &[CertificateDer<'_>], anchors: &Anchors) -> Rejection {
    use webpki::Error;
    let reason = match error {
        Error::CertExpired { .. } => NackReason::Expired,
        Error::CertNotValidYet { .. } => NackReason::NotYetValid,
        Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity => NackReason::WrongUsage,
        Error::CertRevoked => NackReason::Revoked,
        _ => NackReason::UntrustedChain,
    };
    let detail = match reason {
        NackReason::UntrustedChain => format!(
            "the chain of {} does not build to any of {} trust anchors: {error}",
            chain.len(),
            anchors.as_slice().len()
        ),
        NackReason::WrongUsage => format!("the leaf is not for TLS servers: {error}"),
        // The leaf's own dates were checked before, so this is about an issuer.
        _ => format!("a certificate above the leaf: {error}"),
    };
    Rejection::new(reason, detail)
}

impl FromStr for NackReason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::from_str_name(text).ok_or(())
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
