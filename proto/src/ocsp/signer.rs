//! Who signed a response: the issuer itself, or a certificate that the issuer made for that purpose.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::Decode;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, anchor_from_trusted_cert};
use x509_cert::name::Name;
use x509_ocsp::ResponderId;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::OcspError;
use super::response::Response;

/// `id-kp-OCSPSigning`, 1.3.6.1.5.5.7.3.9 (RFC 6960 section 4.2.2.2), as webpki takes it.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

/// Finds the signer by the name that the response gives, and checks its right and its signature; tells whether it
/// is a delegate.
///
/// Only the one that is named is tried, so a response costs one signature check of its own and one of a
/// certificate, however many come with it.
pub(super) fn check(
    response: &Response,
    issuer: &CertificateDer<'_>,
    issuer_parsed: &X509Certificate<'_>,
    now: UnixTime,
) -> Result<bool, OcspError> {
    let id = &response.data.responder_id;
    if names(id, issuer_parsed) {
        return signed_with(response, issuer_parsed).map(|()| false);
    }
    for candidate in &response.certificates {
        let Ok((_, parsed)) = X509Certificate::from_der(candidate) else {
            return Err(OcspError::Malformed("what comes with it is not a certificate".to_owned()));
        };
        if names(id, &parsed) {
            delegated(candidate, issuer, now)?;
            return signed_with(response, &parsed).map(|()| true);
        }
    }
    Err(OcspError::Signer(
        "neither the issuer nor a certificate that comes with it is the one it names".to_owned(),
    ))
}

/// Section 4.2.1: by name, or by the SHA-1 of the key.
fn names(id: &ResponderId, certificate: &X509Certificate<'_>) -> bool {
    match id {
        ResponderId::ByName(name) => {
            Name::from_der(certificate.subject().as_raw()).is_ok_and(|subject| subject == *name)
        }
        ResponderId::ByKey(hash) => {
            let key = &certificate.public_key().subject_public_key.data;
            digest(&SHA1_FOR_LEGACY_USE_ONLY, key).as_ref() == hash.as_bytes()
        }
    }
}

/// Section 4.2.2.2: issued directly by the issuer of the certificate in question, and for this purpose. Without
/// intermediates, no path but that one can be built.
fn delegated(
    candidate: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), OcspError> {
    let refused = |error: webpki::Error| OcspError::Signer(error.to_string());
    let anchor = anchor_from_trusted_cert(issuer)
        .map_err(|error| OcspError::Certificate(format!("its issuer: {error}")))?;
    let end_entity = EndEntityCert::try_from(candidate).map_err(refused)?;
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &[],
            now,
            KeyUsage::required(OCSP_SIGNING),
            None,
            None,
        )
        .map(|_| ())
        .map_err(refused)
}

fn signed_with(response: &Response, signer: &X509Certificate<'_>) -> Result<(), OcspError> {
    let spki = SubjectPublicKeyInfoDer::from(signer.public_key().raw);
    let key = RawPublicKeyEntity::try_from(&spki)
        .map_err(|error| OcspError::Signer(format!("its public key: {error}")))?;
    let named = webpki::ALL_VERIFICATION_ALGS
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == response.algorithm.as_slice());
    for algorithm in named {
        match key.verify_signature(*algorithm, &response.signed, &response.signature) {
            Ok(()) => return Ok(()),
            // The same identifier stands for several curves.
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
            Err(_) => return Err(OcspError::Signature),
        }
    }
    Err(OcspError::Algorithm)
}
