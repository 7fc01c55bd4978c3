//! A CA for tests: certificates with URLs, CRLs, OCSP responses.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use base64::Engine;
use der::Decode;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    CrlDistributionPoint, CrlIssuingDistributionPoint, CustomExtension, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, SigningKey,
};
use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::ocsp::testing::Answer;
use time::OffsetDateTime;
use x509_ocsp::OcspRequest;

use super::fetch::{Fetch, FetchError, Reply, Request};

/// Where responder and CRL are, unless a test says otherwise.
pub(crate) const OCSP: &str = "http://ocsp.test/r";
pub(crate) const CRL: &str = "http://crl.test/1.crl";

/// A CA's certificate and key.
pub(crate) struct TestCa {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) der: CertificateDer<'static>,
}

/// What a CRL is to say.
pub(crate) struct CrlSays<'a> {
    pub(crate) number: u64,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) revoked: &'a [u64],
    /// Issuing distribution point.
    pub(crate) shard: Option<&'a str>,
}

impl<'a> CrlSays<'a> {
    /// From a minute before `now` for an hour.
    pub(crate) fn at(now: Timestamp, revoked: &'a [u64]) -> Self {
        let minutes = SignedDuration::from_mins;
        Self {
            number: 1,
            this_update: now - minutes(1),
            next_update: now + minutes(60),
            revoked,
            shard: None,
        }
    }
}

/// These CAs as roots.
pub(crate) fn anchors(cas: &[&TestCa]) -> Anchors {
    Anchors::from_der(cas.iter().map(|ca| ca.der.clone())).unwrap()
}

fn offset(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap()
}

impl TestCa {
    pub(crate) fn root(name: &str) -> Self {
        let params = Self::params(name, 1, &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
        Self::self_signed(params)
    }

    /// One that may sign certificates but no CRLs.
    pub(crate) fn without_crl_sign(name: &str) -> Self {
        Self::self_signed(Self::params(name, 1, &[KeyUsagePurpose::KeyCertSign]))
    }

    fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    /// An intermediate with this serial number, whose certificate names these URLs.
    pub(crate) fn intermediate(&self, name: &str, serial: u64, ocsp: Option<&str>, crls: &[&str]) -> Self {
        let usages = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut params = Self::params(name, serial, &usages);
        urls(&mut params, ocsp, crls);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer()).unwrap().der().clone();
        Self { params, key, der }
    }

    fn params(name: &str, serial: u64, usages: &[KeyUsagePurpose]) -> CertificateParams {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.to_vec();
        params.serial_number = Some(serial.into());
        params
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A leaf for the key of a CSR, valid for three days from an hour before `now` on.
    pub(crate) fn issue(
        &self,
        csr: &[u8],
        serial: u64,
        ocsp: Option<&str>,
        crls: &[&str],
        now: Timestamp,
    ) -> CertificateDer<'static> {
        let mut csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let hours = SignedDuration::from_hours;
        csr.params.serial_number = Some(serial.into());
        (csr.params.not_before, csr.params.not_after) = (offset(now - hours(1)), offset(now + hours(72)));
        urls(&mut csr.params, ocsp, crls);
        csr.signed_by(&self.issuer()).unwrap().der().clone()
    }

    /// A leaf for `a.example` with this serial number, and its key.
    pub(crate) fn leaf_with_key(
        &self,
        serial: u64,
        ocsp: Option<&str>,
        crls: &[&str],
    ) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + time::Duration::DAY);
        urls(&mut params, ocsp, crls);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer()).unwrap().der().clone(), key)
    }

    pub(crate) fn leaf(&self, serial: u64, ocsp: Option<&str>, crls: &[&str]) -> CertificateDer<'static> {
        self.leaf_with_key(serial, ocsp, crls).0
    }

    pub(crate) fn crl(&self, says: &CrlSays<'_>) -> Vec<u8> {
        let revoked = says.revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: offset(says.this_update),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: offset(says.this_update),
            next_update: offset(says.next_update),
            crl_number: says.number.into(),
            issuing_distribution_point: says.shard.map(|url| CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint { uris: vec![url.to_owned()] },
                scope: None,
            }),
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    /// What goes between tag and length of a signed structure: for CRLs that rcgen does not make.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).unwrap()
    }

    /// An OCSP response, sound but for what `change` does to it.
    pub(crate) fn ocsp(
        &self,
        leaf: &CertificateDer<'_>,
        now: Timestamp,
        change: impl FnOnce(&mut Answer<'_>),
    ) -> Vec<u8> {
        let mut answer = Answer::good(leaf, &self.der, now.as_second());
        change(&mut answer);
        answer.signed(|message| self.sign(message))
    }
}

fn urls(params: &mut CertificateParams, ocsp: Option<&str>, crls: &[&str]) {
    params.crl_distribution_points =
        crls.iter().map(|url| CrlDistributionPoint { uris: vec![(*url).to_owned()] }).collect();
    if let Some(url) = ocsp {
        params.custom_extensions.push(authority_information(url));
    }
}

/// Authority information access with one OCSP responder (RFC 5280 section 4.2.2.1).
fn authority_information(url: &str) -> CustomExtension {
    const OCSP_METHOD: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 48, 1];
    let url_length = u8::try_from(url.len()).unwrap();
    let mut description = OCSP_METHOD.to_vec();
    description.extend([0x86, url_length]);
    description.extend(url.bytes());
    let length = u8::try_from(description.len()).unwrap();
    let mut der = vec![0x30, length + 2, 0x30, length];
    der.extend(description);
    assert!(length < 0x7e, "short lengths only");
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], der)
}

/// What a responder at [`OCSP`] is asked, by POST or in the URL.
pub(crate) fn asked(request: &Request<'_>) -> OcspRequest {
    let der = match request.body {
        Some((_, body)) => body.to_vec(),
        None => {
            let encoded = request.url.strip_prefix(OCSP).unwrap().strip_prefix('/').unwrap();
            let plain = encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            base64::engine::general_purpose::STANDARD.decode(plain).unwrap()
        }
    };
    OcspRequest::from_der(&der).unwrap()
}

/// A network of bodies by URL: what begins with a URL gets its body.
#[derive(Default)]
pub(crate) struct TestNet {
    bodies: Mutex<HashMap<String, Result<Vec<u8>, FetchError>>>,
    pub(crate) requests: AtomicUsize,
}

impl TestNet {
    pub(crate) fn serve(&self, url: &str, body: Vec<u8>) {
        self.bodies.lock().unwrap().insert(url.to_owned(), Ok(body));
    }

    pub(crate) fn fail(&self, url: &str) {
        let down = FetchError::Unreachable("connection refused".to_owned());
        self.bodies.lock().unwrap().insert(url.to_owned(), Err(down));
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Fetch for TestNet {
    async fn fetch(&self, request: Request<'_>) -> Result<Reply, FetchError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let bodies = self.bodies.lock().unwrap();
        let found = bodies.iter().find(|(url, _)| request.url.starts_with(url.as_str()));
        let body = found.map_or_else(
            || Err(FetchError::Unreachable(format!("no route to {}", request.url))),
            |(_, body)| body.clone(),
        )?;
        if body.len() > request.max_bytes {
            return Err(FetchError::TooLong(request.max_bytes));
        }
        Ok(Reply { content_type: None, body })
    }
}
