//! The order under way: its key is on disk before the CA hears of it, its URL as soon as the CA has told
//! it, so that a crash at any instant resumes this order and never places a second one.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{StoreError, check_private, durable};
use crate::keys::KeyType;

const KEY: &str = "order.pem";
const ORDER: &str = "order.json";

/// One attempt to obtain.
#[derive(Clone, Serialize, Deserialize)]
pub struct Journal {
    /// The key the certificate will be for (PKCS#8 PEM); in a file of its own.
    #[serde(skip)]
    pub key_pem: Zeroizing<String>,
    /// Name of the issuer.
    pub issuer: String,
    /// What is ordered.
    pub identifiers: Vec<String>,
    /// The profile that is ordered.
    #[serde(default)]
    pub profile: Option<String>,
    /// What kind of key it is for.
    #[serde(default)]
    pub key_type: KeyType,
    /// When it began.
    pub started_at: Timestamp,
    /// The order, once the CA has accepted it.
    pub order_url: Option<String>,
}

// By hand, so that the key cannot reach a log.
impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("issuer", &self.issuer)
            .field("identifiers", &self.identifiers)
            .field("order_url", &self.order_url)
            .finish_non_exhaustive()
    }
}

impl Journal {
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, StoreError> {
        let key_path = dir.join(KEY);
        let Some(mut journal) = super::load_json::<Self>(&dir.join(ORDER))? else {
            // Left by a crash before the order or after its end: no order will ever need it.
            if let Err(error) = durable::remove(&key_path) {
                tracing::warn!(%error, "the key of no order stays");
            }
            return Ok(None);
        };
        let Some(key) = durable::read(&key_path)? else {
            // Without its key the order is worthless.
            tracing::error!(path = %key_path.display(), "the key of the order under way is gone; a new order is placed");
            return Ok(None);
        };
        check_private(&key_path)?;
        journal.key_pem = Zeroizing::new(String::from_utf8_lossy(&key).into_owned());
        Ok(Some(journal))
    }

    /// Whether [`Journal::load`] would find one. Changes nothing.
    pub(super) fn is_in(dir: &Path) -> Result<bool, StoreError> {
        let order = durable::read(&dir.join(ORDER))?;
        let whole = order.is_some_and(|text| serde_json::from_slice::<Self>(&text).is_ok());
        Ok(whole && dir.join(KEY).exists())
    }

    /// The key first: a journal never names a key that is not on disk.
    pub(super) fn save(&self, dir: &Path) -> Result<(), StoreError> {
        durable::write(&dir.join(KEY), self.key_pem.as_bytes(), 0o600)?;
        super::save_json(&dir.join(ORDER), self)
    }

    /// Takes over the files of another replica's journal; the key first.
    pub(super) fn install(dir: &Path, order: &[u8], key: &[u8]) -> Result<(), StoreError> {
        durable::write(&dir.join(KEY), key, 0o600)?;
        durable::write(&dir.join(ORDER), order, 0o600)
    }

    /// The journal first, for the same reason.
    pub(super) fn clear(dir: &Path) -> Result<(), StoreError> {
        durable::remove(&dir.join(ORDER))?;
        durable::remove(&dir.join(KEY))
    }
}
