//! The broker of many nodes: NATS JetStream orders, keeps and spreads publications.
//!
//! A channel is the messages of its subjects in one of a few shared streams. Each append expects the last message of its
//! channel to be the one that this node knows, so whoever appends has seen everything before: offsets are dense,
//! compare-and-set is exact, and a retry after an unknown outcome finds what it has done. Each node keeps a replica of
//! the channels it serves (`replica`), made from the stream and fed by one consumer for each partition.

mod anew;
mod append;
mod fetch;
mod flushes;
mod follow;
mod log;
mod member;
mod message;
mod moves;
mod names;
mod options;
mod presence;
mod replica;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::log::Log;
pub use self::moves::JetStreamMoves;
use self::names::Names;
pub use self::options::{ConnectError, Options};
pub use self::presence::JetStreamPresence;
use self::shared::Shared;
use super::answer::{Append, Cursor, From, Read, Snapshot, Unavailable};
use super::budget::Budget;
use super::publication::NewPublication;
use super::rules::{Kind, Rules};
use super::table::{Clock, SWEEP_EVERY};
use super::{Broker, Deliveries};

/// How long a replica that nobody uses is kept.
const UNUSED: Duration = Duration::from_secs(60);
/// Keys of one map whose time is over, removed in one sweep.
const OVERDUE: usize = 256;

/// Channels in a cluster.
pub struct JetStreamBroker {
    shared: Arc<Shared>,
    followers: Vec<tokio::task::JoinHandle<()>>,
    survives_power_cut: Option<bool>,
}

impl JetStreamBroker {
    /// Connects, finds or makes the streams, and follows them.
    ///
    /// # Errors
    /// When no server answers, or a stream cannot be made or is not what the configuration says.
    pub async fn connect(
        options: &Options,
        budget: Arc<Budget>,
        deliveries: Arc<dyn Deliveries>,
        clock: Clock,
    ) -> Result<Self, ConnectError> {
        let client = options.connect().await?;
        let names = Names::new(&options.prefix, options.partitions);
        let mut logs = Vec::new();
        for partition in 0..names.partitions() {
            logs.push(Log::open(&client, &names, partition, options).await?);
        }
        let following = logs.iter().map(|_| AtomicBool::new(false)).collect();
        let shared = Arc::new(Shared {
            names,
            logs,
            channels: std::sync::Mutex::default(),
            budget,
            deliveries,
            clock,
            timeout: options.timeout,
            following,
        });
        let feeds = (0..shared.logs.len()).map(|partition| follow::first(&shared, partition));
        let feeds = futures_util::future::try_join_all(feeds).await?;
        let follow = |(partition, feed)| tokio::spawn(follow::run(Arc::clone(&shared), partition, feed));
        let followers = feeds.into_iter().enumerate().map(follow).collect();
        let survives_power_cut = flushes::all_flush(&options.monitors).await;
        flushes::say(survives_power_cut);
        Ok(Self { shared, followers, survives_power_cut })
    }

    /// Whether an acknowledged publication survives a power cut of all servers, as they said at the start; `None`: they
    /// did not say.
    #[must_use]
    pub fn survives_power_cut(&self) -> Option<bool> {
        self.survives_power_cut
    }

    /// Partitions whose publications do not come at present: what is read of them may be old.
    #[must_use]
    pub fn stale_partitions(&self) -> usize {
        self.shared.following.iter().filter(|following| !following.load(Ordering::Relaxed)).count()
    }

    /// Channels that this node has a replica of.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.shared.channels().len()
    }

    /// Removes keys whose time is over and forgets replicas that nobody uses, until it is dropped.
    pub async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep_once().await;
        }
    }

    async fn sweep_once(&self) {
        let now = self.shared.now();
        let mut overdue = Vec::new();
        let channels: Vec<_> = self.shared.channels().values().cloned().collect();
        for live in channels {
            let mut held = live.held();
            let rules = Arc::clone(&held.rules);
            if let Some(replica) = &mut held.replica {
                replica.channel.expire(&rules, now);
                let removals = replica.channel.overdue_keys(&rules, now, OVERDUE);
                overdue
                    .extend(removals.into_iter().map(|it| (Arc::clone(&live.name), Arc::clone(&rules), it)));
            }
            held.count(&self.shared.budget);
        }
        self.shared.channels().retain(|_, live| {
            // Whoever has it now may be about to subscribe; nobody can get it meanwhile.
            let in_use = Arc::strong_count(live) > 1 || live.interested.load(Ordering::Acquire);
            if in_use || !super::older(live.held().used_at, UNUSED, now) {
                return true;
            }
            let mut held = live.held();
            held.replica = None;
            held.count(&self.shared.budget);
            false
        });
        for (channel, rules, removal) in overdue {
            // A conflict says that it was set again, or that another node was faster.
            self.shared.append(&channel, &rules, removal).await;
        }
    }
}

impl Drop for JetStreamBroker {
    fn drop(&mut self) {
        for follower in &self.followers {
            follower.abort();
        }
    }
}

impl Broker for JetStreamBroker {
    async fn append(&self, channel: &str, rules: &Arc<Rules>, new: NewPublication) -> Append {
        self.shared.append(channel, rules, new).await
    }

    async fn read(&self, channel: &str, rules: &Arc<Rules>, from: &From, limit: usize) -> Read {
        let position = match from {
            From::After(position) | From::Before(position) => Some(position),
            From::Oldest | From::Newest => None,
        };
        let read =
            self.shared.look(channel, rules, position, |replica| replica.channel.read(from, limit)).await;
        read.unwrap_or_else(Read::Unavailable)
    }

    async fn snapshot(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Snapshot {
        let snapshot =
            self.shared.look(channel, rules, None, |replica| replica.channel.snapshot(cursor, limit)).await;
        snapshot.unwrap_or_else(Snapshot::Unavailable)
    }

    async fn begin_anew(&self, channel: &str, rules: &Arc<Rules>) -> Result<(), Unavailable> {
        self.shared.begin_anew(channel, rules).await
    }

    fn subscribe(&self, channel: &str, rules: &Arc<Rules>) {
        self.shared.place(channel, rules).interested.store(true, Ordering::Release);
    }

    fn unsubscribe(&self, channel: &str) {
        let name: Arc<str> = channel.into();
        let channels = self.shared.channels();
        for kind in [Kind::Stream, Kind::Value, Kind::Map] {
            if let Some(live) = channels.get(&(kind, Arc::clone(&name))) {
                live.interested.store(false, Ordering::Release);
            }
        }
    }
}
