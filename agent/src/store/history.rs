//! What happened to a certificate, for people: a bounded list, the newest last.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;

const FILE: &str = "history.json";

/// A year of a certificate that is renewed every few days.
const KEPT: usize = 200;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The generation concerned, 0 for none.
    pub generation: u64,
    /// In one word: started, done, failed, quarantined, rolled_back.
    pub what: String,
    /// For people.
    pub detail: String,
}

pub(super) fn load(dir: &Path) -> Result<Vec<HistoryEntry>, StoreError> {
    Ok(super::load_json(&dir.join(FILE))?.unwrap_or_default())
}

pub(super) fn append(dir: &Path, entry: &HistoryEntry) -> Result<(), StoreError> {
    let mut entries = load(dir)?;
    entries.push(entry.clone());
    let surplus = entries.len().saturating_sub(KEPT);
    entries.drain(..surplus);
    super::save_json(&dir.join(FILE), &entries)
}
