//! A loop of full handshakes that remembers what each one saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealwire_proto::probe;
use tokio::task::JoinHandle;

/// One handshake.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it began.
    pub started: Instant,
    /// SHA-256 of the leaf, or what went wrong.
    pub leaf: Result<[u8; 32], String>,
}

/// Handshakes one after the other until dropped.
#[derive(Debug)]
pub struct Handshakes {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Handshakes {
    /// Starts the loop.
    #[must_use]
    pub fn start(address: SocketAddr, name: &str) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (all, name) = (Arc::clone(&seen), name.to_owned());
        let task = tokio::spawn(async move {
            let address = address.to_string();
            loop {
                let started = Instant::now();
                let leaf = probe::handshake(&address, &name, Duration::from_secs(10)).await;
                let leaf = leaf.map(|seen| seen.leaf_sha256).map_err(|error| error.to_string());
                all.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { started, leaf });
                // Leaves a core to the processes under test.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { seen, task }
    }

    /// All handshakes so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that failed.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.seen().into_iter().filter_map(|seen| seen.leaf.err()).collect()
    }

    /// The leaves seen, each once, in the order they were first seen.
    #[must_use]
    pub fn leaves(&self) -> Vec<Vec<u8>> {
        let mut leaves = Vec::new();
        for leaf in self.seen().into_iter().filter_map(|seen| seen.leaf.ok()) {
            if !leaves.iter().any(|known: &Vec<u8>| known == &leaf) {
                leaves.push(leaf.to_vec());
            }
        }
        leaves
    }

    /// What handshakes saw that began in a span of time.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Vec<Result<[u8; 32], String>> {
        let within = |seen: &Seen| seen.started >= from && seen.started < to;
        self.seen().into_iter().filter(within).map(|seen| seen.leaf).collect()
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
