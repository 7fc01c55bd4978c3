//! The broker of a single node that keeps nothing over a restart.
//!
//! Memory is bounded by a budget. Over it, history is given up: the oldest publication of all channels first, whatever
//! channel it is of, so that a subscriber who was away for long may be told that it cannot recover. State (values, keys
//! of maps) and positions are never given up: when there is no history left, publications are refused for now.

use std::sync::Arc;

use super::answer::{Append, Cursor, From, Read, Snapshot, Unavailable};
use super::budget::Budget;
use super::channel::Declined;
use super::draft::Draft;
use super::position::Position;
use super::publication::NewPublication;
use super::rules::Rules;
use super::table::{Clock, Overdue, SWEEP_EVERY, SWEPT, Table, Usage};
use super::{Broker, Deliveries};

/// Channels in memory.
pub struct MemoryBroker {
    table: Table,
    deliveries: Arc<dyn Deliveries>,
}

impl MemoryBroker {
    /// Without channels. `deliveries` is told of publications, from the task of whoever publishes.
    #[must_use]
    pub fn new(budget: Arc<Budget>, deliveries: Arc<dyn Deliveries>, clock: Clock) -> Self {
        Self { table: Table::new(budget, clock), deliveries }
    }

    /// What it holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.table.usage()
    }

    /// Removes keys and forgets channels whose time is over, until it is dropped.
    pub async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for shard in (0..).step_by(SWEPT) {
            ticks.tick().await;
            self.sweep_some(shard..shard + SWEPT).await;
        }
    }

    /// One sweep: keys of all maps, and some of the shards.
    async fn sweep_some(&self, shards: std::ops::Range<usize>) {
        let now = self.table.now();
        for shard in shards {
            self.table.nth(shard).expire(self.table.budget(), now);
        }
        for Overdue { channel, rules, removal } in self.table.overdue() {
            // A conflict says that the key was set again.
            self.append(&channel, &rules, removal).await;
        }
    }

    /// Waits for the channel's turn: until nobody else appends to it and delivers.
    async fn turn(&self, channel: &str, rules: &Arc<Rules>) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let now = self.table.now();
            let mut shard = self.table.shard(channel);
            Arc::clone(&shard.open(self.table.budget(), channel, rules, now).turn)
        };
        turn.lock_owned().await
    }
}

impl Broker for MemoryBroker {
    async fn append(&self, channel: &str, rules: &Arc<Rules>, new: NewPublication) -> Append {
        if let Err(unavailable) = self.table.make_room(new.cost_bytes(), true) {
            return Append::Unavailable(unavailable);
        }
        let _turn = self.turn(channel, rules).await;
        let now = self.table.now();
        let mut shard = self.table.shard(channel);
        let budget = self.table.budget();
        let entry = shard.open(budget, channel, rules, now);
        let offset = match entry.channel.decide(&mut Draft::default(), rules, &new, now) {
            Ok(offset) => offset,
            Err(declined) => return declined.into(),
        };
        let (epoch, interested) = (entry.channel.top().epoch, entry.interested);
        let idempotency_key = new.idempotency_key.clone();
        let publication = Arc::new(new.at(offset, now));
        shard.apply(budget, channel, rules, &publication, idempotency_key.as_deref(), now);
        shard.remember(rules.kind, channel, &publication);
        drop(shard);
        if interested {
            self.deliveries.delivered(channel, &epoch, &publication);
        }
        Append::Appended(Position { epoch, offset })
    }

    async fn read(&self, channel: &str, rules: &Arc<Rules>, from: &From, limit: usize) -> Read {
        self.table.read(channel, rules, from, limit)
    }

    async fn snapshot(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Snapshot {
        self.table.snapshot(channel, rules, cursor, limit)
    }

    async fn begin_anew(&self, channel: &str, rules: &Arc<Rules>) -> Result<(), Unavailable> {
        let _turn = self.turn(channel, rules).await;
        let (budget, now) = (self.table.budget(), self.table.now());
        let was_there = self.table.shard(channel).begin_anew(budget, rules.kind, channel, now);
        if was_there && self.table.has_interest(channel, rules.kind) {
            self.deliveries.gap(channel);
        }
        Ok(())
    }

    fn subscribe(&self, channel: &str, rules: &Arc<Rules>) {
        self.table.subscribe(channel, rules);
    }

    fn unsubscribe(&self, channel: &str) {
        self.table.unsubscribe(channel);
    }
}

impl std::convert::From<Declined> for Append {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Duplicate(position) => Self::Duplicate(position),
            Declined::Conflict { current } => Self::Conflict { current },
            Declined::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

#[cfg(test)]
mod tests;
