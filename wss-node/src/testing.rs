//! For conformance suites, which want an echo: every message goes back as it came, over the request handling and the
//! WebSocket that sessions have, with no protocol above them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};

use crate::certs::prove::OwnListener;
use crate::client::Client;
use crate::config::Config;
use crate::connection;
use crate::outbound::Frame;
use crate::service::{Node, RunError};
use crate::session::wire::{Heard, MessageLimits, Wire};
use crate::telemetry::Telemetry;
use crate::upgrade::Upgraded;

/// Echoes on this listener, without TLS, until it is dropped.
///
/// # Errors
/// The node of this configuration cannot be put together.
pub async fn echo(listener: TcpListener, config: Config, telemetry: Arc<Telemetry>) -> Result<(), RunError> {
    let address = listener.local_addr().unwrap_or(config.listen.address);
    let (node, _) = Node::new(config, telemetry, OwnListener { address, proxied: false })?;
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        tokio::spawn(echo_one(Arc::clone(&node), tcp));
    }
}

async fn echo_one(node: Arc<Node>, tcp: TcpStream) -> Option<()> {
    let (peer, local) = (tcp.peer_addr().ok()?, tcp.local_addr().ok()?);
    let descriptor = u64::try_from(tcp.as_raw_fd()).ok()?;
    let mut place = node.limits.accept(peer.ip(), local.ip(), descriptor, Instant::now()).ok()?;
    let mut client = Client::of_socket(peer, local);
    // Requests without TLS are for proxies.
    client.tls = Some(Box::default());
    let (stream, ahead, begun) = Box::pin(connection::http(&node, tcp, client, &mut place)).await?;
    let Upgraded::Session(_admission) = begun.upgraded else { return None };
    let session = &node.config.session;
    let limits = MessageLimits { bytes: session.message_bytes, fragments: session.message_fragments };
    let mut wire = Wire::new(stream, ahead, limits);
    loop {
        match poll_fn(|cx| wire.poll_next(cx)).await {
            Heard::Message(message) if message.is_close() => {
                wire.end().await;
                return None;
            }
            Heard::Message(message) => {
                let (is_text, mut frames) = (message.is_text(), VecDeque::new());
                if is_text || message.is_binary() {
                    frames.push_back(Frame::new(message.into_payload().into()));
                }
                poll_fn(|cx| wire.poll_write(cx, &mut frames, is_text)).await.ok()?;
            }
            Heard::Violated(code, how) => {
                wire.close(code, &how).await;
                return None;
            }
            Heard::TooManyFragments | Heard::Gone(_) => return None,
        }
    }
}
