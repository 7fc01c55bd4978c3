//! Channels: totally ordered logs of publications, kept in memory, on disk, or by a cluster of NATS servers.
//!
//! ```text
//! publisher ─▶ append ─▶ decide (place, duplicate, conflict) ─▶ durable ─▶ apply ─▶ Deliveries ─▶ hub
//! subscriber ─▶ subscribe, snapshot, read ──────────────────────────────▶ follow: merged by offset
//! ```
//!
//! `channel` holds the rules of one channel, `follow` those of one subscriber; both are pure. docs/sync.md says
//! what is promised.

pub mod answer;
pub mod any;
pub mod budget;
mod channel;
pub mod disk;
mod draft;
pub mod follow;
pub mod jetstream;
pub mod memory;
pub mod position;
pub mod presence;
pub mod publication;
pub mod rules;
pub mod seen;
mod state;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use answer::{Append, Cursor, From, Read, Snapshot, Unavailable};
use position::Epoch;
use publication::{NewPublication, Publication};
use rules::Rules;

/// Where channels live.
///
/// Namespaces decide which broker a channel belongs to, and its rules; both must be the same with every call, on every
/// node. Calls wait for nothing but the durability that the broker promises.
pub trait Broker: Send + Sync {
    /// Gives a publication its place, and answers when it is as durable as this broker promises.
    fn append(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        new: NewPublication,
    ) -> impl Future<Output = Append> + Send;

    /// Reads at most `limit` publications of the log; 0 tells the top only.
    fn read(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        from: &From,
        limit: usize,
    ) -> impl Future<Output = Read> + Send;

    /// Reads at most `limit` entries of the state, from where the page before ended.
    fn snapshot(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> impl Future<Output = Snapshot> + Send;

    /// Removes all publications of a channel: it begins anew, under another epoch, and its subscribers are told of a gap.
    /// Answers when that is as durable as this broker promises. A channel without publications stays as it is.
    fn begin_anew(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// From now on deliveries of this channel are wanted. Read the log after this, not before.
    fn subscribe(&self, channel: &str, rules: &Arc<Rules>);

    /// And no longer.
    fn unsubscribe(&self, channel: &str);
}

/// Who is told of publications of channels that were subscribed to: the hub.
///
/// Calls for one channel come one at a time, and in order unless a gap is told. They come from the thread that has
/// made the publication durable, with the channel locked: they must neither wait nor call the broker.
pub trait Deliveries: Send + Sync {
    /// The next publication.
    fn delivered(&self, channel: &str, epoch: &Epoch, publication: &Arc<Publication>);

    /// Publications may be missing, or the epoch may be another: read the log.
    fn gap(&self, channel: &str);
}

/// Whether something made at `at` has lived for `lifetime`.
pub(crate) fn older(at: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(lifetime).is_ok_and(|lifetime| now.duration_since(at) >= lifetime)
}
