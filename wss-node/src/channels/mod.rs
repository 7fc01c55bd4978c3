//! Channels, as sessions and the server API see them: found by name, published to, subscribed to, looked into.
//!
//! ```text
//! session ─┐                        ┌─▶ broker (memory, disk, cluster) ─▶ hub ─▶ room ─▶ queues of sessions
//! API ─────┴─▶ Channels ─▶ Channel ─┤
//!                                   └─▶ presence
//! ```

mod brokers;
pub(crate) mod form;
mod hub;
mod join;
mod namespace;
mod room;
mod subscriber;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::broker::answer::{Append, Cursor, From, Read, Snapshot, Unavailable};
pub(crate) use crate::broker::any::AnyBroker;
use crate::broker::budget::Budget;
use crate::broker::jetstream::{JetStreamMoves, JetStreamPresence};
use crate::broker::memory::MemoryBroker;
use crate::broker::presence::{LocalPresence, Member, Move, Presence};
use crate::broker::publication::NewPublication;
use crate::broker::table::Clock;
use crate::config::{Config, Durability};
use crate::counters::Counters;
pub use brokers::BrokerError;
use hub::Wanted;
pub(crate) use hub::{Hub, Place};
pub(crate) use join::{Join, Joined, Since};
use namespace::Catalogue;
pub(crate) use namespace::Namespace;
use room::{Caught, Room};
pub(crate) use subscriber::Newcomer;

/// Reads for subscribers that lost the thread, under way at the same time.
const READS: usize = 32;

/// A channel: what all nodes call it, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// With its tenant's prefix.
    pub(crate) name: Arc<str>,
    pub(crate) namespace: Arc<Namespace>,
}

/// All channels of the node.
pub(crate) struct Channels {
    pub(crate) hub: Arc<Hub>,
    catalogue: Catalogue,
    /// What names of tenants' channels begin with.
    prefixes: Vec<String>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) memory: Arc<MemoryBroker>,
    disk: OnceLock<AnyBroker>,
    cluster: OnceLock<AnyBroker>,
    presence: Arc<LocalPresence>,
    cluster_presence: OnceLock<JetStreamPresence>,
    /// Empty where no namespace wants them.
    cluster_moves: OnceLock<JetStreamMoves>,
    counters: Arc<Counters>,
    /// Until [`Channels::start`] takes it.
    reads: std::sync::Mutex<Option<mpsc::UnboundedReceiver<Wanted>>>,
    clock: Clock,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

impl Channels {
    /// Those in memory; [`Channels::open`] brings the others.
    pub(crate) fn new(config: &Config, counters: &Arc<Counters>, clock: Clock) -> Arc<Self> {
        let (hub, reads) = Hub::new(Arc::clone(counters));
        let budget = Arc::new(Budget::new(config.broker.memory_bytes));
        let memory = MemoryBroker::new(Arc::clone(&budget), Arc::clone(&hub) as _, Arc::clone(&clock));
        let prefixes = config.tenant.iter().map(|tenant| tenant.channel_prefix.clone());
        Arc::new(Self {
            hub,
            catalogue: Catalogue::new(&config.namespaces),
            prefixes: prefixes.filter(|prefix| !prefix.is_empty()).collect(),
            budget,
            memory: Arc::new(memory),
            disk: OnceLock::new(),
            cluster: OnceLock::new(),
            presence: Arc::new(LocalPresence::new(Arc::clone(&clock))),
            cluster_presence: OnceLock::new(),
            cluster_moves: OnceLock::new(),
            counters: Arc::clone(counters),
            reads: std::sync::Mutex::new(Some(reads)),
            clock,
        })
    }

    /// Opens the brokers that namespaces need.
    ///
    /// # Errors
    /// [`BrokerError`]: the disk or the NATS servers cannot be used.
    pub(crate) async fn open(&self, config: &Config) -> Result<(), BrokerError> {
        brokers::open(self, config).await
    }

    /// What runs as long as the node: until the set is dropped.
    pub(crate) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let memory = Arc::clone(&self.memory);
        tasks.spawn(async move { memory.sweep().await });
        tasks.spawn(Arc::clone(&self.presence).sweep());
        for broker in self.disk.get().into_iter().chain(self.cluster.get()) {
            match broker.clone() {
                AnyBroker::Disk(disk) => tasks.spawn(async move { disk.sweep().await }),
                AnyBroker::Cluster(cluster) => tasks.spawn(async move { cluster.sweep().await }),
                AnyBroker::Memory(_) => continue,
            };
        }
        let reads = self.reads.lock().ok().and_then(|mut reads| reads.take());
        if let Some(reads) = reads {
            tasks.spawn(Arc::clone(self).read_for_those_who_lost_the_thread(reads));
        }
        tasks
    }

    async fn read_for_those_who_lost_the_thread(self: Arc<Self>, mut reads: mpsc::UnboundedReceiver<Wanted>) {
        let places = Arc::new(Semaphore::new(READS));
        while let Some(wanted) = reads.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let own = Arc::clone(&self);
            tokio::spawn(async move {
                own.read_for(wanted).await;
                drop(place);
            });
        }
    }

    async fn read_for(&self, wanted: Wanted) {
        let Wanted { room, seat, mut from, mut number } = wanted;
        loop {
            let read = self.read(&room.channel, &from, room.channel.namespace.config.recovery_limit).await;
            if let Read::Unavailable(Unavailable { retry_after, .. }) = &read {
                tokio::time::sleep(*retry_after).await;
            }
            match room.read_back(seat, number, read) {
                Caught::Behind { from: next, number: next_number } => (from, number) = (next, next_number),
                Caught::Up | Caught::Lost | Caught::Gone => return,
            }
        }
    }

    /// A channel by the name that a tenant's clients give it; `full` is the same with the tenant's prefix.
    pub(crate) fn called(&self, called: &str, full: String) -> Option<Channel> {
        let namespace = Arc::clone(self.catalogue.of(called)?);
        Some(Channel { name: full.into(), namespace })
    }

    /// A channel by its full name.
    pub(crate) fn find(&self, full: &str) -> Option<Channel> {
        let prefix = self.prefixes.iter().find(|prefix| full.starts_with(prefix.as_str()));
        let called = prefix.map_or(full, |prefix| &full[prefix.len()..]);
        self.called(called, full.to_owned())
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The brokers that are open.
    pub(crate) fn brokers(&self) -> impl Iterator<Item = AnyBroker> {
        let memory = AnyBroker::Memory(Arc::clone(&self.memory));
        let others = [&self.disk, &self.cluster].into_iter().filter_map(OnceLock::get).cloned();
        std::iter::once(memory).chain(others)
    }

    fn broker(&self, channel: &Channel) -> Result<AnyBroker, Unavailable> {
        let found = match channel.namespace.durability() {
            Durability::Memory => Some(AnyBroker::Memory(Arc::clone(&self.memory))),
            Durability::Disk => self.disk.get().cloned(),
            Durability::Cluster => self.cluster.get().cloned(),
        };
        found.ok_or_else(|| Unavailable::for_now("its broker is not open"))
    }

    /// Publishes; answers when the publication lasts as its namespace says.
    pub(crate) async fn publish(&self, channel: &Channel, new: NewPublication) -> Append {
        let append = match self.broker(channel) {
            Ok(broker) => broker.append(&channel.name, &channel.namespace.rules, new).await,
            Err(unavailable) => Append::Unavailable(unavailable),
        };
        match &append {
            Append::Appended(_) => Counters::add(&self.counters.publications),
            Append::Unavailable(why) => {
                Counters::add(&self.counters.publications_failed);
                tracing::debug!(channel = %channel.name, %why, "publication not taken");
            }
            Append::Duplicate(_) | Append::Conflict { .. } | Append::Refused(_) => {}
        }
        append
    }

    /// Reads the log.
    pub(crate) async fn read(&self, channel: &Channel, from: &From, limit: usize) -> Read {
        match self.broker(channel) {
            Ok(broker) => broker.read(&channel.name, &channel.namespace.rules, from, limit).await,
            Err(unavailable) => Read::Unavailable(unavailable),
        }
    }

    /// Reads the state.
    pub(crate) async fn snapshot(
        &self,
        channel: &Channel,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Snapshot {
        match self.broker(channel) {
            Ok(broker) => broker.snapshot(&channel.name, &channel.namespace.rules, cursor, limit).await,
            Err(unavailable) => Snapshot::Unavailable(unavailable),
        }
    }

    /// Removes all publications of a channel; its clients begin anew.
    pub(crate) async fn begin_anew(&self, channel: &Channel) -> Result<(), Unavailable> {
        self.broker(channel)?.begin_anew(&channel.name, &channel.namespace.rules).await
    }

    fn shared_presence(&self, channel: &Channel) -> Option<&JetStreamPresence> {
        let is_shared = channel.namespace.durability() == Durability::Cluster;
        self.cluster_presence.get().filter(|_| is_shared)
    }

    /// A client is in a channel for so long.
    pub(crate) async fn present(
        &self,
        channel: &Channel,
        member: Member,
        ttl: Duration,
    ) -> Result<(), Unavailable> {
        match self.shared_presence(channel) {
            Some(shared) => shared.join(&channel.name, member, ttl).await,
            None => self.presence.join(&channel.name, member, ttl).await,
        }
    }

    /// And is not any more.
    pub(crate) async fn absent(&self, channel: &Channel, client: &str) -> Result<(), Unavailable> {
        match self.shared_presence(channel) {
            Some(shared) => shared.leave(&channel.name, client).await,
            None => self.presence.leave(&channel.name, client).await,
        }
    }

    /// All who are in a channel, at most `limit`.
    pub(crate) async fn members(&self, channel: &Channel, limit: usize) -> Result<Vec<Member>, Unavailable> {
        match self.shared_presence(channel) {
            Some(shared) => shared.members(&channel.name, limit).await,
            None => self.presence.members(&channel.name, limit).await,
        }
    }

    /// How many clients are in a channel, and how many users.
    pub(crate) async fn member_count(&self, channel: &Channel) -> Result<(usize, usize), Unavailable> {
        match self.shared_presence(channel) {
            Some(shared) => shared.count(&channel.name).await,
            None => self.presence.count(&channel.name).await,
        }
    }

    /// Tells those in a channel that somebody has come or gone: on this node, and by the cluster on all others.
    pub(crate) fn moved(&self, room: &Room, member: &Member, moved: Move) {
        room.announce(&form::moved(member, moved));
        if let Some(moves) = self.cluster_moves.get()
            && room.channel.namespace.tells_other_nodes()
        {
            moves.tell(&room.channel.name, member, moved);
        }
    }

    /// Moves that other nodes were not told of; `None`: nodes tell each other none.
    pub(crate) fn moves_untold(&self) -> Option<u64> {
        self.cluster_moves.get().map(JetStreamMoves::untold)
    }
}

#[cfg(test)]
mod tests;
