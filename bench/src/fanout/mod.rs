//! One publishes, thousands listen: what it costs a server, and how late it comes. All servers are asked the same over TLS 1.3,
//! by one process that does as little as it can.

mod asker;
mod client;
mod crowd;
mod frames;
mod histogram;
mod map;
mod payload;
mod peers;
mod publisher;
mod stage;
mod storm;
mod table;
mod tongue;

pub use map::{Map, NAMESPACES as MAP_NAMESPACES, map};
pub use peers::{Peer, Server};
pub use stage::{Run, Shape, Stage};
pub use storm::{Storm, storm};
pub use table::Table;
