//! The WebSocket of a session: frames in and out, by the rules of RFC 6455 and the limits of the node.
//!
//! The library keeps a read buffer of 8 KiB for each WebSocket, which would be most of what an idle session costs.
//! So the WebSocket is put together when there is something to read or write, and taken apart again when nothing is
//! under way: between two messages it has no state that matters.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;
use tokio_websockets::proto::ProtocolError;
use tokio_websockets::{CloseCode, Error, Limits, Message, ServerBuilder, WebSocketStream};

use super::watched::Watched;
use crate::close::MAX_REASON_BYTES;
use crate::outbound::Frame;

/// How long the other side may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Read at once from an idle connection, on the stack; what is left follows into the library's buffer.
const FIRST_READ: usize = 2048;

/// What one message may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageLimits {
    /// Its length, in bytes.
    pub(crate) bytes: usize,
    /// Its fragments.
    pub(crate) fragments: u32,
}

/// What came from the client.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message, or a control frame. Pings are answered by the next [`Wire::poll_write`].
    Message(Message),
    /// It broke RFC 6455 or sent too much: to be closed with this code.
    Violated(u16, String),
    /// Its message has more fragments than allowed.
    TooManyFragments,
    /// The connection is over.
    Gone(String),
}

/// A WebSocket, with or without what it takes to read and write.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    state: State<S>,
    limits: MessageLimits,
    /// Something may be in the library's queue.
    unflushed: bool,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "they change places with each message: a box would be allocated each time"
)]
enum State<S> {
    Parked(Watched<S>),
    Open(WebSocketStream<Watched<S>>),
    /// On the way from one to the other.
    Moving,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// An upgraded connection; `ahead` was read beyond the request.
    pub(crate) fn new(stream: S, ahead: Bytes, limits: MessageLimits) -> Self {
        let mut watched = Watched::new(stream, limits.fragments);
        watched.unread(ahead);
        let mut wire = Self { state: State::Parked(watched), limits, unflushed: false };
        // What was read ahead is there to be read, whether more comes or not.
        wire.open();
        wire
    }

    fn open(&mut self) -> Option<&mut WebSocketStream<Watched<S>>> {
        if let State::Parked(_) = &self.state
            && let State::Parked(watched) = std::mem::replace(&mut self.state, State::Moving)
        {
            let limits = Limits::default().max_payload_len(Some(self.limits.bytes));
            self.state = State::Open(ServerBuilder::new().limits(limits).serve(watched));
        }
        match &mut self.state {
            State::Open(socket) => Some(socket),
            State::Parked(_) | State::Moving => None,
        }
    }

    fn park(&mut self) {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Open(socket) => self.state = State::Parked(socket.into_inner()),
            other => self.state = other,
        }
    }

    fn watched(&mut self) -> Option<&mut Watched<S>> {
        match &mut self.state {
            State::Parked(watched) => Some(watched),
            State::Open(socket) => Some(socket.get_mut()),
            State::Moving => None,
        }
    }

    /// Since when a message has been coming in.
    pub(crate) fn begun(&self) -> Option<Instant> {
        match &self.state {
            State::Open(socket) => socket.get_ref().begun(),
            State::Parked(_) | State::Moving => None,
        }
    }

    /// Nothing was read for so long: what is coming in is not late by that.
    pub(crate) fn unread_for(&mut self, time: Duration) {
        if let Some(watched) = self.watched() {
            watched.unread_for(time);
        }
    }

    /// The next that comes.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        if let State::Parked(watched) = &mut self.state {
            let mut first = [const { MaybeUninit::uninit() }; FIRST_READ];
            let mut buffer = ReadBuf::uninit(&mut first);
            match Pin::new(watched.stream()).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Heard::Gone(error.to_string())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Heard::Gone("cut".to_owned()));
                }
                Poll::Ready(Ok(())) => watched.unread(Bytes::copy_from_slice(buffer.filled())),
            }
        }
        let Some(socket) = self.open() else { return Poll::Ready(Heard::Gone("cut".to_owned())) };
        let next = Pin::new(&mut *socket).poll_next(cx);
        let watched = socket.get_ref();
        if watched.has_too_many_parts() {
            return Poll::Ready(Heard::TooManyFragments);
        }
        match next {
            // The library has looked at all that was read: what is not within a message has no bytes of it.
            Poll::Pending if watched.begun().is_none() && !self.unflushed => {
                self.park();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(message))) => {
                self.unflushed |= message.is_ping();
                Poll::Ready(Heard::Message(message))
            }
            Poll::Ready(Some(Err(Error::Io(error)))) => Poll::Ready(Heard::Gone(error.to_string())),
            Poll::Ready(Some(Err(error))) => Poll::Ready(violated(&error)),
            Poll::Ready(None) => Poll::Ready(Heard::Gone("cut".to_owned())),
        }
    }

    /// Queues frames as the connection takes them, and writes all that is queued; those that are left are not queued yet.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Frame>,
        is_text: bool,
    ) -> Poll<Result<(), Error>> {
        while !frames.is_empty() {
            self.unflushed = true;
            let Some(socket) = self.open() else { return Poll::Ready(Err(Error::AlreadyClosed)) };
            let mut socket = Pin::new(socket);
            ready!(socket.as_mut().poll_ready(cx))?;
            if let Some(Frame { bytes, .. }) = frames.pop_front() {
                socket.start_send(if is_text { Message::text(bytes) } else { Message::binary(bytes) })?;
            }
        }
        if let State::Open(socket) = &mut self.state {
            ready!(Pin::new(socket).poll_flush(cx))?;
        }
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// What the connection has taken so far, in bytes.
    pub(crate) fn taken_bytes(&self) -> u64 {
        match &self.state {
            State::Parked(watched) => watched.taken_bytes(),
            State::Open(socket) => socket.get_ref().taken_bytes(),
            State::Moving => 0,
        }
    }

    /// Says why, and waits a little for the answer. Reads to the end: a socket that is closed with unread bytes is
    /// reset, and the reset overtakes the close code.
    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        if let Some(watched) = self.watched() {
            watched.lift();
        }
        let goodbye = async {
            let socket = self.open()?;
            if let Some(code) = CloseCode::try_from(code).ok().filter(|code| !code.is_reserved()) {
                let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
                // Refused if the library has queued a close of its own, as after most violations.
                let _ = Pin::new(&mut *socket).start_send(Message::close(Some(code), reason));
            }
            socket.flush().await.ok()?;
            // A client that does not answer is cut off.
            let _ = socket.close().await;
            discard(socket.get_mut().stream()).await;
            Some(())
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    /// Answers the client's close, if there was one, and ends the connection.
    pub(crate) async fn end(&mut self) {
        let goodbye = async {
            match &mut self.state {
                State::Open(socket) => {
                    let _ = socket.close().await;
                }
                State::Parked(watched) => {
                    let _ = watched.stream().shutdown().await;
                }
                State::Moving => {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// What the library says of a violation, with the code that fits it (RFC 6455 section 7.4.1).
fn violated(error: &Error) -> Heard {
    let code = match error {
        Error::PayloadTooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
        Error::Protocol(ProtocolError::InvalidUtf8) => CloseCode::INVALID_FRAME_PAYLOAD_DATA,
        _ => CloseCode::PROTOCOL_ERROR,
    };
    Heard::Violated(code.into(), error.to_string())
}

async fn discard<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut buffer = [0; 512];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
