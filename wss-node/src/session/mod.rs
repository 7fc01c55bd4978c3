//! One session, from the upgrade to the last goodbye. All in one task, so that whatever way it ends, everything it
//! held is given back by being dropped.

mod checking;
mod commands;
mod connect;
mod frames;
mod life;
mod look;
mod permission;
mod publish;
mod rate;
mod rpc;
mod serve;
mod subscribe;
mod subscription;
mod subscriptions;
mod timers;
mod token;
mod tokens;
mod watched;
pub(crate) mod wire;
mod work;
mod writing;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::close::Close;
use crate::counters::{Counters, Gauge, Side};
use crate::outbound::Outbound;
use crate::registry::{SessionId, State};
use crate::service::Node;
use crate::telemetry::trace::{self, Closing, Tally};
use crate::upgrade::Admission;
use crate::wire::Disconnect;
use commands::Commands;
use serve::Session;
use wire::{MessageLimits, Wire};

/// Stands for a connection that ended without a close (RFC 6455 section 7.4.1).
const CUT: u16 = 1006;

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// We close it.
    Close(Close),
    /// The client closed it with a code, or is gone.
    Gone(u16, String),
    /// The client broke RFC 6455 or sent too much: closed with this code.
    Violated(u16, String),
}

impl End {
    /// The connection ended without a close.
    fn cut(how: impl Into<String>) -> Self {
        Self::Gone(CUT, how.into())
    }

    fn closing(&self) -> Closing<'_> {
        let (side, code, reason, failed) = match self {
            Self::Close(why) => (Side::Node, why.code(), why.reason(), why.is_fault()),
            Self::Gone(code, how) => (Side::Client, *code, how.as_str(), false),
            Self::Violated(code, how) => (Side::Node, *code, how.as_str(), true),
        };
        Closing { side, code, reason, failed }
    }
}

impl From<Disconnect> for End {
    fn from(disconnect: Disconnect) -> Self {
        Self::Close(disconnect.into())
    }
}

/// Runs a session on an upgraded connection until it ends; `ahead` was read beyond the request.
pub(crate) async fn run<S>(node: &Arc<Node>, stream: S, ahead: Bytes, admission: Admission)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (peer, began) = (admission.client.peer, Instant::now());
    let _counted = Gauge::up(&node.counters.sessions);
    let limits = MessageLimits {
        bytes: node.config.session.message_bytes,
        fragments: node.config.session.message_fragments,
    };
    let mut wire = Wire::new(stream, ahead, limits);
    let outbound = Arc::new(Outbound::new(node.config.session.outbound_queue_bytes));
    let registered = node.registry.open(&admission, &outbound, Timestamp::now());
    let entry = registered.entry();
    let client = entry.id;
    let mut commands = Commands::new(Arc::clone(node), Arc::clone(&outbound), admission, Arc::clone(entry));
    trace::session(&client);
    tracing::debug!(%peer, %client, "session open");
    let mut tally = Tally::default();
    let mut session = Session {
        node,
        wire: &mut wire,
        outbound: &outbound,
        commands: &mut commands,
        entry,
        tally: &mut tally,
    };
    // A fault of ours ends this session and no other, and in good order.
    let end = AssertUnwindSafe(session.serve()).catch_unwind().await.unwrap_or_else(|_| {
        Counters::add(&node.counters.sessions_panicked);
        tracing::error!(%peer, %client, "session closed: a fault of this node; what it was is above");
        Disconnect::SERVER_ERROR.into()
    });
    entry.reached(State::Closing);
    node.telemetry.histograms().session(began.elapsed());
    node.counters.closes.add(end.closing().side, end.closing().code);
    trace::closing(&end.closing(), tally);
    // Nothing more is to be queued for it, and its place is another's.
    drop((commands, outbound));
    // After a fault of ours the WebSocket may have one too.
    let _ = AssertUnwindSafe(goodbye(&mut wire, &end, peer, client)).catch_unwind().await;
}

/// Tells the client why, if it is still there.
async fn goodbye<S>(wire: &mut Wire<S>, end: &End, peer: SocketAddr, client: SessionId)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match end {
        End::Close(close) => {
            tracing::info!(%peer, %client, code = close.code(), reason = close.reason(), "session closed");
            wire.close(close.code(), close.reason()).await;
        }
        End::Gone(_, how) => {
            tracing::debug!(%peer, %client, how, "session ended by the client");
            wire.end().await;
        }
        End::Violated(code, how) => {
            tracing::info!(%peer, %client, code, how, "session closed: the client broke the WebSocket protocol");
            wire.close(*code, how).await;
        }
    }
}

#[cfg(test)]
mod ends_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
