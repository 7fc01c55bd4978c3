//! What the file has, and what one transaction does to it.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `channels` | kind and name | id, epoch, top, last use, rules |
//! | `log` | id, offset | publication |
//! | `state` | id, key (empty for a value) | offset, publication |
//! | `used` | id, time, idempotency key | offset |
//! | `meta` | `format`, `next_id`, `commits` | number |

use std::sync::Arc;

use jiff::Timestamp;
use redb::{StorageError, Table, TableDefinition, WriteTransaction};

use super::codec::{self, Row};
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::Publication;
use crate::broker::rules::{Kind, Rules};
use crate::broker::seen::WINDOW;

pub(super) const CHANNELS: TableDefinition<&str, &[u8]> = TableDefinition::new("channels");
pub(super) const LOG: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("log");
pub(super) const STATE: TableDefinition<(u64, &str), (u64, &[u8])> = TableDefinition::new("state");
pub(super) const USED: TableDefinition<(u64, i64, &str), u64> = TableDefinition::new("used");
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Everything that goes wrong in a transaction.
pub(super) type Failure = Box<redb::Error>;

pub(super) fn failed(error: impl Into<redb::Error>) -> Failure {
    Box::new(error.into())
}

/// What one transaction does to a channel.
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) rules: Arc<Rules>,
    pub(super) epoch: Epoch,
    /// Those before may go from the log.
    pub(super) first: u64,
    /// In their order, each with its idempotency key.
    pub(super) publications: Vec<(Arc<Publication>, Option<Box<str>>)>,
}

/// The tables of a transaction.
pub(super) struct Tables<'t> {
    pub(super) channels: Table<'t, &'static str, &'static [u8]>,
    log: Table<'t, (u64, u64), &'static [u8]>,
    state: Table<'t, (u64, &'static str), (u64, &'static [u8])>,
    used: Table<'t, (u64, i64, &'static str), u64>,
}

impl<'t> Tables<'t> {
    /// Opens them, or makes them.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            channels: transaction.open_table(CHANNELS).map_err(failed)?,
            log: transaction.open_table(LOG).map_err(failed)?,
            state: transaction.open_table(STATE).map_err(failed)?,
            used: transaction.open_table(USED).map_err(failed)?,
        })
    }

    /// Removes the content of a channel.
    pub(super) fn forget(&mut self, id: u64) -> Result<(), StorageError> {
        self.trim(id, u64::MAX)?;
        self.state.retain_in((id, "")..(id + 1, ""), |_, _| false)?;
        self.used.retain_in((id, i64::MIN, "")..(id + 1, i64::MIN, ""), |_, _| false)
    }

    /// Removes publications before `first` from the log of a channel.
    pub(super) fn trim(&mut self, id: u64, first: u64) -> Result<(), StorageError> {
        self.log.retain_in((id, 0)..(id, first), |_, _| false)
    }

    /// Writes the publications of a change, and removes idempotency keys that are past their time.
    pub(super) fn write(&mut self, id: u64, change: &Change, now: Timestamp) -> Result<(), StorageError> {
        let expired = now.checked_sub(WINDOW).map_or(i64::MIN, codec::nanoseconds);
        self.used.retain_in((id, i64::MIN, "")..(id, expired, ""), |_, _| false)?;
        for (publication, idempotency_key) in &change.publications {
            let bytes = codec::publication(publication);
            self.log.insert((id, publication.offset), bytes.as_slice())?;
            let key = publication.key.as_deref().unwrap_or_default();
            if publication.removed {
                self.state.remove((id, key))?;
            } else if change.kind != Kind::Stream {
                self.state.insert((id, key), (publication.offset, bytes.as_slice()))?;
            }
            if let Some(key) = idempotency_key {
                self.used.insert((id, codec::nanoseconds(publication.at), &**key), publication.offset)?;
            }
        }
        let Some((last, _)) = change.publications.last() else { return Ok(()) };
        let top = Position { epoch: change.epoch.clone(), offset: last.offset };
        let row = Row { id, top, used_at: last.at, rules: (*change.rules).clone() };
        let key = codec::channel(change.kind, &change.name);
        self.channels.insert(key.as_str(), codec::row(&row).as_slice())?;
        Ok(())
    }
}
