//! What is published, before and after it has its place.

use bytes::Bytes;
use jiff::Timestamp;

use super::position::Position;

/// Bytes that a publication takes besides its content: the structure, its counts and its places in logs.
const OVERHEAD_BYTES: usize = 208;

/// The condition under which a publication is appended. With a key it is about the key, else about the channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// None.
    #[default]
    Any,
    /// The last publication (of the key) is this one. Offset 0: there is none.
    Position(Position),
    /// The key is not set; the channel has no publication.
    Absent,
    /// The key is set; the channel has a publication.
    Present,
}

/// Names and values that an application attaches to a publication.
pub type Tags = Box<[(Box<str>, Box<str>)]>;

/// A publication that wants its place in a channel.
#[derive(Clone, Debug, Default)]
pub struct NewPublication {
    /// The payload.
    pub data: Bytes,
    /// Which key of a map is set or removed; nothing for the other kinds.
    pub key: Option<Box<str>>,
    /// The key is removed.
    pub removed: bool,
    /// Names and values for the application.
    pub tags: Tags,
    /// Who published it, encoded by the session; empty: not told.
    pub info: Bytes,
    /// A publication with the same key within [`WINDOW`](super::seen::WINDOW) is not appended again.
    pub idempotency_key: Option<Box<str>>,
    /// The condition.
    pub expect: Expect,
}

impl NewPublication {
    /// What it will count for against the limits of its channel and of the node, in bytes.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        cost_bytes(&self.data, self.key.as_deref(), &self.tags, &self.info)
    }

    /// The publication in its place.
    #[must_use]
    pub fn at(self, offset: u64, at: Timestamp) -> Publication {
        let Self { data, key, removed, tags, info, .. } = self;
        Publication { offset, at, data, key, removed, tags, info }
    }
}

/// A publication of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// Its place, within the epoch of the channel.
    pub offset: u64,
    /// When it was appended, by the clock of the broker.
    pub at: Timestamp,
    /// The payload.
    pub data: Bytes,
    /// Which key of a map is set or removed.
    pub key: Option<Box<str>>,
    /// The key is removed.
    pub removed: bool,
    /// Names and values for the application.
    pub tags: Tags,
    /// Who published it, encoded by the session.
    pub info: Bytes,
}

impl Publication {
    /// What it counts for against limits, in bytes.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        cost_bytes(&self.data, self.key.as_deref(), &self.tags, &self.info)
    }
}

fn cost_bytes(data: &Bytes, key: Option<&str>, tags: &Tags, info: &Bytes) -> usize {
    // Two strings of a tag are four words more.
    let tags: usize = tags.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    OVERHEAD_BYTES + data.len() + key.map_or(0, str::len) + tags + info.len()
}
