//! What the hostile CA issues.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    CertifiedIssuer, CrlDistributionPoint, CrlIssuingDistributionPoint, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
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
    /// It must be served with an OCSP response (RFC 7633), and names nobody who would give one.
    MustStaple,
}

/// `id-pe-tlsfeature`, and in it `status_request` (RFC 7633 section 4).
const TLS_FEATURE: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
const STATUS_REQUEST: [u8; 5] = [0x30, 3, 2, 1, 5];

/// What the leaves, and the intermediate above them, name.
#[derive(Clone, Debug, Default)]
pub struct Urls {
    /// CRL distribution points of leaves.
    pub leaf_crls: Vec<String>,
    /// Those of the intermediate that issues them.
    pub intermediate_crls: Vec<String>,
}

/// Whose CRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// About leaves.
    Leaves,
    /// About the intermediate that issues them.
    Intermediate,
}

/// What a CRL says.
#[derive(Clone, Debug)]
pub struct CrlSays<'a> {
    /// About whom.
    pub level: Level,
    /// Its number.
    pub number: u64,
    /// Serial numbers, in hexadecimal.
    pub revoked: &'a [String],
    /// Its issuing distribution point.
    pub shard: Option<String>,
}

/// Serial number of the intermediate that issues leaves, in hexadecimal.
pub const INTERMEDIATE: &str = "77";

/// A root, and two intermediates below it.
#[derive(Debug)]
pub(super) struct Signer {
    root: String,
    intermediates: String,
    middle: CertifiedIssuer<'static, KeyPair>,
    issuer: CertifiedIssuer<'static, KeyPair>,
    leaf_crls: Vec<String>,
}

impl Signer {
    pub(super) fn new(urls: &Urls) -> Self {
        let made = || {
            let root = CertifiedIssuer::self_signed(authority("Hostile root"), KeyPair::generate()?)?;
            let middle = CertifiedIssuer::signed_by(authority("Hostile one"), KeyPair::generate()?, &root)?;
            let mut two = authority("Hostile two");
            two.serial_number = Some(SerialNumber::from_slice(&bytes_of(INTERMEDIATE)));
            two.crl_distribution_points = points(&urls.intermediate_crls);
            let issuer = CertifiedIssuer::signed_by(two, KeyPair::generate()?, &middle)?;
            let intermediates = issuer.pem() + &middle.pem();
            let leaf_crls = urls.leaf_crls.clone();
            Ok::<_, rcgen::Error>(Self { root: root.pem(), intermediates, middle, issuer, leaf_crls })
        };
        made().unwrap_or_else(|error| panic!("the hostile CA: {error}"))
    }

    pub(super) fn root_pem(&self) -> String {
        self.root.clone()
    }

    pub(super) fn crl(&self, says: &CrlSays<'_>) -> Vec<u8> {
        let now = OffsetDateTime::now_utc();
        let revoked = says.revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes_of(serial)),
            revocation_time: now - Duration::MINUTE,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - Duration::MINUTE,
            next_update: now + Duration::HOUR,
            crl_number: says.number.into(),
            issuing_distribution_point: says.shard.clone().map(|url| CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint { uris: vec![url] },
                scope: None,
            }),
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let by = if says.level == Level::Leaves { &self.issuer } else { &self.middle };
        let crl = params.signed_by(by).unwrap_or_else(|error| panic!("the hostile CA's CRL: {error}"));
        crl.der().to_vec()
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
        params.crl_distribution_points = points(&self.leaf_crls);
        if *how == Leaf::MustStaple {
            let feature = CustomExtension::from_oid_content(TLS_FEATURE, STATUS_REQUEST.to_vec());
            params.custom_extensions.push(feature);
        }
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

fn points(urls: &[String]) -> Vec<CrlDistributionPoint> {
    urls.iter().map(|url| CrlDistributionPoint { uris: vec![url.clone()] }).collect()
}

/// From hexadecimal.
fn bytes_of(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    (0..text.len()).step_by(2).map(|at| digit(at).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
