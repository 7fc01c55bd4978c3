//! The brokers that need more than memory, opened at the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{AnyBroker, Channels};
use crate::broker::disk::{DiskBroker, OpenError};
use crate::broker::jetstream::{ConnectError, JetStreamBroker, JetStreamMoves, JetStreamPresence, Options};
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

/// Between two tries to reach a cluster: after a power cut its servers take some time to agree on leaders.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What a node has of a cluster.
struct Cluster {
    broker: JetStreamBroker,
    presence: JetStreamPresence,
    moves: Option<JetStreamMoves>,
}

async fn connect(channels: &Channels, options: &Options) -> Result<Cluster, ConnectError> {
    let (budget, hub) = (Arc::clone(&channels.budget), Arc::clone(&channels.hub));
    let broker = JetStreamBroker::connect(options, budget, hub, Arc::clone(&channels.clock)).await?;
    let presence = JetStreamPresence::connect(options).await?;
    let moves = if channels.catalogue.tells_other_nodes() {
        Some(JetStreamMoves::connect(options, Arc::clone(&channels.hub) as _).await?)
    } else {
        None
    };
    Ok(Cluster { broker, presence, moves })
}

/// Waits for a cluster that cannot be reached; other troubles are errors.
pub(super) async fn open(channels: &Channels, config: &Config) -> Result<(), BrokerError> {
    if channels.catalogue.wants(Durability::Disk)
        && let Some(path) = config.broker.directory.clone()
    {
        let (budget, hub) = (Arc::clone(&channels.budget), Arc::clone(&channels.hub));
        let (clock, directory) = (Arc::clone(&channels.clock), path.clone());
        let opening = move || DiskBroker::open(&directory, budget, hub, clock);
        let broker = tokio::task::spawn_blocking(opening).await?;
        let broker = broker.map_err(|source| BrokerError::Disk { path, source })?;
        let _ = channels.disk.set(AnyBroker::Disk(Arc::new(broker)));
    }
    if channels.catalogue.wants(Durability::Cluster)
        && let Some(nats) = &config.broker.nats
    {
        let options = nats.options();
        let mut wait = FIRST_WAIT;
        loop {
            match connect(channels, &options).await {
                Ok(Cluster { broker, presence, moves }) => {
                    let _ = channels.cluster.set(AnyBroker::Cluster(Arc::new(broker)));
                    let _ = channels.cluster_presence.set(presence);
                    if let Some(moves) = moves {
                        let _ = channels.cluster_moves.set(moves);
                    }
                    break;
                }
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, again_in = ?wait, "broker.nats: the cluster cannot be used yet; not ready until it can");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
