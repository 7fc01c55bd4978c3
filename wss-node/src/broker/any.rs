//! One of the brokers, by the durability that a namespace asks for.

use std::sync::Arc;

use super::Broker;
use super::answer::{Append, Cursor, From, Read, Snapshot, Unavailable};
use super::disk::DiskBroker;
use super::jetstream::JetStreamBroker;
use super::memory::MemoryBroker;
use super::publication::NewPublication;
use super::rules::Rules;
use super::table::Usage;

/// One of the brokers.
#[derive(Clone)]
pub enum AnyBroker {
    /// Nothing outlives the node.
    Memory(Arc<MemoryBroker>),
    /// What is acknowledged outlives the node.
    Disk(Arc<DiskBroker>),
    /// Several nodes share channels.
    Cluster(Arc<JetStreamBroker>),
}

impl AnyBroker {
    /// What it holds in the memory of this node.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::Memory(broker) => broker.usage(),
            Self::Disk(broker) => broker.usage(),
            Self::Cluster(broker) => Usage { channels: broker.channels(), ..Usage::default() },
        }
    }

    /// As metrics name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Disk(_) => "disk",
            Self::Cluster(_) => "cluster",
        }
    }
}

impl Broker for AnyBroker {
    async fn append(&self, channel: &str, rules: &Arc<Rules>, new: NewPublication) -> Append {
        match self {
            Self::Memory(broker) => broker.append(channel, rules, new).await,
            Self::Disk(broker) => broker.append(channel, rules, new).await,
            // Large, and it waits for the network anyway: callers stay small.
            Self::Cluster(broker) => Box::pin(broker.append(channel, rules, new)).await,
        }
    }

    async fn read(&self, channel: &str, rules: &Arc<Rules>, from: &From, limit: usize) -> Read {
        match self {
            Self::Memory(broker) => broker.read(channel, rules, from, limit).await,
            Self::Disk(broker) => broker.read(channel, rules, from, limit).await,
            Self::Cluster(broker) => Box::pin(broker.read(channel, rules, from, limit)).await,
        }
    }

    async fn snapshot(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Snapshot {
        match self {
            Self::Memory(broker) => broker.snapshot(channel, rules, cursor, limit).await,
            Self::Disk(broker) => broker.snapshot(channel, rules, cursor, limit).await,
            Self::Cluster(broker) => Box::pin(broker.snapshot(channel, rules, cursor, limit)).await,
        }
    }

    async fn begin_anew(&self, channel: &str, rules: &Arc<Rules>) -> Result<(), Unavailable> {
        match self {
            Self::Memory(broker) => broker.begin_anew(channel, rules).await,
            Self::Disk(broker) => broker.begin_anew(channel, rules).await,
            Self::Cluster(broker) => Box::pin(broker.begin_anew(channel, rules)).await,
        }
    }

    fn subscribe(&self, channel: &str, rules: &Arc<Rules>) {
        match self {
            Self::Memory(broker) => broker.subscribe(channel, rules),
            Self::Disk(broker) => broker.subscribe(channel, rules),
            Self::Cluster(broker) => broker.subscribe(channel, rules),
        }
    }

    fn unsubscribe(&self, channel: &str) {
        match self {
            Self::Memory(broker) => broker.unsubscribe(channel),
            Self::Disk(broker) => broker.unsubscribe(channel),
            Self::Cluster(broker) => broker.unsubscribe(channel),
        }
    }
}
