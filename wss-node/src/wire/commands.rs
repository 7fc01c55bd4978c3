//! Frames from clients, taken apart.

use super::json::{self, MAX_DEPTH, first_line};
use super::protobuf;
use super::v1::Command;
use super::{Disconnect, Framing};

/// The commands of a frame, one by one: a client may send many, and only as many are held as are looked at.
///
/// At most `limit` of them are given; the first error is the last item.
pub fn commands(framing: Framing, frame: &[u8], limit: usize) -> Commands<'_> {
    Commands { framing, rest: frame, limit, taken: 0, ended: false }
}

/// See [`commands`].
#[derive(Debug)]
pub struct Commands<'a> {
    framing: Framing,
    rest: &'a [u8],
    limit: usize,
    taken: usize,
    ended: bool,
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = match self.framing {
            Framing::Json => self.line(),
            Framing::Protobuf => self.message(),
        };
        let found = read.and_then(|command| match command {
            None if self.taken == 0 => Err(FrameError::Empty),
            Some(_) if self.taken == self.limit => Err(FrameError::TooMany { limit: self.limit }),
            command => Ok(command),
        });
        self.taken += 1;
        let item = found.transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Commands<'_> {
    fn line(&mut self) -> Result<Option<Command>, FrameError> {
        while !self.rest.is_empty() {
            let line = first_line(self.rest);
            self.rest = line.rest;
            if line.text.trim_ascii().is_empty() {
                continue;
            }
            let command = self.taken + 1;
            if line.depth > MAX_DEPTH {
                return Err(FrameError::Deep { command });
            }
            // What serde says holds pieces of the input, and those may be a token: only the place is told.
            return match json::command(line.text) {
                Ok(read) => Ok(Some(read)),
                Err(error) => Err(FrameError::Json { command, column: error.column() }),
            };
        }
        Ok(None)
    }

    fn message(&mut self) -> Result<Option<Command>, FrameError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let command = self.taken + 1;
        let message = protobuf::first_message(&mut self.rest).ok_or(FrameError::Cut { command })?;
        protobuf::read(message).map(Some).ok_or(FrameError::Protobuf { command })
    }
}

/// A frame that is not the protocol. The text names the place and holds nothing of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing in it.
    #[error("the frame holds no command")]
    Empty,
    /// Not JSON, not an object, a field of another type, or two requests.
    #[error("command {command} of the frame is not an object of the protocol: see its byte {column}")]
    Json {
        /// From 1.
        command: usize,
        /// From 1, within the line.
        column: usize,
    },
    /// Nested too deep.
    #[error("command {command} of the frame is nested deeper than {MAX_DEPTH} levels")]
    Deep {
        /// From 1.
        command: usize,
    },
    /// Not Protobuf, a string that is not UTF-8, or two requests.
    #[error("command {command} of the frame is not a message of the protocol")]
    Protobuf {
        /// From 1.
        command: usize,
    },
    /// A length that goes past the end of the frame.
    #[error("command {command} of the frame has a length that the frame has not")]
    Cut {
        /// From 1.
        command: usize,
    },
    /// More commands than are allowed.
    #[error("the frame holds more than {limit} commands: send fewer at once")]
    TooMany {
        /// As configured.
        limit: usize,
    },
}

impl FrameError {
    /// How the session ends.
    #[must_use]
    pub const fn disconnect(self) -> Disconnect {
        Disconnect::BAD_REQUEST
    }
}
