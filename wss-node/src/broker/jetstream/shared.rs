//! The channels that this node serves, and how their replicas are made and kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::log::{Failure, Log, Message};
use super::message::Written;
use super::names::Names;
use super::replica::{Replica, Taken};
use crate::broker::Deliveries;
use crate::broker::answer::Unavailable;
use crate::broker::budget::Budget;
use crate::broker::position::Position;
use crate::broker::rules::{Kind, Rules};
use crate::broker::table::Clock;

/// Messages that a replica catches up with one by one; with more it is made anew.
const CATCH_UP: usize = 256;

/// By kind and name.
pub(super) type Channels = HashMap<(Kind, Arc<str>), Arc<Live>>;

/// What appenders, readers and the followers of the partitions share.
pub(super) struct Shared {
    pub(super) names: Names,
    pub(super) logs: Vec<Log>,
    pub(super) channels: Mutex<Channels>,
    pub(super) budget: Arc<Budget>,
    pub(super) deliveries: Arc<dyn Deliveries>,
    pub(super) clock: Clock,
    pub(super) timeout: Duration,
    /// For each partition: its follower has its consumer.
    pub(super) following: Vec<AtomicBool>,
}

/// A channel that this node serves.
pub(super) struct Live {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) filter: String,
    pub(super) partition: usize,
    pub(super) interested: AtomicBool,
    /// One append at a time: the next expects what this one made.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// One makes the replica, the others wait.
    making: tokio::sync::Mutex<()>,
    pub(super) held: Mutex<Held>,
}

/// The replica, and what it counts for.
pub(super) struct Held {
    pub(super) replica: Option<Replica>,
    /// It has had all that the leader had since it was made. Until then it takes what comes, and nobody reads it: it was
    /// made from a server that may be far behind.
    pub(super) is_current: bool,
    pub(super) rules: Arc<Rules>,
    pub(super) bytes: usize,
    pub(super) used_at: Timestamp,
}

impl Live {
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The replica, for those who read it.
    pub(super) fn current(&mut self) -> Option<&mut Replica> {
        self.replica.as_mut().filter(|_| self.is_current)
    }

    /// Something has changed: what it counts for, too.
    pub(super) fn count(&mut self, budget: &Budget) {
        let bytes = self.replica.as_ref().map_or(0, |replica| replica.channel.bytes());
        budget.changed(std::mem::replace(&mut self.bytes, bytes), bytes);
    }
}

pub(super) fn unavailable(reason: impl std::fmt::Display) -> Unavailable {
    Unavailable::for_now(format!("the NATS cluster: {reason}"))
}

pub(super) fn failed(failure: Failure) -> Unavailable {
    match failure {
        Failure::Unknown(why) => unavailable(why),
        Failure::Moved | Failure::TooLarge => unavailable("others are faster"),
    }
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn log(&self, live: &Live) -> &Log {
        &self.logs[live.partition]
    }

    pub(super) fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a channel, with or without a replica.
    pub(super) fn place(&self, channel: &str, rules: &Arc<Rules>) -> Arc<Live> {
        let now = self.now();
        let name: Arc<str> = channel.into();
        let live = self
            .channels()
            .entry((rules.kind, Arc::clone(&name)))
            .or_insert_with(|| {
                Arc::new(Live {
                    kind: rules.kind,
                    filter: self.names.filter(rules.kind, channel),
                    partition: self.names.partition(channel).into(),
                    name,
                    interested: AtomicBool::new(false),
                    turn: tokio::sync::Mutex::default(),
                    making: tokio::sync::Mutex::default(),
                    held: Mutex::new(Held {
                        replica: None,
                        is_current: false,
                        rules: Arc::clone(rules),
                        bytes: 0,
                        used_at: now,
                    }),
                })
            })
            .clone();
        // Not under the lock of all: whoever delivers holds this one.
        let mut held = live.held();
        held.used_at = now;
        held.rules = Arc::clone(rules);
        drop(held);
        live
    }

    /// A channel with a replica that was up to date when this was called, or is since it was made.
    pub(super) async fn live(&self, channel: &str, rules: &Arc<Rules>) -> Result<Arc<Live>, Unavailable> {
        let live = self.place(channel, rules);
        let make = async {
            while live.held().current().is_none() {
                let _making = live.making.lock().await;
                if live.held().current().is_none() {
                    self.make(&live).await?;
                }
            }
            Ok(())
        };
        self.in_time(make).await?;
        Ok(live)
    }

    /// Makes a replica from the stream; a channel that has no message begins now, so that all nodes agree on its epoch.
    async fn make(&self, live: &Live) -> Result<(), Unavailable> {
        if !self.budget.has_room(0) {
            return Err(Unavailable::for_now("the channels of this node take all of broker.memory_bytes"));
        }
        let log = self.log(live);
        let messages = log.all(&live.filter).await.map_err(failed)?;
        let last = messages.last().map(|message| message.sequence);
        let written: Vec<Written> = messages.into_iter().filter_map(|message| message.written).collect();
        let rules = Arc::clone(&live.held().rules);
        if let Some(mut replica) = Replica::restore(live.kind, &rules, &written, self.now()) {
            replica.sequence = last.unwrap_or(replica.sequence);
            self.hold(live, replica);
            // What came since is not in it, and its follower may have passed over it.
            self.catch_up(live).await.map_err(failed)?;
            // Unless it was broken up meanwhile: then there is none.
            live.held().is_current = true;
            return Ok(());
        }
        // Read back by the next turn of the loop; so is what another node began.
        self.begin(live, last.unwrap_or(0)).await.map_err(failed)
    }

    fn hold(&self, live: &Live, replica: Replica) {
        let mut held = live.held();
        held.replica = Some(replica);
        held.is_current = false;
        held.count(&self.budget);
    }

    /// Sees to it that the replica has a position that was told by another node, if the leader has it: what comes by
    /// itself may be later than a client that moves.
    async fn reach(&self, live: &Live, position: &Position) -> Result<(), Unavailable> {
        let top = live.held().current().map(|replica| replica.channel.top());
        if top.is_none_or(|top| top.epoch != position.epoch || top.offset >= position.offset) {
            return Ok(());
        }
        self.in_time(async { self.catch_up(live).await.map(drop).map_err(failed) }).await
    }

    async fn in_time(&self, work: impl Future<Output = Result<(), Unavailable>>) -> Result<(), Unavailable> {
        let done = tokio::time::timeout(self.timeout, work).await;
        done.unwrap_or_else(|_| Err(unavailable("it does not answer")))
    }

    /// Takes what the leader has and the replica has not; tells whether there was anything.
    pub(super) async fn catch_up(&self, live: &Live) -> Result<bool, Failure> {
        let log = self.log(live);
        let last = log.last(&live.filter).await?;
        let mut changed = false;
        for _ in 0..CATCH_UP {
            let Some(sequence) = live.held().replica.as_ref().map(|replica| replica.sequence) else {
                return Ok(true);
            };
            if last < sequence && last == 0 {
                // Purged.
                self.break_up(live);
                return Ok(true);
            }
            if sequence >= last {
                return Ok(changed);
            }
            changed = true;
            match log.next(&live.filter, sequence + 1).await? {
                Some(message) => self.take(live, message),
                None => self.break_up(live),
            }
        }
        self.break_up(live);
        Ok(true)
    }

    /// A message of a channel has come, by whatever way.
    pub(super) fn take(&self, live: &Live, message: Message) {
        let mut held = live.held();
        let rules = Arc::clone(&held.rules);
        let Some(replica) = &mut held.replica else { return };
        let Some(written) = message.written else {
            // Not a broker's: it takes a sequence, and that is all.
            replica.sequence = replica.sequence.max(message.sequence);
            return;
        };
        match replica.take(&rules, &written) {
            Taken::Known => {}
            Taken::Next(publication) => {
                held.count(&self.budget);
                if live.interested.load(Ordering::Acquire) {
                    // Under the lock of the channel: deliveries keep its order.
                    self.deliveries.delivered(&live.name, &written.epoch, &publication);
                }
            }
            Taken::Broken => {
                drop(held);
                self.break_up(live);
            }
        }
    }

    /// The replica is not to be believed: the next reader makes it anew.
    pub(super) fn break_up(&self, live: &Live) {
        let mut held = live.held();
        held.replica = None;
        held.is_current = false;
        held.count(&self.budget);
        if live.interested.load(Ordering::Acquire) {
            self.deliveries.gap(&live.name);
        }
    }

    /// Looks at a replica, once it has `position` if the leader has it.
    pub(super) async fn look<T>(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        position: Option<&Position>,
        see: impl Fn(&Replica) -> T,
    ) -> Result<T, Unavailable> {
        loop {
            let live = self.live(channel, rules).await?;
            if let Some(position) = position {
                self.reach(&live, position).await?;
            }
            let now = self.now();
            let mut held = live.held();
            // It may have been broken up since.
            let Some(replica) = held.current() else { continue };
            replica.channel.expire(rules, now);
            let seen = see(replica);
            held.count(&self.budget);
            return Ok(seen);
        }
    }
}
