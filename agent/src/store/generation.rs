//! One immutable generation: key, chain and where they came from.

use std::path::Path;

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_proto::validate::LeafFacts;
use serde::{Deserialize, Serialize};
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use super::{Chain, StoreError, check_private, durable};
use crate::keys::KeyType;
use crate::replicas::contents;

const NO_CERTIFICATE: &str = "no PEM block CERTIFICATE in it";

const KEY: &str = "privkey.pem";
const CHAIN: &str = "fullchain.pem";
const METADATA: &str = "metadata.json";

/// Where a generation came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name of the issuer.
    pub issuer: String,
    /// What it was ordered for, as configured then.
    pub identifiers: Vec<String>,
    /// The profile it was ordered with.
    #[serde(default)]
    pub profile: Option<String>,
    /// What kind of key it has.
    #[serde(default)]
    pub key_type: KeyType,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// A generation to be stored.
#[derive(Debug)]
pub struct New<'a> {
    /// DER, leaf first.
    pub chain: &'a [CertificateDer<'static>],
    /// PKCS#8 in PEM.
    pub key_pem: &'a str,
    /// Where it came from.
    pub metadata: Metadata,
}

impl New<'_> {
    /// Writes the files into `dir`, each fsynced.
    pub(super) fn write(&self, dir: &Path, certificate: &str, number: u64) -> Result<(), StoreError> {
        tracing::debug!(certificate, generation = number, "storing");
        let chain = pem_of(self.chain);
        durable::write(&dir.join(KEY), self.key_pem.as_bytes(), 0o600)?;
        durable::write(&dir.join(CHAIN), chain.as_bytes(), 0o644)?;
        let document = Document { metadata: self.metadata.clone(), chain_sha256: Some(digest(&chain)) };
        super::save_json(&dir.join(METADATA), &document)
    }
}

/// What [`METADATA`] holds.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    metadata: Metadata,
    /// Of the file, in hexadecimal: a chain that was cut between two certificates looks whole by itself.
    #[serde(default)]
    chain_sha256: Option<String>,
}

fn digest(text: impl AsRef<[u8]>) -> String {
    sealwire_proto::hex(&sealwire_proto::validate::sha256(text.as_ref()))
}

/// A generation as it is stored, whole and checked.
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// Leaf, and what stands above it.
    pub chain: Chain,
    /// PKCS#8 DER, wiped on drop.
    pub key: Zeroizing<Vec<u8>>,
    /// Where it came from.
    pub metadata: Metadata,
    /// What the leaf says.
    pub leaf: LeafFacts,
}

// By hand, so that the key cannot reach a log.
impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("number", &self.number)
            .field("serial", &self.leaf.serial)
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// Its files, each with the name that it has in a Secret.
    pub(crate) const FILES: [(&'static str, &'static str); 3] =
        [(contents::KEY, KEY), (contents::CHAIN, CHAIN), (contents::METADATA, METADATA)];

    /// Start of validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        Timestamp::from_second(self.leaf.not_before).unwrap_or(Timestamp::MIN)
    }

    /// End of validity.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        Timestamp::from_second(self.leaf.not_after).unwrap_or(Timestamp::MAX)
    }

    /// Whether it is within its validity at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before()..=self.not_after()).contains(&now)
    }

    pub(super) fn read(dir: &Path, number: u64) -> Result<Self, StoreError> {
        let key_path = dir.join(KEY);
        let key_pem = Zeroizing::new(required(&key_path)?);
        check_private(&key_path)?;
        let key = key_from_pem(&key_pem).map_err(|detail| StoreError::damaged(&key_path, detail))?;

        let chain_path = dir.join(CHAIN);
        let chain_pem = required(&chain_path)?;
        let chain = chain_from_pem(&chain_pem).map_err(|detail| StoreError::damaged(&chain_path, detail))?;
        let leaf = LeafFacts::parse(&chain[0])
            .map_err(|rejection| StoreError::damaged(&chain_path, rejection.detail))?;
        sealwire_proto::validate::matching_key(&chain, &PrivatePkcs8KeyDer::from(key.as_slice()))
            .map_err(|rejection| StoreError::damaged(&key_path, rejection.detail))?;

        let metadata_path = dir.join(METADATA);
        let Document { metadata, chain_sha256 } = serde_json::from_slice(&required(&metadata_path)?)
            .map_err(|error| StoreError::damaged(&metadata_path, error.to_string()))?;
        if chain_sha256.is_some_and(|stored| stored != digest(&chain_pem)) {
            let detail = format!("it is not the file that was stored: its SHA-256 is not that of {METADATA}");
            return Err(StoreError::damaged(&chain_path, detail));
        }
        let chain = Chain::of(chain).ok_or_else(|| StoreError::damaged(&chain_path, NO_CERTIFICATE))?;
        Ok(Self { number, chain, key, metadata, leaf })
    }
}

pub(super) fn required(path: &Path) -> Result<Vec<u8>, StoreError> {
    durable::read(path)?.ok_or_else(|| StoreError::damaged(path, "the file is missing"))
}

/// The first PKCS#8 key of a PEM text.
pub(crate) fn key_from_pem(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem)
        .map_err(|error| format!("expected a PEM block PRIVATE KEY: {error}"))?;
    Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec()))
}

/// The certificates of a PEM text; at least one.
pub(crate) fn chain_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    // x509-parser's reader tells an unfinished last block, which others pass over in silence.
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|error| format!("not whole PEM: {error}"))?;
        if block.label == "CERTIFICATE" {
            chain.push(CertificateDer::from(block.contents));
        }
    }
    if chain.is_empty() { Err(NO_CERTIFICATE.to_owned()) } else { Ok(chain) }
}

/// PEM text of certificates, 64 characters a line (RFC 7468).
#[must_use]
pub fn pem_of(chain: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in chain {
        push_block(&mut text, "CERTIFICATE", certificate);
    }
    text
}

/// PEM text of a key in PKCS#8 (RFC 5958), wiped on drop.
#[must_use]
pub(crate) fn key_pem_of(pkcs8: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    push_block(&mut text, "PRIVATE KEY", pkcs8);
    text
}

/// Adds a PEM block. What is in it is left behind in no other buffer, if `text` was empty.
fn push_block(text: &mut String, label: &str, der: &[u8]) {
    use base64::Engine;
    const LINE: usize = 64;
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let around = "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len();
    // At once as large as it gets.
    text.reserve(around + body.len() + body.len().div_ceil(LINE));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII.
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
}
