//! What is published goes to the connection past the session's task: to wake a task for each subscriber of each
//! publication would cost as much as to write it. The task is woken for what needs it: a connection that takes no more,
//! an answer, an end.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Frame, Outbound, Queue, wake};
use crate::wire::Disconnect;

/// A connection that others than its session may write to.
pub(crate) trait Direct: fmt::Debug + Send + Sync {
    /// Writes frames as far as the connection takes them without waiting; those that are left it has taken nothing of.
    fn write(&self, frames: &mut VecDeque<Frame>) -> Wrote;
}

/// How far a write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// All is with the system.
    All,
    /// The connection takes no more for now, or is over: the session is to go on.
    Part,
    /// It is the session's turn, and nothing was taken.
    Nothing,
}

/// What a writer leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing that it has to do with.
    Nothing,
    /// More has come meanwhile: it is to write again.
    More,
    /// The session, which ends: a fault of ours.
    Fault,
}

impl Queue {
    /// Whether what waits may be written by others than the session.
    pub(super) fn is_for_writers(&self) -> bool {
        let is_free = !self.is_writing && self.stalled.is_none() && !self.overflowed;
        is_free && self.answer_bytes == 0 && self.close.is_none() && self.connection.is_some()
    }
}

impl Outbound {
    /// From now on writers may write to the connection; `None`: no longer.
    pub(crate) fn connect(&self, connection: Option<Arc<dyn Direct>>) {
        self.queue().connection = connection;
    }

    /// Writes what waits. For the writer that was told of this queue ([`Outbound::push_publication`]). Gives back how many
    /// messages it has written and their bytes.
    pub(crate) fn write_directly(&self, now: Timestamp) -> (Left, usize, usize) {
        let mut queue = self.queue();
        queue.is_listed = false;
        if queue.is_writing || queue.frames.is_empty() {
            // The session has been faster.
            return (Left::Nothing, 0, 0);
        }
        let Some(connection) = queue.connection.clone().filter(|_| queue.is_for_writers()) else {
            wake(queue);
            return (Left::Nothing, 0, 0);
        };
        queue.is_writing = true;
        let mut frames = std::mem::take(&mut queue.frames);
        // All that counts is in there: nothing is stalled, and nobody else writes.
        let (count, bytes) = (frames.len(), queue.bytes);
        drop(queue);
        let synced = frames.iter().any(|frame| frame.is_publication);
        let wrote = std::panic::catch_unwind(AssertUnwindSafe(|| connection.write(&mut frames)));
        let mut queue = self.queue();
        queue.is_writing = false;
        let Ok(wrote) = wrote else {
            queue.close.get_or_insert_with(|| Box::new(Disconnect::SERVER_ERROR.into()));
            wake(queue);
            return (Left::Fault, 0, 0);
        };
        let left: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        let (messages, taken) = (count - frames.len(), bytes - left);
        queue.said.add(messages, taken, synced && messages > 0, now);
        if wrote == Wrote::All {
            queue.bytes -= bytes;
        } else {
            if wrote == Wrote::Part {
                queue.stalled = Some(taken);
            }
            if !queue.overflowed {
                frames.append(&mut queue.frames);
                queue.frames = frames;
            }
        }
        if queue.is_for_writers() && wrote == Wrote::All {
            queue.is_listed = !queue.frames.is_empty();
            return (if queue.is_listed { Left::More } else { Left::Nothing }, messages, taken);
        }
        wake(queue);
        (Left::Nothing, messages, taken)
    }

    /// There is no writer: the session writes.
    pub(crate) fn write_by_session(&self) {
        let mut queue = self.queue();
        queue.is_listed = false;
        wake(queue);
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
