//! The Sealwire agent: obtains and renews TLS certificates, delivers them to paired nodes over a Unix
//! socket, and calls a certificate done only when a handshake has proven that it is served.
//!
//! The flow is one way: facts -> [`lifecycle`] (pure) -> issuer -> gate -> store -> delivery -> proof,
//! and what comes back from the nodes is a fact again. `docs/architecture.md` names the rooms.

pub mod admin;
pub mod adopt;
pub mod agent;
pub mod alert;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod deploy;
pub mod doctor;
pub mod drill;
pub mod gate;
pub mod incident;
pub mod issuer;
pub mod keys;
pub mod lifecycle;
pub mod metrics;
pub mod obtain;
mod outgoing;
mod program;
pub mod rehearse;
pub mod replicas;
pub mod revocation;
pub mod steps;
pub mod store;
