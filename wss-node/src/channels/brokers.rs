//! The brokers that need more than memory, opened at the start.

use std::path::PathBuf;
use std::sync::Arc;

use super::{AnyBroker, Channels};
use crate::broker::disk::{DiskBroker, OpenError};
use crate::broker::jetstream::{ConnectError, JetStreamBroker, JetStreamPresence};
use crate::config::{Config, Durability};

/// A broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The log on the disk.
    #[error("broker.directory: {path}: {source}")]
    Disk {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        source: OpenError,
    },
    /// The NATS servers.
    #[error("broker.nats: {0}")]
    Cluster(#[from] ConnectError),
    /// The task that reads the log.
    #[error("broker.directory: reading the log was cut short: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

pub(super) async fn open(channels: &Channels, config: &Config) -> Result<(), BrokerError> {
    let deliveries = || Arc::clone(&channels.hub) as Arc<dyn crate::broker::Deliveries>;
    if channels.catalogue.wants(Durability::Disk)
        && let Some(path) = config.broker.directory.clone()
    {
        let (budget, deliveries) = (Arc::clone(&channels.budget), deliveries());
        let (clock, directory) = (Arc::clone(&channels.clock), path.clone());
        let opening = move || DiskBroker::open(&directory, budget, deliveries, clock);
        let broker = tokio::task::spawn_blocking(opening).await?;
        let broker = broker.map_err(|source| BrokerError::Disk { path, source })?;
        let _ = channels.disk.set(AnyBroker::Disk(Arc::new(broker)));
    }
    if channels.catalogue.wants(Durability::Cluster)
        && let Some(nats) = &config.broker.nats
    {
        let (options, budget) = (nats.options(), Arc::clone(&channels.budget));
        let clock = Arc::clone(&channels.clock);
        let broker = JetStreamBroker::connect(&options, budget, deliveries(), clock).await?;
        let _ = channels.cluster.set(AnyBroker::Cluster(Arc::new(broker)));
        let _ = channels.cluster_presence.set(JetStreamPresence::connect(&options).await?);
    }
    Ok(())
}
