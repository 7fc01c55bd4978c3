//! One publishes, thousands listen: what it costs a server, and how late it comes. All servers are asked the same over TLS 1.3,
//! by one process that does as little as it can.

mod client;
mod crowd;
mod frames;
mod histogram;
mod payload;
mod peers;
mod processor;
mod publisher;
mod stage;
mod table;
mod tongue;

pub use peers::{Peer, Server};
pub use stage::{Run, Shape, Stage};
pub use table::Table;
