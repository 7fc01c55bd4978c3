//! The JSON framing: messages as objects, payloads as the JSON they are.

pub(crate) mod envelope;
pub(crate) mod fields;
mod line;

use serde::Serialize;
use serde_json::value::RawValue;

use super::NotJson;
use super::v1::Command;
pub(super) use line::first_line;

/// How deep arrays and objects may be nested, in a command and in data that go to a client with the JSON framing. The
/// limit is serde_json's own for what it reads into types; raw data would pass it, and Python's decoder gives up at
/// about 1,000.
pub const MAX_DEPTH: usize = 128;

/// Whether these bytes are one JSON text that a client with the JSON framing can be given.
#[must_use]
pub fn is_json(data: &[u8]) -> bool {
    raw(data).is_some()
}

/// The same bytes as JSON, if they are.
fn raw(data: &[u8]) -> Option<&RawValue> {
    let value = serde_json::from_slice(data).ok()?;
    (line::depth(data) <= MAX_DEPTH).then_some(value)
}

/// Appends a message. Writing into memory and keys that are strings cannot fail: what can is data that are not JSON.
pub(super) fn append(message: &impl Serialize, into: &mut Vec<u8>) -> Result<(), NotJson> {
    serde_json::to_writer(into, message).map_err(|_| NotJson)
}

/// Reads a line.
pub(super) fn command(line: &[u8]) -> Result<Command, serde_json::Error> {
    serde_json::from_slice(line)
}
