//! The Sealwire node: a secure WebSocket service whose certificates arrive over a Unix socket, are checked,
//! swapped in live, and proven to be served by a handshake of its own.
//!
//! `listener -> tls -> upgrade -> session -> hub`, and beside it `certs`, which feeds the resolver that the
//! handshakes read. `docs/architecture.md` names the rooms.

mod admin;
mod audit;
mod auth;
mod breaker;
mod certs;
pub mod cli;
mod client;
pub mod config;
mod connection;
mod counters;
mod guard;
mod hub;
mod listener;
mod protocol;
mod readiness;
mod service;
mod session;
mod tenant;
mod tickets;
mod tls;
mod upgrade;
pub mod wire;

pub use service::{RunError, run};
