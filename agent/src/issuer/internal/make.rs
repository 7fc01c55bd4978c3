//! What is written into the certificates of roots, intermediates and OCSP signers.

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;

use super::authority::Authority;
use super::record::Serial;
use crate::config::InternalConfig;
use crate::issuer::{ErrorClass, IssueError};

/// Long, because a new root must be handed to every client.
const ROOT_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 3652);

/// Short, because it renews itself; its key is the one that works every day.
const INTERMEDIATE_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);

/// Clients' clocks may be behind ours.
pub(super) const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// RFC 5280 appendix A: ub-common-name is 64 characters; the rest of ours fits beside this.
const NAME_IN_SUBJECT_CHARS: usize = 32;

/// id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1).
const OCSP_NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
const DER_NULL: [u8; 2] = [5, 0];

/// Root `number` of an issuer, from `now`.
///
/// # Errors
/// The random generator failed, or the time does not fit.
pub(super) fn root(
    name: &str,
    number: u64,
    config: &InternalConfig,
    now: Timestamp,
) -> Result<CertificateParams, IssueError> {
    // The first one was the only one for long: its name stays what clients know.
    let generation = if number == 1 { String::new() } else { format!(" {number}") };
    let mut params = ca(&format!("Sealwire {} root{generation}", shortened(name)), config);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.not_before = date(now - BACKDATE)?;
    params.not_after = date(now + ROOT_LIFETIME)?;
    Ok(params)
}

/// Intermediate `number` below `root`, from `now`, with room for leaves of the configured lifetime.
///
/// # Errors
/// As [`root`].
pub(super) fn intermediate(
    name: &str,
    number: u64,
    config: &InternalConfig,
    root: &Authority,
    now: Timestamp,
) -> Result<(CertificateParams, Serial, Timestamp), IssueError> {
    // Twice the leaf's, so that long leaves do not ask for a new intermediate each time.
    let lifetime = INTERMEDIATE_LIFETIME.max(signed(config.leaf_lifetime) * 2);
    let not_after = (now + lifetime).min(root.not_after());
    let serial = serial()?;
    let mut params = ca(&format!("Sealwire {} intermediate {number}", shortened(name)), config);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date((now - BACKDATE).max(root.not_before()))?;
    params.not_after = date(not_after)?;
    Ok((params, serial, not_after))
}

/// A signer of OCSP answers until `not_after` (RFC 6960 section 4.2.2.2). Nobody asks whether it is revoked
/// itself: it is short-lived instead.
///
/// # Errors
/// As [`root`].
pub(super) fn responder(
    name: &str,
    authority: &Authority,
    not_after: Timestamp,
    now: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("Sealwire {} OCSP signer", shortened(name)));
    params.distinguished_name = subject;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    params.custom_extensions = vec![CustomExtension::from_oid_content(OCSP_NO_CHECK, DER_NULL.to_vec())];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.not_before = date((now - BACKDATE).max(authority.not_before()))?;
    params.not_after = date(not_after)?;
    Ok(params)
}

fn ca(common_name: &str, config: &InternalConfig) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organization) = &config.organization {
        subject.push(DnType::OrganizationName, organization.as_str());
    }
    subject.push(DnType::CommonName, common_name);
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// 126 random bits behind a leading 01: positive and always 16 bytes (RFC 5280 section 4.1.2.2).
pub(super) fn serial() -> Result<Serial, IssueError> {
    let mut bytes = Serial::default();
    rand::fill(&mut bytes)
        .map_err(|_| IssueError::new(ErrorClass::Ours, "the system's random generator failed"))?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(bytes)
}

/// X.509 counts whole seconds.
pub(super) fn date(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|error| {
        IssueError::new(ErrorClass::Ours, format!("{at} does not fit a certificate: {error}"))
    })
}

pub(super) fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn shortened(name: &str) -> String {
    name.chars().take(NAME_IN_SUBJECT_CHARS).collect()
}
