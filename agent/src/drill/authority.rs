//! A CA that lives for one drill, in memory. Nobody trusts it but the nodes, for the shadow it signed.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CrlDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::revocation::fetch::{Fetch, FetchError, Reply, Request};

/// A drill is over long before.
const LIFETIME: Duration = Duration::hours(1);
/// Clocks of nodes may be behind ours.
const BACKDATE: Duration = Duration::minutes(5);

/// A name that never resolves (RFC 6761 section 6.4).
const CRL_URL: &str = "http://drill.invalid/drill.crl";

/// Root and signer in one.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A leaf and its key.
pub(super) struct Issued {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) key: KeyPair,
    serial: SerialNumber,
}

impl Authority {
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Sealwire drill");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity();
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn issue(&self, identifiers: &[String]) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(identifiers.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity();
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![CRL_URL.to_owned()] }];
        let mut number = [0; 16];
        fastrand::fill(&mut number);
        // Positive, and not zero (RFC 5280 section 4.1.2.2).
        number[0] = number[0] & 0x7f | 0x01;
        let serial = SerialNumber::from_slice(&number);
        params.serial_number = Some(serial.clone());
        let leaf = params.signed_by(&key, &self.0)?.der().clone();
        Ok(Issued { leaf, key, serial })
    }

    /// A CRL (DER) that revokes a leaf for a compromise of its key, or nothing.
    pub(super) fn crl(&self, revoked: Option<&Issued>) -> Result<Vec<u8>, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let revoked: Vec<_> = revoked.into_iter().collect();
        let params = CertificateRevocationListParams {
            this_update: now - BACKDATE,
            next_update: now + LIFETIME,
            crl_number: SerialNumber::from(1 + revoked.len() as u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|issued| RevokedCertParams {
                    serial_number: issued.serial.clone(),
                    revocation_time: now - BACKDATE,
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.0)?.der().to_vec())
    }
}

/// What the drill's CA would publish, in memory.
pub(super) struct Pages(Mutex<Vec<u8>>);

impl Pages {
    pub(super) fn new(crl: Vec<u8>) -> Self {
        Self(Mutex::new(crl))
    }

    pub(super) fn publish(&self, crl: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = crl;
    }
}

#[async_trait]
impl Fetch for Pages {
    async fn fetch(&self, request: Request<'_>) -> Result<Reply, FetchError> {
        if request.url != CRL_URL {
            return Err(FetchError::Status(http::StatusCode::NOT_FOUND));
        }
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Reply { content_type: Some("application/pkix-crl".to_owned()), body })
    }
}

fn validity() -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATE, now + LIFETIME)
}
