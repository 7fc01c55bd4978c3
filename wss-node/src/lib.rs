//! The Sealwire node: a secure WebSocket service whose certificates arrive over a Unix socket, are checked,
//! swapped in live, and proven to be served by a handshake of its own.
//!
//! `listener -> tls -> upgrade -> session -> channels`, and beside it `certs`, which feeds the resolver that the
//! handshakes read. `docs/architecture.md` names the rooms.

mod admin;
pub mod api;
mod audit;
mod auth;
mod breaker;
pub mod broker;
mod certs;
mod channels;
pub mod cli;
mod client;
mod client_auth;
mod close;
pub mod config;
mod connection;
mod control;
mod counters;
mod doors;
mod drain;
mod expect;
mod first;
mod forwarded;
mod guard;
mod handshake;
mod host;
mod http_server;
mod limits;
mod listener;
mod origin;
mod outbound;
mod proxy;
mod pulse;
mod readiness;
mod registry;
mod service;
mod session;
pub mod telemetry;
mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
mod tickets;
mod tls;
mod upgrade;
pub mod wire;

pub use audit::AuditFileError;
pub use auth::AuthError;
pub use channels::BrokerError;
pub use service::{RunError, run};
