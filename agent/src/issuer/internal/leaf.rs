//! A leaf: what a request asks for, and the certificate for it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::authority::Authority;
use super::endpoints::Endpoints;
use super::identity::AuthorityId;
use super::make::{date, serial};
use super::record::Serial;

/// Clients' clocks may be behind ours; of a very short life a smaller part is given away.
const BACKDATE: SignedDuration = SignedDuration::from_secs(60);

/// RFC 5280 appendix A: ub-common-name.
const MAX_COMMON_NAME_CHARS: usize = 64;

/// What is to be certified.
pub(super) struct Subject {
    identifiers: Vec<String>,
    public_key: SubjectPublicKeyInfo,
}

/// A new leaf.
pub(super) struct Leaf {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) serial: Serial,
    pub(super) not_after: Timestamp,
}

impl Subject {
    /// Takes the key from a CSR that proves its possession (RFC 2986 section 4.2). The names are those that
    /// were asked for; a CSR for others is a fault of ours.
    ///
    /// # Errors
    /// What is wrong with the CSR.
    pub(super) fn read(csr_der: &[u8], identifiers: &[String]) -> Result<Self, String> {
        if identifiers.is_empty() {
            return Err("the request has no identifier".to_owned());
        }
        let unusable = |error: String| format!("the CSR cannot be used: {error}");
        // Parses, and verifies the signature.
        let csr = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))
            .map_err(|error| unusable(error.to_string()))?;
        let asked: BTreeSet<String> = csr.params.subject_alt_names.iter().map(name_of).collect();
        let wanted: BTreeSet<String> = identifiers.iter().map(|name| name.to_ascii_lowercase()).collect();
        if asked != wanted {
            let listed = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(format!("the CSR is for {}, not for {}", listed(&asked), listed(&wanted)));
        }
        // Not rcgen's own reading of the key: it guesses the curve from the signature's algorithm.
        let (_, parsed) =
            X509CertificationRequest::from_der(csr_der).map_err(|error| unusable(error.to_string()))?;
        let public_key = SubjectPublicKeyInfo::from_der(parsed.certification_request_info.subject_pki.raw)
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { identifiers: identifiers.to_vec(), public_key })
    }
}

fn name_of(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => name.as_str().to_ascii_lowercase(),
        SanType::IpAddress(address) => address.to_string(),
        other => format!("{other:?}"),
    }
}

/// Signs a leaf that lives for `lifetime` from `now`, or as long as the intermediate does, and that tells
/// where to ask whether it is revoked.
///
/// # Errors
/// What rcgen could not do.
pub(super) fn sign(
    subject: &Subject,
    (id, intermediate): (AuthorityId, &Authority),
    endpoints: Option<&Endpoints>,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Leaf, String> {
    let lifetime = SignedDuration::try_from(lifetime).map_err(|error| error.to_string())?;
    let not_before = (now - BACKDATE.min(lifetime / 10)).max(intermediate.not_before());
    // Never beyond its issuer (RFC 5280 has no such rule, but path building does): only near the end of the root.
    let not_after = (now + lifetime).min(intermediate.not_after());

    let mut params =
        CertificateParams::new(subject.identifiers.clone()).map_err(|error| error.to_string())?;
    params.distinguished_name = common_name(&subject.identifiers);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let serial = serial().map_err(|error| error.message)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    if let Some(endpoints) = endpoints {
        endpoints.write(&mut params, id)?;
    }
    params.not_before = date(not_before).map_err(|error| error.message)?;
    params.not_after = date(not_after).map_err(|error| error.message)?;

    let signer = intermediate.signer().map_err(|error| error.to_string())?;
    let certificate = params.signed_by(&subject.public_key, &signer).map_err(|error| error.to_string())?;
    let not_after = Timestamp::from_second(not_after.as_second()).unwrap_or(not_after);
    Ok(Leaf { certificate: certificate.der().clone(), serial, not_after })
}

/// For people and old tools. Without one the subject is empty and the names are critical (RFC 5280 section
/// 4.1.2.6), which rcgen sees to.
fn common_name(identifiers: &[String]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(first) = identifiers.first()
        && first.parse::<std::net::IpAddr>().is_err()
        && first.chars().count() <= MAX_COMMON_NAME_CHARS
    {
        subject.push(DnType::CommonName, first.as_str());
    }
    subject
}
