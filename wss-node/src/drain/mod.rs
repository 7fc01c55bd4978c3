//! How the node stops: when each session is closed, so that all their clients do not come to the other nodes in the same
//! second. The order of things is `service.rs`; what is here decides and counts.

mod capacity;
mod schedule;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::counters::Counters;
use crate::service::Node;
pub(crate) use capacity::{Capacity, Timed};
use schedule::{Schedule, pace};

/// How often it is looked whether all sessions are gone.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// For goodbyes, and for connections that are no sessions yet: nobody is let in any more.
const GOODBYES: Duration = Duration::from_secs(3);

/// What sessions and the end of the node share.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// What a handshake costs here.
    pub(crate) capacity: Capacity,
    schedule: OnceLock<Schedule>,
    moved: AtomicU64,
}

impl Drain {
    /// When the session that asks is to be closed. Each asks once. Without a schedule: now.
    pub(crate) fn leave_at(&self) -> Instant {
        self.schedule.get().map_or_else(Instant::now, Schedule::next)
    }

    /// A session was told to go elsewhere.
    pub(crate) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// What became of the sessions.
#[derive(Debug)]
pub(crate) struct Summary {
    /// There were so many when it began.
    pub(crate) sessions: u64,
    /// So many were told to go elsewhere.
    pub(crate) moved: u64,
    /// So many were still there at the end.
    pub(crate) cut_off: u64,
    /// Closed in a second.
    pub(crate) rate: f64,
    /// For what else has to end.
    pub(crate) left: Duration,
}

/// Closes all sessions, each at its time; ends when they are gone, or `drain.timeout` after the last one's time.
pub(crate) async fn sessions(node: &Node) -> Summary {
    let (config, drain) = (&node.config.drain, &node.drain);
    let present = || Counters::get(&node.counters.sessions);
    let sessions = present();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pace = pace(sessions, config.window, config.sessions_per_second, drain.capacity.cost(), processors);
    tracing::info!(sessions, per_second = pace.rate, takes = ?pace.takes, "closing sessions");
    if let Some(easy) = pace.exceeds {
        tracing::warn!(
            per_second = pace.rate,
            easy,
            "drain.window is too short for so many sessions: other nodes may be slow to take them"
        );
    }
    let begins = Instant::now();
    // Once: a node stops once.
    let _ = drain.schedule.set(Schedule::new(begins, sessions, pace, fastrand::u64(..)));
    node.stopping.cancel();
    let end = begins + pace.takes + config.timeout;
    while present() > 0 && Instant::now() < end {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let left = end.saturating_duration_since(Instant::now()).min(GOODBYES);
    let moved = drain.moved.load(Ordering::Relaxed);
    Summary { sessions, moved, cut_off: present(), rate: pace.rate, left }
}
