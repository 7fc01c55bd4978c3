//! The connection of a session, which two write to: the session's task, and whoever publishes to it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::Wire;
use crate::guard::Guard;
use crate::outbound::{Direct, Frame, Wrote};

/// A WebSocket behind a lock that is held for one write or one read, never while somebody waits.
pub(super) struct Line<S> {
    wire: Mutex<Wire<S>>,
    is_text: bool,
    guard: Arc<Guard>,
}

impl<S> Line<S> {
    pub(super) fn new(wire: Wire<S>, is_text: bool, guard: &Arc<Guard>) -> Self {
        Self { wire: Mutex::new(wire), is_text, guard: Arc::clone(guard) }
    }

    pub(super) fn wire(&self) -> MutexGuard<'_, Wire<S>> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> fmt::Debug for Line<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("is_text", &self.is_text).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Direct for Line<S> {
    fn write(&self, frames: &mut VecDeque<Frame>) -> Wrote {
        let mut wire = self.wire();
        if self.guard.is_open() || !wire.is_idle() {
            return Wrote::Nothing;
        }
        // Who waits for the connection is the session: it is told, and asks for itself.
        match wire.poll_write(&mut Context::from_waker(Waker::noop()), frames, self.is_text) {
            Poll::Ready(Ok(())) => Wrote::All,
            Poll::Ready(Err(_)) | Poll::Pending => Wrote::Part,
        }
    }
}
