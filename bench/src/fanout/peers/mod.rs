//! The servers that are measured, each started anew for each measurement, on an address of its own.

mod bun;
mod centrifugo;
mod nats;
mod sealwire;
mod ws;

use anyhow::Result;
use sealwire_tests::process::Process;
use sealwire_tests::world::World;

use super::client::Target;
use crate::server;

/// No server asks its clients for a sign of life while it is measured.
const QUIET: &str = "10m";

/// A server by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Our node.
    Sealwire,
    /// A broadcast loop with npm's `ws`.
    Ws,
    /// Publish and subscribe of Bun, which is that of uWebSockets.
    Bun,
    /// Centrifugo, with the history that our node has.
    Centrifugo,
    /// The WebSocket listener of nats-server, without history.
    Nats,
}

impl Peer {
    /// All, ours first.
    pub const ALL: [Self; 5] = [Self::Sealwire, Self::Ws, Self::Bun, Self::Centrifugo, Self::Nats];

    /// What it is called in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sealwire => "Sealwire",
            Self::Ws => "ws",
            Self::Bun => "Bun (uWebSockets)",
            Self::Centrifugo => "Centrifugo",
            Self::Nats => "NATS",
        }
    }

    /// How it is installed, from the root of the repository.
    #[must_use]
    pub fn install(self) -> &'static str {
        match self {
            Self::Sealwire => "cargo build",
            Self::Ws | Self::Nats => "tests/tools/install",
            Self::Bun => bun::INSTALL,
            Self::Centrifugo => centrifugo::INSTALL,
        }
    }

    /// Starts it; `None` if it is not installed. `namespaces`: TOML for our node, if not all its defaults.
    ///
    /// # Errors
    /// It is installed and does not serve.
    pub async fn start(self, namespaces: &str) -> Result<Option<Server>> {
        match self {
            Self::Sealwire => sealwire::start(namespaces).await.map(Some),
            Self::Ws => ws::start().await,
            Self::Bun => bun::start().await,
            Self::Centrifugo => centrifugo::start().await,
            Self::Nats => nats::start().await,
        }
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    /// How to reach it.
    pub(super) target: Target,
    running: Running,
    // After what runs: it holds the directory.
    _world: World,
}

enum Running {
    Ours { node: Process, _agent: Process },
    Other(server::Server),
}

impl Server {
    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        match &self.running {
            Running::Ours { node, .. } => node,
            Running::Other(server) => server.process(),
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.process().log();
        log[log.floor_char_boundary(log.len().saturating_sub(2000))..].to_owned()
    }

    fn other(place: server::Place, server: server::Server, target: Target) -> Self {
        Self { target, running: Running::Other(server), _world: place.world }
    }
}
