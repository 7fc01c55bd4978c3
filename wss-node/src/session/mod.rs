//! One session: reads commands, writes what its queue holds, pings, and closes with the right code. All in one
//! task, so that whatever way it ends, everything it held is given back by being dropped.

mod commands;
mod prefixed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_websockets::proto::ProtocolError;
use tokio_websockets::{CloseCode, Limits, Message, ServerBuilder, WebSocketStream};

use crate::counters::{Gauge, Side};
use crate::guard::Gate;
use crate::hub::{Outbound, Taken};
use crate::protocol::{Disconnect, NOTICE_CLOSED, NOTICE_OPEN, PING};
use crate::service::Node;
use crate::telemetry::trace::{self, Closing, Tally};
use crate::upgrade::Admission;
use commands::Commands;
pub(crate) use prefixed::Prefixed;

/// How long the other side may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Sessions leave a halted node within this time, not all at once.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Stands for a connection that ended without a close (RFC 6455 section 7.4.1).
const CUT: u16 = 1006;

/// Why a session ends.
enum End {
    /// We close it.
    Close(Disconnect),
    /// The client closed it with a code, or is gone.
    Gone(u16, String),
    /// The client broke RFC 6455 or sent too much; the library has queued this close code for it.
    Violated(u16, String),
}

impl End {
    /// The connection ended without a close.
    fn cut(how: impl Into<String>) -> Self {
        Self::Gone(CUT, how.into())
    }

    /// The client broke the protocol; the code is the library's choice.
    fn violated(error: &tokio_websockets::Error) -> Self {
        let code = match error {
            tokio_websockets::Error::PayloadTooLong { .. } => CloseCode::MESSAGE_TOO_BIG,
            tokio_websockets::Error::Protocol(ProtocolError::InvalidUtf8) => {
                CloseCode::INVALID_FRAME_PAYLOAD_DATA
            }
            _ => CloseCode::PROTOCOL_ERROR,
        };
        Self::Violated(code.into(), error.to_string())
    }

    fn closing(&self) -> Closing<'_> {
        let (side, code, reason, failed) = match self {
            Self::Close(why) => (Side::Node, why.code, why.reason, *why != Disconnect::SHUTDOWN),
            Self::Gone(code, how) => (Side::Client, *code, how.as_str(), false),
            Self::Violated(code, how) => (Side::Node, *code, how.as_str(), true),
        };
        Closing { side, code, reason, failed }
    }
}

/// Runs a session on an upgraded connection until it ends.
pub(crate) async fn run<S>(node: &Arc<Node>, stream: S, admission: Admission)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (peer, began) = (admission.client.peer, Instant::now());
    let _counted = Gauge::up(&node.counters.sessions);
    let limits = Limits::default().max_payload_len(Some(node.config.session.message_bytes));
    let mut socket = ServerBuilder::new().limits(limits).serve(stream);
    let outbound = Arc::new(Outbound::new(node.config.session.outbound_queue_bytes));
    let mut commands = Commands::new(Arc::clone(node), Arc::clone(&outbound), admission);
    tracing::debug!(%peer, client = commands.client(), "session open");
    let mut session = Session {
        node,
        socket: &mut socket,
        outbound: &outbound,
        commands: &mut commands,
        tally: Tally::default(),
    };
    let end = session.serve().await;
    let (closing, tally) = (end.closing(), session.tally);
    node.telemetry.histograms().session(began.elapsed());
    node.counters.closes.add(closing.side, closing.code);
    trace::closing(&closing, tally);
    // Nothing more is to be queued for it.
    let client = commands.client().to_owned();
    drop(commands);
    match end {
        End::Close(disconnect) => {
            tracing::info!(%peer, client, code = disconnect.code, reason = disconnect.reason, "session closed");
            close(&mut socket, disconnect).await;
        }
        End::Gone(_, how) => {
            tracing::debug!(%peer, client, how, "session ended by the client");
            // Sends what the library queued: the echo of a close.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.close()).await;
        }
        End::Violated(_, how) => {
            tracing::info!(%peer, client, how, "session closed: the client broke the WebSocket protocol");
            let goodbye = async {
                let _ = socket.close().await;
                discard(socket.get_mut()).await;
            };
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        }
    }
}

fn leave_soon() -> Instant {
    Instant::now() + LEAVE_WITHIN.mul_f64(fastrand::f64())
}

fn is_stopping(leave_at: Option<(Instant, Disconnect)>) -> bool {
    leave_at.is_some_and(|(_, why)| why == Disconnect::SHUTDOWN)
}

struct Session<'a, S> {
    node: &'a Arc<Node>,
    socket: &'a mut WebSocketStream<S>,
    outbound: &'a Arc<Outbound>,
    commands: &'a mut Commands,
    tally: Tally,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn serve(&mut self) -> End {
        let limits = &self.node.config.session;
        let connect_by = Instant::now() + limits.connect_timeout;
        // The ping that comes next, or the pong that is waited for.
        let mut ping_at = Instant::now() + limits.ping_interval;
        let mut pong_by: Option<Instant> = None;
        let mut leave_at: Option<(Instant, Disconnect)> = None;
        let mut gate = self.node.guard.gate();
        if *gate.borrow() != Gate::Flowing {
            // It opened while this session began.
            gate.mark_changed();
        }
        loop {
            let connected = self.commands.is_connected();
            let halted = self.node.guard.is_open();
            tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(message)) => {
                        if let Some((code, reason)) = message.as_close() {
                            return End::Gone(code.into(), format!("closed: {reason}"));
                        }
                        if message.is_ping() {
                            // The library has queued the pong; it goes out with the next write.
                            if let Err(end) = self.written(None).await {
                                return end;
                            }
                            continue;
                        }
                        let Some(text) = message.as_text() else {
                            if message.is_pong() {
                                continue;
                            }
                            return End::Close(Disconnect::BAD_REQUEST);
                        };
                        self.tally.received(&self.node.counters, text.len());
                        match self.commands.take(text) {
                            Ok(pong) => if pong { pong_by = None },
                            Err(disconnect) => return End::Close(disconnect),
                        }
                    }
                    Some(Err(tokio_websockets::Error::Io(error))) => return End::cut(error.to_string()),
                    Some(Err(error)) => return End::violated(&error),
                    None => return End::cut("cut"),
                },
                taken = self.outbound.take(halted) => match taken {
                    Ok(taken) => if let Err(end) = self.written(Some(taken)).await {
                        return end;
                    },
                    Err(_) => return End::Close(Disconnect::SLOW),
                },
                () = tokio::time::sleep_until(connect_by), if !connected => {
                    return End::Close(Disconnect::STALE);
                }
                () = tokio::time::sleep_until(pong_by.unwrap_or(ping_at)), if connected => {
                    if pong_by.is_some() {
                        return End::Close(Disconnect::NO_PONG);
                    }
                    self.outbound.push(PING);
                    pong_by = Some(Instant::now() + limits.pong_timeout);
                    ping_at = Instant::now() + limits.ping_interval;
                }
                Ok(()) = gate.changed() => match *gate.borrow_and_update() {
                    Gate::Halted => {
                        trace::event("breaker open");
                        self.notice(NOTICE_OPEN);
                    }
                    Gate::Flowing => {
                        trace::event("breaker closed");
                        self.notice(NOTICE_CLOSED);
                        leave_at = leave_at.filter(|(_, why)| *why != Disconnect::HALTED);
                    }
                    Gate::SendAway => leave_at = leave_at.or_else(|| Some((leave_soon(), Disconnect::HALTED))),
                },
                () = self.node.stopping.cancelled(), if !is_stopping(leave_at) => {
                    leave_at = Some((self.node.drain.leave_at(), Disconnect::SHUTDOWN));
                }
                () = async { tokio::time::sleep_until(leave_at.map_or(connect_by, |(at, _)| at)).await },
                    if leave_at.is_some() =>
                {
                    return self.leave(leave_at.map_or(Disconnect::SHUTDOWN, |(_, why)| why)).await;
                }
            }
        }
    }

    /// Writes what waits, acknowledgements among it, and closes. Who has not said `connect` may speak another protocol
    /// than Centrifuge: it gets a code of the RFC's registry.
    async fn leave(&mut self, why: Disconnect) -> End {
        if let Ok(Some(taken)) = self.outbound.try_take(self.node.guard.is_open())
            && let Err(end) = self.written(Some(taken)).await
        {
            return end;
        }
        if why != Disconnect::SHUTDOWN {
            return End::Close(why);
        }
        self.node.drain.moved();
        End::Close(if self.commands.is_connected() { why } else { Disconnect::RESTART })
    }

    /// Tells a client of the breaker. Before `connect` there is nobody to tell.
    fn notice(&self, notice: Bytes) {
        if self.commands.is_connected() {
            self.outbound.push(notice);
        }
    }

    /// Writes frames (or only what the library has queued) and flushes once.
    async fn written(&mut self, taken: Option<Taken<'_>>) -> Result<(), End> {
        let (socket, limit) = (&mut *self.socket, self.node.config.session.write_timeout);
        let (tally, counters) = (&mut self.tally, &self.node.counters);
        let write = async {
            if let Some(mut taken) = taken {
                let (mut bytes, frames) = (0, taken.frames.len());
                for frame in taken.frames.drain(..) {
                    bytes += frame.bytes.len();
                    socket.feed(Message::text(frame.bytes)).await?;
                }
                socket.flush().await?;
                tally.sent(counters, frames, bytes);
                taken.written(bytes);
                return Ok(());
            }
            socket.flush().await
        };
        tokio::select! {
            written = tokio::time::timeout(limit, write) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(End::cut(tokio_websockets::Error::to_string(&error))),
                // A reader that takes nothing for so long is a slow one, however little waits for it.
                Err(_) => Err(End::Close(Disconnect::SLOW)),
            },
            () = self.outbound.overflowed() => Err(End::Close(Disconnect::SLOW)),
        }
    }
}

/// Reads to the end: a socket closed with unread bytes is reset, and the reset overtakes the close code.
async fn discard<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Says why, and waits a little for the answer.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, disconnect: Disconnect) {
    let Ok(code) = CloseCode::try_from(disconnect.code) else { return };
    let goodbye = async {
        socket.send(Message::close(Some(code), disconnect.reason)).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<_, tokio_websockets::Error>(())
    };
    // A client that does not answer is cut off.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
