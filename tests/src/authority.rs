//! A CA that makes bundles and staples of any kind, for a scripted agent.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SigningKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::ocsp::testing::Answer;
use sealwire_proto::v1::Bundle;
use time::OffsetDateTime;

use crate::world::World;

/// A CA for bundles and staples.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new root of this name.
    ///
    /// # Panics
    /// When rcgen cannot make one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (now - time::Duration::DAY, now + time::Duration::days(30));
        let issuer = CertifiedIssuer::self_signed(params, key());
        Self { issuer: issuer.unwrap_or_else(|error| panic!("root: {error}")) }
    }

    /// The root's DER.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// For clients.
    ///
    /// # Panics
    /// When webpki does not take it.
    #[must_use]
    pub fn anchors(&self) -> Anchors {
        Anchors::from_der([self.issuer.der().clone()]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A certificate for a client of this DNS name, and its key.
    ///
    /// # Panics
    /// When rcgen cannot make one.
    #[must_use]
    pub fn client(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let now = OffsetDateTime::now_utc();
        let params = CertificateParams::new([name.to_owned()]);
        let mut params = params.unwrap_or_else(|error| panic!("client: {error}"));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + time::Duration::DAY);
        let key = key();
        let leaf = params.signed_by(&key, &self.issuer).unwrap_or_else(|error| panic!("client: {error}"));
        (vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// A chain and a key in PEM for a server at the world's address that is no node.
    ///
    /// # Panics
    /// When rcgen cannot make one.
    #[must_use]
    pub fn server(&self, world: &World) -> (String, String) {
        let (key, names) = (key(), vec!["node.test".to_owned(), world.address.to_string()]);
        let params = CertificateParams::new(names).and_then(|mut params| {
            let now = OffsetDateTime::now_utc();
            (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + time::Duration::DAY);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.signed_by(&key, &self.issuer)
        });
        let leaf = params.unwrap_or_else(|error| panic!("server: {error}"));
        (leaf.pem(), key.serialize_pem())
    }

    /// Its PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes it as `root.pem` of a world.
    pub fn write(&self, world: &World) {
        world.write("root.pem", &self.issuer.pem());
    }

    /// A generation of "web" for a world's node that ends after `lasts`.
    ///
    /// # Panics
    /// When rcgen cannot make one.
    #[must_use]
    pub fn bundle(&self, world: &World, generation: u64, lasts: Duration) -> Bundle {
        let now = OffsetDateTime::now_utc();
        let names = ["node.test".to_owned(), world.address.to_string()];
        let mut params = CertificateParams::new(names).unwrap_or_else(|error| panic!("leaf: {error}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + lasts);
        let key = key();
        let leaf = params.signed_by(&key, &self.issuer).unwrap_or_else(|error| panic!("leaf: {error}"));
        Bundle {
            certificate: "web".to_owned(),
            generation,
            chain: vec![leaf.der().to_vec()],
            key: key.serialize_der(),
            trust_anchors: vec![self.der()],
            staple: Vec::new(),
            staple_policy: 0,
            staple_grace_s: 0,
            r#use: 0,
        }
    }

    /// An OCSP response about a bundle, changed as is said.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn staple(&self, bundle: &Bundle, change: impl FnOnce(&mut Answer<'_>)) -> Vec<u8> {
        let leaf = CertificateDer::from(bundle.chain[0].as_slice());
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let mut answer = Answer::good(&leaf, self.issuer.der(), now);
        change(&mut answer);
        answer.signed(|bytes| self.issuer.key().sign(bytes).unwrap_or_else(|error| panic!("{error}")))
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|error| panic!("key: {error}"))
}
