//! Channels in NATS JetStream, with real servers: several nodes see one order, whatever happens to the servers.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "channels_in_cluster/access.rs"]
mod access;
#[path = "channels_in_cluster/company.rs"]
mod company;
#[path = "channels_in_cluster/history.rs"]
mod history;
#[path = "channels_in_cluster/order.rs"]
mod order;
#[path = "channels_in_cluster/scene.rs"]
mod scene;
#[path = "channels_in_cluster/servers.rs"]
mod servers;
#[path = "channels_in_cluster/under.rs"]
mod under;
