//! The form of a response. What was signed, and the certificates that came with it, stay the bytes that came: a
//! re-encoding might differ from them.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use rustls_pki_types::CertificateDer;
use x509_ocsp::{OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponseData};

use super::OcspError;

/// `id-pkix-ocsp-basic` (RFC 6960 section 4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// `id-pkix-ocsp-nonce` (RFC 9654).
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// Certificates that may come with a response: a delegate and what one might add to it.
const MAX_CERTIFICATES: usize = 5;

/// A `BasicOCSPResponse` in its parts.
pub(super) struct Response {
    /// What was signed.
    pub(super) signed: Vec<u8>,
    /// Contents of the `AlgorithmIdentifier`, without the outer tag: as webpki names algorithms.
    pub(super) algorithm: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) data: ResponseData,
}

impl Response {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OcspError> {
        let outer = OcspResponse::from_der(bytes).map_err(malformed)?;
        let refused = |word| Err(OcspError::Refused(word));
        match outer.response_status {
            OcspResponseStatus::Successful => {}
            OcspResponseStatus::MalformedRequest => return refused("malformedRequest"),
            OcspResponseStatus::InternalError => return refused("internalError"),
            OcspResponseStatus::TryLater => return refused("tryLater"),
            OcspResponseStatus::SigRequired => return refused("sigRequired"),
            OcspResponseStatus::Unauthorized => return refused("unauthorized"),
        }
        let Some(inner) = outer.response_bytes else {
            return Err(OcspError::Malformed("it is successful and empty".to_owned()));
        };
        if inner.response_type != BASIC {
            return Err(OcspError::Malformed(format!(
                "its type is {}, expected {BASIC}",
                inner.response_type
            )));
        }
        let response = Self::basic(inner.response.as_bytes()).map_err(malformed)?;
        if response.certificates.len() > MAX_CERTIFICATES {
            return Err(OcspError::Malformed(format!(
                "{} certificates come with it, at most {MAX_CERTIFICATES} are taken",
                response.certificates.len()
            )));
        }
        response.understood()?;
        Ok(response)
    }

    fn basic(bytes: &[u8]) -> der::Result<Self> {
        let outer = sequence(AnyRef::from_der(bytes)?)?;
        let mut reader = SliceReader::new(outer)?;
        let signed = reader.tlv_bytes()?;
        let algorithm = sequence(AnyRef::decode(&mut reader)?)?;
        let signature = BitStringRef::decode(&mut reader)?;
        let signature = signature.as_bytes().ok_or_else(|| Tag::BitString.value_error())?;
        let mut certificates = Vec::new();
        if !reader.is_finished() {
            let tagged = AnyRef::decode(&mut reader)?;
            let expected = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
            tagged.tag().assert_eq(expected)?;
            let list = sequence(AnyRef::from_der(tagged.value())?)?;
            let mut list = SliceReader::new(list)?;
            while !list.is_finished() {
                certificates.push(CertificateDer::from(list.tlv_bytes()?.to_vec()));
            }
        }
        reader.finish(())?;
        Ok(Self {
            data: ResponseData::from_der(signed)?,
            signed: signed.to_vec(),
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
            certificates,
        })
    }

    /// Nothing in it is marked critical that is not known here.
    fn understood(&self) -> Result<(), OcspError> {
        let singles = self.data.responses.iter().filter_map(|single| single.single_extensions.as_ref());
        let mut extensions = self.data.response_extensions.iter().chain(singles).flatten();
        match extensions.find(|extension| extension.critical && extension.extn_id != NONCE) {
            Some(unknown) => {
                Err(OcspError::Malformed(format!("the critical extension {} is not known", unknown.extn_id)))
            }
            None => Ok(()),
        }
    }

    pub(super) fn nonce(&self) -> Result<Option<Vec<u8>>, OcspError> {
        let mut extensions = self.data.response_extensions.iter().flatten();
        let Some(found) = extensions.find(|extension| extension.extn_id == NONCE) else { return Ok(None) };
        let nonce = OctetStringRef::from_der(found.extn_value.as_bytes()).map_err(malformed)?;
        Ok(Some(nonce.as_bytes().to_vec()))
    }
}

fn sequence(any: AnyRef<'_>) -> der::Result<&[u8]> {
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any.value())
}

// By value, as map_err hands it over.
#[allow(clippy::needless_pass_by_value)]
fn malformed(error: der::Error) -> OcspError {
    OcspError::Malformed(error.to_string())
}

/// Seconds since the Unix epoch; the type begins there.
pub(super) fn seconds(time: &OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
