//! Responses for tests, signed with ECDSA on P-256 and SHA-256, sound unless told otherwise.

// For tests: what cannot be encoded is a mistake in the test.
#![allow(clippy::missing_panics_doc)]

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use der::asn1::{BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString};
use der::{Decode, Encode};
use rustls_pki_types::CertificateDer;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::CrlReason;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus,
    ResponderId, ResponseBytes, ResponseData, RevokedInfo, SingleResponse, Version,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Status;

/// What a response is to say. Times are seconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The certificate it is about.
    pub leaf: &'a CertificateDer<'a>,
    /// Who issued that.
    pub issuer: &'a CertificateDer<'a>,
    /// A delegate whose certificate comes along; `None`: the issuer signs.
    pub delegate: Option<&'a CertificateDer<'a>>,
    /// What it says.
    pub status: Status,
    /// Since when.
    pub this_update: i64,
    /// Until when.
    pub next_update: Option<i64>,
    /// Names the certificate by SHA-256 instead of SHA-1.
    pub sha256: bool,
    /// Names the signer by its subject instead of its key.
    pub by_name: bool,
    /// Echoed from the question.
    pub nonce: Option<&'a [u8]>,
    /// An extension that nobody knows, marked critical.
    pub critical: bool,
}

impl<'a> Answer<'a> {
    /// Good, from a minute before `now` for an hour.
    #[must_use]
    pub fn good(leaf: &'a CertificateDer<'a>, issuer: &'a CertificateDer<'a>, now: i64) -> Self {
        Self {
            leaf,
            issuer,
            delegate: None,
            status: Status::Good,
            this_update: now - 60,
            next_update: Some(now + 3600),
            sha256: false,
            by_name: false,
            nonce: None,
            critical: false,
        }
    }

    /// The response, signed by a function that has the signer's key.
    #[must_use]
    pub fn signed(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        self.try_signed(sign).unwrap_or_else(|error| panic!("cannot encode the response: {error}"))
    }

    fn try_signed(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> der::Result<Vec<u8>> {
        const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
        const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
        let signer = parsed(self.delegate.unwrap_or(self.issuer));
        let responder_id = if self.by_name {
            ResponderId::ByName(Name::from_der(signer.subject().as_raw())?)
        } else {
            let key = &signer.public_key().subject_public_key.data;
            ResponderId::ByKey(OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, key).as_ref())?)
        };
        let tbs_response_data = ResponseData {
            version: Version::V1,
            responder_id,
            produced_at: time(self.this_update)?,
            responses: vec![self.single()?],
            response_extensions: self.extensions()?,
        };
        let signature = BitString::from_bytes(&sign(&tbs_response_data.to_der()?))?;
        let certs = match self.delegate {
            Some(delegate) => Some(vec![x509_cert::Certificate::from_der(delegate)?]),
            None => None,
        };
        let basic = BasicOcspResponse {
            tbs_response_data,
            signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None },
            signature,
            certs,
        };
        let response = OcspResponse {
            response_status: OcspResponseStatus::Successful,
            response_bytes: Some(ResponseBytes {
                response_type: BASIC,
                response: OctetString::new(basic.to_der()?)?,
            }),
        };
        response.to_der()
    }

    fn single(&self) -> der::Result<SingleResponse> {
        let (oid, algorithm) = if self.sha256 {
            ("2.16.840.1.101.3.4.2.1", &SHA256)
        } else {
            ("1.3.14.3.2.26", &SHA1_FOR_LEGACY_USE_ONLY)
        };
        let issuer = parsed(self.issuer);
        let key = &issuer.public_key().subject_public_key.data;
        let cert_status = match self.status {
            Status::Good => CertStatus::Good(Null),
            Status::Unknown => CertStatus::Unknown(Null),
            Status::Revoked { at, reason } => CertStatus::Revoked(RevokedInfo {
                revocation_time: time(at)?,
                revocation_reason: reason.map(|code| CrlReason::from_der(&[10, 1, code])).transpose()?,
            }),
        };
        Ok(SingleResponse {
            cert_id: CertId {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: ObjectIdentifier::new_unwrap(oid),
                    parameters: Some(Null.into()),
                },
                issuer_name_hash: OctetString::new(digest(algorithm, issuer.subject().as_raw()).as_ref())?,
                issuer_key_hash: OctetString::new(digest(algorithm, key).as_ref())?,
                serial_number: SerialNumber::new(parsed(self.leaf).raw_serial())?,
            },
            cert_status,
            this_update: time(self.this_update)?,
            next_update: self.next_update.map(time).transpose()?,
            single_extensions: None,
        })
    }

    fn extensions(&self) -> der::Result<Option<Vec<Extension>>> {
        let mut extensions = Vec::new();
        if let Some(nonce) = self.nonce {
            extensions.push(Extension {
                extn_id: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2"),
                critical: false,
                extn_value: OctetString::new(OctetString::new(nonce)?.to_der()?)?,
            });
        }
        if self.critical {
            extensions.push(Extension {
                extn_id: ObjectIdentifier::new_unwrap("1.2.3.4"),
                critical: true,
                extn_value: OctetString::new([5, 0])?,
            });
        }
        Ok((!extensions.is_empty()).then_some(extensions))
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => parsed,
        Err(error) => panic!("not a certificate: {error}"),
    }
}

fn time(seconds: i64) -> der::Result<OcspGeneralizedTime> {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    GeneralizedTime::from_unix_duration(since).map(OcspGeneralizedTime)
}
