//! Several replies in one WebSocket message.

use bytes::Bytes;

use super::v1::Reply;
use super::{Framing, NotJson};

/// A frame under construction. Clients take apart what is in it, in order.
#[derive(Debug)]
pub struct Batch {
    framing: Framing,
    frame: Vec<u8>,
    limit_bytes: usize,
}

impl Batch {
    /// An empty one; with `limit_bytes` in it, it [is full](Batch::is_full).
    #[must_use]
    pub const fn new(framing: Framing, limit_bytes: usize) -> Self {
        Self { framing, frame: Vec::new(), limit_bytes }
    }

    /// Adds a reply; it is written to its place without a copy.
    ///
    /// # Errors
    /// As [`Framing::append`].
    pub fn push(&mut self, reply: &Reply) -> Result<(), NotJson> {
        self.framing.append(reply, &mut self.frame)
    }

    /// Adds what was encoded before with the same framing: a [`super::Broadcast`]'s frame, a ping.
    pub fn push_encoded(&mut self, encoded: &[u8]) {
        if self.framing == Framing::Json && !self.frame.is_empty() {
            self.frame.push(b'\n');
        }
        self.frame.extend_from_slice(encoded);
    }

    /// Whether it should be taken before more is added.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.frame.len() >= self.limit_bytes
    }

    /// Takes the frame and begins the next; nothing when there is nothing in it.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.frame.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.frame).into())
    }
}
