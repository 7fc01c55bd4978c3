//! What the hostile CA issues.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// How a leaf and its chain are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaf {
    /// As asked for, for 90 days.
    #[default]
    Good,
    /// For a key of the CA's own.
    OtherKey,
    /// For `other.test`.
    OtherNames,
    /// Without the intermediates.
    Truncated,
    /// The leaf comes last.
    Reordered,
    /// Valid until an hour ago.
    Expired,
    /// Valid from tomorrow on.
    NotYetValid,
}

/// A root, and two intermediates below it.
#[derive(Debug)]
pub(super) struct Signer {
    root: String,
    intermediates: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Signer {
    pub(super) fn new() -> Self {
        let made = || {
            let root = CertifiedIssuer::self_signed(authority("Hostile root"), KeyPair::generate()?)?;
            let middle = CertifiedIssuer::signed_by(authority("Hostile one"), KeyPair::generate()?, &root)?;
            let issuer = CertifiedIssuer::signed_by(authority("Hostile two"), KeyPair::generate()?, &middle)?;
            let intermediates = issuer.pem() + &middle.pem();
            Ok::<_, rcgen::Error>(Self { root: root.pem(), intermediates, issuer })
        };
        made().unwrap_or_else(|error| panic!("the hostile CA: {error}"))
    }

    pub(super) fn root_pem(&self) -> String {
        self.root.clone()
    }

    /// The chain in PEM.
    pub(super) fn chain(&self, csr_der: &[u8], how: &Leaf) -> String {
        let leaf = self.leaf(csr_der, how).unwrap_or_else(|error| panic!("the hostile CA: {error}"));
        match how {
            Leaf::Truncated => leaf,
            Leaf::Reordered => self.intermediates.clone() + &leaf,
            _ => leaf + &self.intermediates,
        }
    }

    fn leaf(&self, csr_der: &[u8], how: &Leaf) -> Result<String, rcgen::Error> {
        let CertificateSigningRequestParams { mut params, public_key } =
            CertificateSigningRequestParams::from_der(&csr_der.into())?;
        let now = OffsetDateTime::now_utc();
        let (from, to) = match how {
            Leaf::Expired => (now - Duration::days(90), now - Duration::HOUR),
            Leaf::NotYetValid => (now + Duration::DAY, now + Duration::days(90)),
            _ => (now - Duration::HOUR, now + Duration::days(90)),
        };
        (params.not_before, params.not_after) = (from, to);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        if *how == Leaf::OtherNames {
            params.subject_alt_names = vec![SanType::DnsName("other.test".try_into()?)];
        }
        let leaf = match how {
            Leaf::OtherKey => params.signed_by(&KeyPair::generate()?, &self.issuer)?,
            _ => params.signed_by(&public_key, &self.issuer)?,
        };
        Ok(leaf.pem())
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
