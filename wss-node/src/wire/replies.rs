//! Frames to clients, read as clients read them: for tests, fuzzing and load.

use super::json::first_line;
use super::v1::Reply;
use super::{Framing, protobuf};

/// The replies of a frame; nothing when it is none.
#[must_use]
pub fn replies(framing: Framing, frame: &[u8]) -> Option<Vec<Reply>> {
    let mut rest = frame;
    let mut replies = Vec::new();
    while !rest.is_empty() {
        replies.push(match framing {
            Framing::Json => {
                let line = first_line(rest);
                rest = line.rest;
                serde_json::from_slice(line.text).ok()?
            }
            Framing::Protobuf => protobuf::read(protobuf::first_message(&mut rest)?)?,
        });
    }
    Some(replies)
}
