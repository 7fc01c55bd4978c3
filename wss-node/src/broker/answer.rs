//! What a broker is asked and what it answers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::position::Position;
use super::publication::Publication;

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append {
    /// It has its place, as durable as the broker promises.
    Appended(Position),
    /// One with the same idempotency key has: there.
    Duplicate(Position),
    /// What it expected is not so: the last publication (of the key) is there; `None`: there is none.
    Conflict {
        /// What is there.
        current: Option<Position>,
    },
    /// It can never be appended as it is.
    Refused(Refusal),
    /// Not now. It may have been appended all the same: try again with the same idempotency key.
    Unavailable(Unavailable),
}

/// Where a publication is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its place.
    pub position: Position,
    /// It had it before.
    pub duplicate: bool,
}

/// Why a publication has no place: as [`Append`] has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// What it expected is not so.
    Conflict {
        /// What is there.
        current: Option<Position>,
    },
    /// It can never be appended as it is.
    Refused(Refusal),
    /// Not now.
    Unavailable(Unavailable),
}

impl Append {
    /// Whether it has a place.
    ///
    /// # Errors
    /// Why it has none.
    pub fn placed(self) -> Result<Placed, Unplaced> {
        match self {
            Self::Appended(position) => Ok(Placed { position, duplicate: false }),
            Self::Duplicate(position) => Ok(Placed { position, duplicate: true }),
            Self::Conflict { current } => Err(Unplaced::Conflict { current }),
            Self::Refused(refusal) => Err(Unplaced::Refused(refusal)),
            Self::Unavailable(unavailable) => Err(Unplaced::Unavailable(unavailable)),
        }
    }
}

/// Why a publication is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A map takes keys only.
    #[error("a publication to a map needs a key")]
    KeyMissing,
    /// The other kinds take none.
    #[error("only maps have keys that can be set or removed")]
    KeyUnexpected,
    /// Larger than its channel may be.
    #[error("the publication counts for {bytes} bytes, the channel keeps {limit_bytes}")]
    TooLarge {
        /// What it counts for.
        bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// One key too many.
    #[error("the map has {limit} keys, which is its limit")]
    TooManyKeys {
        /// What is allowed.
        limit: usize,
    },
}

/// The broker cannot do it now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; try again in {retry_after:?}")]
pub struct Unavailable {
    /// When it makes sense to ask again.
    pub retry_after: Duration,
    /// What is the matter, for the log.
    pub reason: Cow<'static, str>,
}

impl Unavailable {
    /// A reason that a moment may mend.
    #[must_use]
    pub fn for_now(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Duration::from_secs(1), reason: reason.into() }
    }
}

/// Where to read a log from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Forward, from the first that is kept.
    Oldest,
    /// Forward, all after this one or nothing: what recovery wants.
    After(Position),
    /// Backward, from the last.
    Newest,
    /// Backward, from the one before this.
    Before(Position),
}

/// What is kept of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Publications, in the order that was asked for.
    Page(Page),
    /// The log holds not all that was asked for: start anew from here.
    Unrecoverable {
        /// The last publication.
        top: Position,
    },
    /// Not now.
    Unavailable(Unavailable),
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Consecutive publications; when read forward, there are more if the last one is not the top.
    pub publications: Vec<Arc<Publication>>,
    /// The last publication of the channel.
    pub top: Position,
}

/// The state of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// A part of it.
    Page(StatePage),
    /// The log no longer reaches back to where the snapshot began: begin another one.
    Unrecoverable {
        /// The last publication.
        top: Position,
    },
    /// Not now.
    Unavailable(Unavailable),
}

/// A part of a channel's state: none of a stream, the one publication of a value, entries of a map.
///
/// All pages of one snapshot have one position. Entries that change after it are left out, because the log since that
/// position has them: all pages and then that log make the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePage {
    /// The last publication of each key, with its offset.
    pub entries: Vec<Arc<Publication>>,
    /// Read the log after this.
    pub position: Position,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Cursor>,
}

/// Between two pages of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Of the snapshot.
    pub position: Position,
    /// The last key that was told.
    pub after: Box<str>,
}
