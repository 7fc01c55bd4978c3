//! Replicas: agents of several pods that share certificates and accounts by Secrets of Kubernetes, led by the holder of
//! a Lease.
//!
//! The leader orders, and nobody else. Its state directory (in memory) is the truth; after each step that must survive
//! it, it is copied into Secrets: one for each certificate, one for each ACME account. Followers copy the other way.
//! Three fences keep a leader that is none any more from doing harm: the Lease is read again before each signed request
//! to a CA and before each write; a write names the `resourceVersion` it is based on; and each Secret carries the term
//! (`leaseTransitions`) of who wrote it, below which nobody writes.
//!
//! [`election`], [`contents`] and [`secret`] are pure; [`api`] speaks to the API server; [`copies`] holds the Secrets;
//! `keeper` and `watcher` are the tasks.

pub mod api;
pub mod contents;
pub mod copies;
pub mod election;
mod keeper;
pub mod place;
pub mod secret;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use api::Api;
use contents::Contents;
pub use copies::{Copies, ShareError};

/// Words for the agent's loop that wait.
const QUEUE: usize = 256;

/// What the tasks tell the agent's loop.
#[derive(Debug)]
pub enum News {
    /// The leader has stored something about a certificate.
    Found {
        /// Its name.
        certificate: String,
        /// What its Secret holds.
        contents: Contents,
    },
    /// This replica leads. It copies nothing until [`Copies::settled`] is called for the term.
    Leads {
        /// `leaseTransitions`.
        term: u64,
        /// What the Secrets of the certificates hold, as far as they could be read.
        certificates: BTreeMap<String, Contents>,
    },
    /// Another replica leads, or nobody.
    Follows {
        /// Who, as in the Lease; empty: nobody.
        leader: String,
    },
    /// An object of the API server cannot be used.
    Trouble {
        /// Which.
        about: String,
        /// What is wrong and what to do.
        text: String,
    },
    /// It can be used again.
    Mended {
        /// Which.
        about: String,
    },
}

/// What runs.
#[derive(Debug)]
pub struct Started {
    /// The Secrets.
    pub copies: Arc<Copies>,
    /// What the tasks tell.
    pub news: mpsc::Receiver<News>,
    /// Keeps the Lease; ends once that is released.
    pub keeper: JoinHandle<()>,
}

/// Starts the tasks.
///
/// # Errors
/// One line that names the key of `[kubernetes]` and what to do.
pub fn start(place: place::Place, tasks: &CancellationToken) -> Result<Started, String> {
    let api = Api::new(&place.reach)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let copies = Arc::new(Copies::new(api, place, sender));
    for part in copies.parts() {
        tokio::spawn(watcher::follow(Arc::clone(&copies), part, tasks.clone()));
    }
    tokio::spawn(keeper::copy(Arc::clone(&copies), tasks.clone()));
    let keeper = tokio::spawn(keeper::keep(Arc::clone(&copies), tasks.clone()));
    Ok(Started { copies, news: receiver, keeper })
}

#[cfg(test)]
pub(crate) mod script;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
