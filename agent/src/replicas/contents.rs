//! What a Secret holds: small files by name. Of a certificate they are those of its current generation, of the order
//! under way, and the memory; of an account, those of its directory.

use std::collections::BTreeMap;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use sealwire_proto::hex;
use sealwire_proto::validate::sha256;
use zeroize::Zeroizing;

/// The number of the generation, in decimal.
pub const GENERATION: &str = "generation";
/// Of the generation; the names that other readers of TLS Secrets look for.
pub const CHAIN: &str = "tls.crt";
/// Of the generation: its key, PKCS#8 in PEM.
pub const KEY: &str = "tls.key";
/// Of the generation: where it came from.
pub const METADATA: &str = "metadata.json";
/// The order under way.
pub const ORDER: &str = "order.json";
/// Its key.
pub const ORDER_KEY: &str = "order.pem";
/// What is remembered of the certificate.
pub const MEMORY: &str = "memory.json";

/// etcd takes 1.5 MiB for an object, the API server 1 MiB for a Secret; ours have a few KiB.
const MAX_BYTES: usize = 512 * 1024;

/// Files by name; wiped on drop.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<String, Zeroizing<Vec<u8>>>);

// By hand, so that no key can reach a log.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

impl Contents {
    /// From `data` of a Secret.
    ///
    /// # Errors
    /// Which entry is not base64, or that it is too large.
    pub fn decode(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        let mut bytes = 0;
        for (name, text) in data {
            let file = BASE64_STANDARD.decode(text).map_err(|_| format!("{name} is not base64"))?;
            bytes += file.len();
            if bytes > MAX_BYTES {
                return Err(format!("it has more than {MAX_BYTES} bytes"));
            }
            files.insert(name.clone(), Zeroizing::new(file));
        }
        Ok(Self(files))
    }

    /// As `data` of a Secret.
    #[must_use]
    pub fn encode(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, bytes)| (name.clone(), BASE64_STANDARD.encode(&**bytes))).collect()
    }

    /// One file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|bytes| bytes.as_slice())
    }

    /// Puts a file in.
    pub fn insert(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), Zeroizing::new(bytes));
    }

    /// All of them.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of the generation, if there is one.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        std::str::from_utf8(self.file(GENERATION)?).ok()?.trim().parse().ok().filter(|number| *number > 0)
    }

    /// Changes with every change of a name or a byte; in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in &self.0 {
            text += &format!("{name} {} {}\n", bytes.len(), hex(&sha256(bytes)));
        }
        hex(&sha256(text.as_bytes()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_never_printed() {
        let mut contents = Contents::default();
        contents.insert(GENERATION, b"7\n".to_vec());
        contents.insert(KEY, b"very secret".to_vec());
        assert_eq!(Contents::decode(&contents.encode()).unwrap(), contents);
        assert_eq!(contents.generation(), Some(7));
        assert!(!format!("{contents:?}").contains("secret"), "{contents:?}");
        assert_eq!(Contents::default().generation(), None);
    }

    #[test]
    fn every_change_shows_in_the_digest() {
        let mut contents = Contents::default();
        contents.insert("a", b"1".to_vec());
        let before = contents.digest();
        let mut other = contents.clone();
        other.insert("a", b"2".to_vec());
        assert_ne!(other.digest(), before);
        let mut other = contents.clone();
        other.insert("b", Vec::new());
        assert_ne!(other.digest(), before);
    }

    #[test]
    fn what_is_no_secret_of_ours_is_refused() {
        let data = |text: &str| BTreeMap::from([("x".to_owned(), text.to_owned())]);
        assert!(Contents::decode(&data("%")).unwrap_err().contains("x is not base64"));
        assert!(
            Contents::decode(&data(&"AAAA".repeat(MAX_BYTES / 3 + 1))).unwrap_err().contains("more than")
        );
    }
}
