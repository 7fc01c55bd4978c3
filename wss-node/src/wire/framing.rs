//! How messages lie in WebSocket messages.

use bytes::Bytes;
use prost::Message;

use super::json;
use super::v1::Reply;

/// One of the two framings. A session has one from its upgrade to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Text messages; commands and replies are JSON objects, a line each.
    Json,
    /// Binary messages; commands and replies are Protobuf, each after its length as a varint.
    Protobuf,
}

impl Framing {
    /// The WebSocket subprotocol (RFC 6455, 1.9) that asks for this framing. The SDKs ask for Protobuf by name and
    /// for JSON by naming nothing.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }

    /// The framing of a subprotocol; nothing when it is none of ours.
    #[must_use]
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::Protobuf].into_iter().find(|framing| framing.subprotocol() == name)
    }

    /// Whether its messages are WebSocket text; a message of the other type breaks the protocol.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Json)
    }

    /// A ping, and a pong, as a whole frame: the message with nothing in it.
    #[must_use]
    pub const fn ping(self) -> Bytes {
        match self {
            Self::Json => Bytes::from_static(b"{}"),
            Self::Protobuf => Bytes::from_static(&[0]),
        }
    }

    /// Appends a reply to a frame, after what is in it.
    ///
    /// # Errors
    /// The framing is JSON and data in the reply are not; the frame is as it was.
    pub fn append(self, reply: &Reply, frame: &mut Vec<u8>) -> Result<(), NotJson> {
        match self {
            Self::Json => {
                let before = frame.len();
                if before > 0 {
                    frame.push(b'\n');
                }
                json::append(reply, frame).inspect_err(|_| frame.truncate(before))
            }
            Self::Protobuf => {
                // Fails for want of room only, and a vector has room.
                let _ = reply.encode_length_delimited(frame);
                Ok(())
            }
        }
    }

    /// A frame with one reply.
    ///
    /// # Errors
    /// As [`Framing::append`].
    pub fn encode(self, reply: &Reply) -> Result<Bytes, NotJson> {
        let mut frame = Vec::with_capacity(reply.encoded_len() + 128);
        self.append(reply, &mut frame)?;
        Ok(frame.into())
    }
}

/// Data that a client with the JSON framing was to get are not JSON, or nested deeper than [`super::MAX_DEPTH`]. The
/// session ends with [`super::Disconnect::INAPPROPRIATE_PROTOCOL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "data for a client with the JSON framing are not JSON: let publishers of this channel send JSON, or its readers use Protobuf"
)]
pub struct NotJson;
