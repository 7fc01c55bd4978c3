//! The Centrifuge client protocol: one set of types, two framings. Pure: bytes in, commands out; replies in, bytes
//! out. `docs/wire.md` has the tables.
//!
//! A session reads a frame with [`commands()`], checks each request with [`check()`], and writes replies through a
//! [`Batch`]. What many subscribers get is a [`Broadcast`], encoded once for each [`Framing`] and shared.
//!
//! Public for the interop tests, the fuzz targets and the benchmark; nothing outside this repository uses it.

mod batch;
mod broadcast;
mod check;
mod commands;
mod delta;
mod disconnect;
mod error;
pub mod fossil;
mod framing;
pub(crate) mod json;
mod protobuf;
mod replies;
mod types;
mod unsubscribe;

pub use batch::Batch;
pub use broadcast::{Broadcast, Form};
pub use check::{Limits, check};
pub use commands::{Commands, FrameError, commands};
pub use delta::{Kind, catch_up, whole};
pub use disconnect::Disconnect;
pub use error::ReplyError;
pub use framing::{Framing, NotJson};
pub use json::{MAX_DEPTH, is_json};
pub use replies::replies;
pub use types::v1;
pub use types::v1::command::Request;
pub use types::v1::push::Event;
pub use types::v1::reply::Answer;
pub use types::v1::{Command, Reply};
pub use unsubscribe::Unsubscribed;

#[cfg(test)]
mod tests;
