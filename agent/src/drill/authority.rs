//! A CA that lives for one drill, in memory. Nobody trusts it but the nodes, for the shadow it signed.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

/// A drill is over long before.
const LIFETIME: Duration = Duration::hours(1);
/// Clocks of nodes may be behind ours.
const BACKDATE: Duration = Duration::minutes(5);

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
        let mut number = [0; 16];
        fastrand::fill(&mut number);
        // Positive, and not zero (RFC 5280 section 4.1.2.2).
        number[0] = number[0] & 0x7f | 0x01;
        let serial = SerialNumber::from_slice(&number);
        params.serial_number = Some(serial.clone());
        let leaf = params.signed_by(&key, &self.0)?.der().clone();
        Ok(Issued { leaf, key, serial })
    }

    /// A CRL (DER) that revokes a leaf for a compromise of its key.
    pub(super) fn revoke(&self, issued: &Issued) -> Result<Vec<u8>, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now - BACKDATE,
            next_update: now + LIFETIME,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: issued.serial.clone(),
                revocation_time: now - BACKDATE,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.0)?.der().to_vec())
    }
}

fn validity() -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATE, now + LIFETIME)
}
