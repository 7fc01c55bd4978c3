//! Handshakes as fast as a server makes them, on one processor of its own: what one costs it, and how long each takes.

mod bare;
mod burst;
mod envoy;
mod haproxy;
mod load;
mod nginx;
mod sealwire;
mod ws;

use std::net::SocketAddr;

use anyhow::Result;
use sealwire_tests::tools;

use crate::prober::Leaf;
use crate::server::{Place, Server};

pub use bare::serve as serve_bare;
pub use burst::{Burst, burst};
pub use load::{Kind, Measured, measure};

/// The processor of the server that is measured.
pub const SERVER_CORE: usize = 0;
/// That of the loader.
pub const LOADER_CORE: usize = 1;

/// What our node is called.
pub const OURS: &str = "wss-node";

/// A server that is measured, until dropped.
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it presents.
    pub leaf: Leaf,
    /// What a handshake with the loader's offer agrees on.
    pub negotiated: String,
    /// The request that becomes a WebSocket session, if it takes any.
    pub upgrade: Option<String>,
    /// The process that works, alone or by its children.
    pub pid: u32,
    _kept: Box<dyn Send>,
}

impl Target {
    /// A server of other people that has started and serves `leaf`.
    async fn running(name: &'static str, place: Place, leaf: Leaf, server: Server) -> Result<Self> {
        Ok(Self {
            name,
            address: place.world.node_address(),
            leaf,
            negotiated: place.prober.negotiated().await?,
            upgrade: None,
            pid: server.process().pid(),
            // The server first: the place is its directory.
            _kept: Box::new((server, place)),
        })
    }
}

/// All servers, ours first, and how to install those that are missing.
///
/// # Errors
/// One is installed and does not serve.
pub async fn targets() -> Result<(Vec<Target>, Vec<(&'static str, &'static str)>)> {
    let mut targets = vec![sealwire::start().await?, bare::start().await?];
    let mut missing = Vec::new();
    let peers = [
        ("Envoy", crate::push::Envoy::INSTALL, envoy::start().await?),
        ("nginx", crate::push::Nginx::INSTALL, nginx::start().await?),
        ("HAProxy", crate::push::Haproxy::INSTALL, haproxy::start().await?),
        ("Node.js ws", ws::INSTALL, ws::start().await?),
    ];
    for (name, install, peer) in peers {
        match peer {
            Some(peer) => targets.push(peer),
            None => missing.push((name, install)),
        }
    }
    Ok((targets, missing))
}

/// The packages of the tests' JavaScript clients, `ws` among them.
fn node_modules() -> Option<std::path::PathBuf> {
    let modules = tools::dir().join("js/node_modules");
    modules.join("ws").is_dir().then_some(modules)
}
