//! Questions to OCSP responders (RFC 6960): GET where the question is short enough, else POST, and POST where GET
//! brings nothing that can be used. Answers are checked by `sealwire_proto::ocsp`, as the nodes do.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use der::Encode;
use der::asn1::{Null, ObjectIdentifier, OctetString};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::ocsp::{MAX_RESPONSE_BYTES, Verified, verify};
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{CertId, OcspRequest, Request as SingleRequest, TbsRequest, Version};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fetch::{Fetch, FetchError, Request};
use super::subject::{Issuer, Subject};
use crate::clock::unix_time;

/// RFC 5019 section 5: caches and proxies take a GET of at most so many bytes, URL included.
const MAX_GET_BYTES: usize = 255;

/// Length of a nonce in bytes (RFC 9654 section 2.1).
pub const NONCE_BYTES: usize = 32;

const REQUEST_TYPE: &str = "application/ocsp-request";
const RESPONSE_TYPE: &str = "application/ocsp-response";

/// A question about one certificate.
#[derive(Clone, Debug)]
pub struct Question {
    /// About it, and who issued it.
    pub subject: Arc<Subject>,
    /// Echoed by responders that can: such an answer was made for this question.
    pub nonce: [u8; NONCE_BYTES],
    /// For each request.
    pub timeout: Duration,
}

/// An answer that can be believed; it may say revoked or unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// DER.
    pub response: Vec<u8>,
    /// What it says.
    pub verified: Verified,
    /// Who gave it.
    pub url: String,
}

/// Asks one responder after the other until one gives an answer that can be believed.
///
/// # Errors
/// What each of them did instead.
pub async fn ask(question: &Question, fetch: &dyn Fetch, now: Timestamp) -> Result<Answer, String> {
    let subject = &question.subject;
    let leaf = subject.der.as_ref().ok_or("the certificate names no OCSP responder")?;
    let request = request(subject, leaf, &question.nonce)?;
    let mut failures = Vec::new();
    for url in &subject.responders {
        let asked = Asked { question, leaf, issuer: &subject.issuer, url, fetch, now };
        match asked.either_way(&request).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failures.push(format!("{url} {failure}")),
        }
    }
    Err(failures.join("; "))
}

/// One responder.
struct Asked<'a> {
    question: &'a Question,
    leaf: &'a CertificateDer<'static>,
    issuer: &'a Issuer,
    url: &'a str,
    fetch: &'a dyn Fetch,
    now: Timestamp,
}

impl Asked<'_> {
    async fn either_way(&self, request: &[u8]) -> Result<Answer, String> {
        if let Some(url) = get_url(self.url, request) {
            match self.once(&url, None).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Silent(why)) => return Err(why),
                Err(Failure::Useless(why)) => tracing::debug!(url, why, "asking again by POST"),
            }
        }
        self.once(self.url, Some((REQUEST_TYPE, request))).await.map_err(|failure| match failure {
            Failure::Silent(why) | Failure::Useless(why) => why,
        })
    }

    async fn once(&self, url: &str, body: Option<(&'static str, &[u8])>) -> Result<Answer, Failure> {
        let request = Request {
            url,
            body,
            accept: RESPONSE_TYPE,
            max_bytes: MAX_RESPONSE_BYTES,
            timeout: self.question.timeout,
        };
        let reply = self.fetch.fetch(request).await.map_err(|error| match error {
            FetchError::Unreachable(_) => Failure::Silent(error.to_string()),
            _ => Failure::Useless(error.to_string()),
        })?;
        // Some send none; none of the others is an OCSP response.
        let kind = reply.content_type.unwrap_or_else(|| RESPONSE_TYPE.to_owned());
        if !kind.to_ascii_lowercase().starts_with(RESPONSE_TYPE) {
            return Err(Failure::Useless(format!("sends {kind:?}, expected {RESPONSE_TYPE}")));
        }
        let verified = verify(&reply.body, self.leaf, &self.issuer.der, unix_time(self.now))
            .map_err(|error| Failure::Useless(format!("gives no usable answer: {error}")))?;
        if verified.nonce.as_ref().is_some_and(|nonce| *nonce != self.question.nonce) {
            return Err(Failure::Useless("gives an answer to another question (nonce): a replay".to_owned()));
        }
        Ok(Answer { response: reply.body, verified, url: self.url.to_owned() })
    }
}

/// Whether it may help to ask in another way.
enum Failure {
    Silent(String),
    Useless(String),
}

/// The question in the URL (RFC 6960 appendix A.1.1), if it is short enough.
fn get_url(responder: &str, request: &[u8]) -> Option<String> {
    let mut url = format!("{}/", responder.trim_end_matches('/'));
    for c in base64::engine::general_purpose::STANDARD.encode(request).chars() {
        match c {
            '+' => url.push_str("%2B"),
            '/' => url.push_str("%2F"),
            '=' => url.push_str("%3D"),
            plain => url.push(plain),
        }
    }
    (url.len() <= MAX_GET_BYTES).then_some(url)
}

/// DER of an `OCSPRequest` with one `CertID` by SHA-1: what every responder knows (RFC 5019 section 2.1.1).
fn request(subject: &Subject, leaf: &CertificateDer<'_>, nonce: &[u8]) -> Result<Vec<u8>, String> {
    let (_, issuer) = X509Certificate::from_der(&subject.issuer.der)
        .map_err(|error| format!("its issuer is not an X.509 certificate: {error}"))?;
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|error| format!("it is not an X.509 certificate: {error}"))?;
    let key = &issuer.public_key().subject_public_key.data;
    encode(leaf.raw_serial(), issuer.subject().as_raw(), key, nonce)
        .map_err(|error| format!("no question can be made for it: {error}"))
}

fn encode(serial: &[u8], issuer_name: &[u8], issuer_key: &[u8], nonce: &[u8]) -> der::Result<Vec<u8>> {
    const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
    const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
    let sha1 = |bytes| OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    let nonce = Extension {
        extn_id: NONCE,
        critical: false,
        extn_value: OctetString::new(OctetString::new(nonce)?.to_der()?)?,
    };
    let single = SingleRequest {
        req_cert: CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Null.into()) },
            issuer_name_hash: sha1(issuer_name)?,
            issuer_key_hash: sha1(issuer_key)?,
            serial_number: SerialNumber::new(serial)?,
        },
        single_request_extensions: None,
    };
    let tbs_request = TbsRequest {
        version: Version::V1,
        requestor_name: None,
        request_list: vec![single],
        request_extensions: Some(vec![nonce]),
    };
    OcspRequest { tbs_request, optional_signature: None }.to_der()
}

#[cfg(test)]
#[path = "ocsp_tests.rs"]
mod tests;
