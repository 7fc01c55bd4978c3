//! Who is connected: Envoy opens a stream for each secret, and all streams of one `node.id` are one node.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::Mutex;

use crate::delivery::tell::{Stopping, Teller};
use crate::delivery::{Event, NodeInfo, Takes};

/// All clients, by id. Events leave in the order of the changes, so the lock is held while they do.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<BTreeMap<String, Client>>);

#[derive(Debug)]
struct Client {
    /// Tells it from an earlier one of the same id.
    connection: u64,
    /// What each of its streams asks for.
    streams: BTreeMap<u64, BTreeSet<String>>,
}

impl Client {
    fn asks(&self) -> BTreeSet<String> {
        self.streams.values().flatten().cloned().collect()
    }
}

impl Clients {
    /// A stream asks for these from now on.
    pub(super) async fn asks(
        &self,
        teller: &Teller,
        node: &NodeInfo,
        stream: u64,
        names: BTreeSet<String>,
    ) -> Result<(), Stopping> {
        let mut clients = self.0.lock().await;
        let client = clients.entry(node.id.clone()).or_insert_with(|| {
            tracing::info!(node = node.id, version = node.version, "secret discovery client paired");
            Client { connection: stream, streams: BTreeMap::new() }
        });
        client.streams.insert(stream, names);
        let node = NodeInfo { takes: Takes::Asked(client.asks()), ..node.clone() };
        teller.tell(Event::Connected { connection: client.connection, node }).await
    }

    /// A stream is over; with the last one the client is gone.
    pub(super) async fn left(&self, teller: &Teller, node: &NodeInfo, stream: u64) {
        let mut clients = self.0.lock().await;
        let Some(client) = clients.get_mut(&node.id) else { return };
        if client.streams.remove(&stream).is_none() {
            return;
        }
        let connection = client.connection;
        let event = if client.streams.is_empty() {
            clients.remove(&node.id);
            tracing::info!(node = node.id, "secret discovery client unpaired");
            Event::Disconnected { connection, node_id: node.id.clone() }
        } else {
            let node = NodeInfo { takes: Takes::Asked(client.asks()), ..node.clone() };
            Event::Connected { connection, node }
        };
        // Nobody needs to know when the agent is stopping.
        let _ = teller.tell(event).await;
    }
}
