//! What the judge finds.

use std::fmt;

use super::{Acknowledged, Entry, Payload, Place};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something between two publications did not come, and nobody said so.
    Gap {
        /// Who.
        reader: String,
        /// In which epoch.
        epoch: String,
        /// The offset before the hole.
        after: u64,
        /// The offset after it.
        found: u64,
    },
    /// Something came that had come already, or came late.
    Repeated {
        /// Who.
        reader: String,
        /// In which epoch.
        epoch: String,
        /// Where the reader was.
        after: u64,
        /// What came.
        entry: Entry,
    },
    /// Two have seen different publications at one place.
    Disagreement {
        /// Where.
        place: Place,
        /// Who has seen what.
        seen: [(String, Payload); 2],
    },
    /// One publication at two places.
    Twice {
        /// What.
        payload: Payload,
        /// Where.
        places: [Place; 2],
    },
    /// A publisher's second publication comes before its first.
    OutOfOrder {
        /// Acknowledged before the second was tried.
        first: Acknowledged,
        /// The one after it.
        second: Acknowledged,
    },
    /// A reader was told that nothing is missing in a history that is not the one it had seen.
    FalseRecovery {
        /// Who.
        reader: String,
        /// Where it was.
        before: Place,
        /// Where it was told to be.
        top: Place,
    },
    /// A reader that waits for nothing more has not seen what was acknowledged.
    Unseen {
        /// Who.
        reader: String,
        /// Where it ended.
        end: Place,
        /// The newest of what it has not seen.
        acknowledged: Acknowledged,
    },
    /// Something acknowledged was in an epoch that ended, and should have lasted.
    Gone {
        /// What.
        acknowledged: Acknowledged,
        /// The epoch at the end.
        epoch: String,
    },
    /// Two readers end in different epochs.
    Apart {
        /// Who.
        reader: String,
        /// Where it ended.
        end: Place,
        /// Where the first reader ended.
        other: Place,
    },
    /// A publication that nobody has published.
    Invented {
        /// Who saw it.
        reader: String,
        /// What.
        entry: Entry,
    },
    /// A publication before the subscription.
    Unasked {
        /// Who saw it.
        reader: String,
        /// What.
        entry: Entry,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { reader, epoch, after, found } => {
                write!(f, "gap: {reader} was at {epoch}/{after}, next is {found}")
            }
            Self::Repeated { reader, epoch, after, entry } => {
                write!(f, "repeated: {reader} was at {epoch}/{after} and got {entry}")
            }
            Self::Disagreement { place, seen: [(first, one), (second, other)] } => {
                write!(f, "disagreement: at {place} is {one} for {first}, and {other} for {second}")
            }
            Self::Twice { payload, places: [first, second] } => {
                write!(f, "twice: {payload} at {first} and at {second}")
            }
            Self::OutOfOrder { first, second } => write!(f, "out of order: {first}, and then {second}"),
            Self::FalseRecovery { reader, before, top } => {
                write!(f, "false recovery: {reader} was at {before} and recovered to {top}")
            }
            Self::Unseen { reader, end, acknowledged } => {
                write!(f, "unseen: {reader} ended at {end}, but {acknowledged}")
            }
            Self::Gone { acknowledged, epoch } => {
                write!(f, "gone: {acknowledged}, and the epoch at the end is {epoch}")
            }
            Self::Apart { reader, end, other } => {
                write!(f, "apart: {reader} ended at {end}, the first reader at {other}")
            }
            Self::Invented { reader, entry } => {
                write!(f, "invented: {reader} saw {entry}, which nobody published")
            }
            Self::Unasked { reader, entry } => {
                write!(f, "unasked: {reader} saw {entry} before it was subscribed")
            }
        }
    }
}
