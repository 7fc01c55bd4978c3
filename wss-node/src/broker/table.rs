//! The channels that a node has in memory, spread over shards so that two of them seldom wait for each other.

mod order;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub(crate) use shard::{Entry, Overdue, Shard};

use super::answer::{Cursor, From, Read, Snapshot, Unavailable};
use super::budget::Budget;
use super::rules::{Kind, Rules};

const SHARDS: usize = 64;
/// When history must be given up, a little more than needed is, so that it is not for each publication anew.
const SLACK: usize = 64;

/// Between two looks at keys whose time is over; in between, some of the shards are swept.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Shards in one sweep.
pub(crate) const SWEPT: usize = 4;
/// Keys of one map whose time is over, removed in one sweep.
const OVERDUE: usize = 1000;

/// The clock of a broker.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// All of them.
pub(crate) struct Table {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    budget: Arc<Budget>,
    clock: Clock,
    given_up: AtomicU64,
    refused: AtomicU64,
}

/// What the channels of a broker are, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Channels in memory.
    pub channels: usize,
    /// Publications that were given up because memory was short, ever.
    pub given_up: u64,
    /// Calls that were refused because memory was short, ever.
    pub refused: u64,
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    pub(crate) fn new(budget: Arc<Budget>, clock: Clock) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            budget,
            clock,
            given_up: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The shard of a channel.
    pub(crate) fn shard(&self, channel: &str) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(channel) as usize;
        locked(&self.shards[hash % SHARDS])
    }

    /// Each shard, one after the other.
    pub(crate) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(locked)
    }

    /// One shard, by its number modulo their count.
    pub(crate) fn nth(&self, number: usize) -> MutexGuard<'_, Shard> {
        locked(&self.shards[number % SHARDS])
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            channels: self.shards().map(|shard| shard.len()).sum(),
            given_up: self.given_up.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Sees to it that there is room; gives up history for it if `giving_up`: the oldest of all channels first, never
    /// the state. No lock of a shard may be held.
    pub(crate) fn make_room(&self, bytes: usize, giving_up: bool) -> Result<(), Unavailable> {
        if self.budget.has_room(bytes) {
            return Ok(());
        }
        let wanted = bytes.saturating_add(self.budget.limit_bytes() / SLACK);
        while giving_up && !self.budget.has_room(wanted) && self.give_up_oldest(wanted) {}
        if self.budget.has_room(bytes) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (used, limit) = (self.budget.used_bytes(), self.budget.limit_bytes());
        Err(Unavailable::for_now(format!(
            "the channels of this node take {used} of {limit} bytes: raise broker.memory_bytes, or keep less history"
        )))
    }

    /// Gives up the oldest history there is, until there is room or another shard has older; `false`: there is none.
    fn give_up_oldest(&self, wanted: usize) -> bool {
        let mut oldest: Vec<_> = (0..SHARDS).filter_map(|n| Some((self.nth(n).oldest()?, n))).collect();
        oldest.sort_unstable();
        let Some((_, n)) = oldest.first() else { return false };
        let until = oldest.get(1).map_or(Timestamp::MAX, |(at, _)| *at);
        let mut shard = self.nth(*n);
        while !self.budget.has_room(wanted) && shard.oldest().is_some_and(|at| at <= until) {
            let given_up = shard.give_up_oldest(&self.budget);
            self.given_up.fetch_add(given_up.into(), Ordering::Relaxed);
        }
        true
    }

    /// A channel for a reader, up to date; a new one if there is room for it.
    fn look<T>(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        see: impl FnOnce(&mut Entry) -> T,
    ) -> Result<T, Unavailable> {
        let now = self.now();
        let mut shard = self.shard(channel);
        if shard.find(rules.kind, channel).is_none() && !self.budget.has_room(0) {
            drop(shard);
            self.make_room(0, false)?;
            shard = self.shard(channel);
        }
        let entry = shard.open(&self.budget, channel, rules, now);
        let before = entry.channel.bytes();
        entry.channel.touch(now);
        entry.channel.expire(rules, now);
        self.budget.changed(before, entry.channel.bytes());
        Ok(see(entry))
    }

    pub(crate) fn read(&self, channel: &str, rules: &Arc<Rules>, from: &From, limit: usize) -> Read {
        let read = self.look(channel, rules, |entry| entry.channel.read(from, limit));
        read.unwrap_or_else(Read::Unavailable)
    }

    pub(crate) fn snapshot(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Snapshot {
        let snapshot = self.look(channel, rules, |entry| entry.channel.snapshot(cursor, limit));
        snapshot.unwrap_or_else(Snapshot::Unavailable)
    }

    /// Keys whose time is over, of all maps: each removal expects the key as it is.
    pub(crate) fn overdue(&self) -> Vec<Overdue> {
        let now = self.now();
        self.shards().flat_map(|shard| shard.overdue(now, OVERDUE)).collect()
    }

    /// Whether somebody on this node is subscribed.
    pub(crate) fn has_interest(&self, channel: &str, kind: Kind) -> bool {
        self.shard(channel).find(kind, channel).is_some_and(|entry| entry.interested)
    }

    pub(crate) fn subscribe(&self, channel: &str, rules: &Arc<Rules>) {
        let now = self.now();
        self.shard(channel).open(&self.budget, channel, rules, now).interested = true;
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        let now = self.now();
        let mut shard = self.shard(channel);
        for kind in [Kind::Stream, Kind::Value, Kind::Map] {
            if let Some(entry) = shard.find(kind, channel) {
                entry.interested = false;
                // Its time begins when the last one leaves.
                entry.channel.touch(now);
            }
        }
    }
}
