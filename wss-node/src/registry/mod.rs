//! The open sessions of the node: who they are, how they are, and the way to close them from outside. In shards, so
//! that sessions that begin or end do not wait for one another, nor for somebody who lists them.

mod entry;
mod filter;
mod id;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use entry::{Entry, State};
pub(crate) use filter::Filter;
pub(crate) use id::SessionId;
use jiff::Timestamp;

use crate::close::Close;
use crate::outbound::Outbound;
use crate::upgrade::Admission;

/// More than cores that open and close sessions at the same time.
const SHARDS: usize = 16;

/// All open sessions, by the order in which they were opened.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    shards: [Mutex<BTreeMap<u64, Arc<Entry>>>; SHARDS],
    opened: AtomicU64,
}

/// A part of the list.
#[derive(Debug)]
pub(crate) struct Page {
    /// The oldest first.
    pub(crate) sessions: Vec<Arc<Entry>>,
    /// What to go on after; `None`: this was the last page.
    pub(crate) next: Option<u64>,
    /// All that match, on this page and on the others.
    pub(crate) total: u64,
}

impl Registry {
    /// Adds a session until the returned value is dropped.
    pub(crate) fn open(
        self: &Arc<Self>,
        admission: &Admission,
        outbound: &Arc<Outbound>,
        now: Timestamp,
    ) -> Registered {
        let sequence = self.opened.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry::new(SessionId::random(), admission, Arc::clone(outbound), now));
        self.shard(sequence).insert(sequence, Arc::clone(&entry));
        Registered { registry: Arc::clone(self), sequence, entry }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }

    /// Bytes that wait to be written: of all sessions, and of the one with the most.
    pub(crate) fn queued_bytes(&self) -> (usize, usize) {
        let mut queued = (0, 0);
        for shard in &self.shards {
            for entry in locked(shard).values() {
                let bytes = entry.queued_bytes();
                queued = (queued.0 + bytes, queued.1.max(bytes));
            }
        }
        queued
    }

    /// Those that match, the oldest first: at most `limit` of those opened after the one numbered `after`.
    pub(crate) fn page(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Page {
        let mut total = 0;
        let mut found: Vec<(u64, Arc<Entry>)> = Vec::new();
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        for shard in &self.shards {
            let shard = locked(shard);
            total += shard.values().filter(|entry| filter.matches(entry)).count() as u64;
            let matching = shard.range((first, Bound::Unbounded)).filter(|(_, entry)| filter.matches(entry));
            // One more than asked for tells whether there is another page.
            found.extend(matching.take(limit + 1).map(|(at, entry)| (*at, Arc::clone(entry))));
        }
        found.sort_unstable_by_key(|(sequence, _)| *sequence);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|(sequence, _)| *sequence).filter(|_| more);
        Page { sessions: found.into_iter().map(|(_, entry)| entry).collect(), next, total }
    }

    /// All that match.
    pub(crate) fn matching(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(locked(shard).values().filter(|entry| filter.matches(entry)).map(Arc::clone));
        }
        found
    }

    /// Tells those that match to close, and gives them back.
    pub(crate) fn close(&self, filter: &Filter, close: &Close) -> Vec<Arc<Entry>> {
        // They close when they run next, not under a lock.
        let mut matching = self.matching(filter);
        matching.retain(|entry| entry.close(close.clone()));
        matching
    }

    fn shard(&self, sequence: u64) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        // The remainder fits in any case.
        locked(&self.shards[(sequence % SHARDS as u64) as usize])
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session's place in the registry, given back on drop, whatever way the session ends.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    sequence: u64,
    entry: Arc<Entry>,
}

impl Registered {
    /// What is known of the session.
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.shard(self.sequence).remove(&self.sequence);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
