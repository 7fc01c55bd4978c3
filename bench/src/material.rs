//! Certificates for the servers that have no agent: of the same shape as ours, a P-256 leaf below a
//! P-256 intermediate below a P-384 root: what a handshake costs its client is the same everywhere.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
};
use sealwire_proto::validate::sha256;
use time::{Duration, OffsetDateTime};

use crate::prober::Leaf;
use crate::server::NAME;

/// A chain and its key, as files and APIs want them.
#[derive(Clone)]
pub(crate) struct Material {
    /// Leaf and intermediate.
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    pub(crate) leaf: Leaf,
}

/// A root and an intermediate that issues leaves for [`NAME`].
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let root =
            CertifiedIssuer::self_signed(authority("root"), KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?)?;
        let intermediate =
            CertifiedIssuer::signed_by(authority("intermediate"), KeyPair::generate()?, &root)?;
        Ok(Self { root, intermediate })
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// A leaf with a key of its own.
    pub(crate) fn issue(&self) -> Result<Material> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([NAME.to_owned()])?;
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        limit(&mut params);
        let leaf = params.signed_by(&key, &self.intermediate)?;
        Ok(Material {
            chain_pem: leaf.pem() + &self.intermediate.pem(),
            key_pem: key.serialize_pem(),
            leaf: sha256(leaf.der()),
        })
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Benchmark {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    limit(&mut params);
    params
}

fn limit(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - Duration::HOUR, now + Duration::DAY);
}
