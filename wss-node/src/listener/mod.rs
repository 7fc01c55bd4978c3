//! The public listeners: who is let in. What becomes of a connection: `connection.rs`.

mod bound;

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::audit::Entry;
use crate::client::Client;
use crate::config::ProxyProtocol;
use crate::connection;
use crate::counters::Counters;
use crate::limits::LimitFault;
use crate::service::Node;
pub(crate) use bound::Bound;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// TLS; or plain HTTP, for trusted proxies only.
    pub(crate) tls: bool,
    /// Connections begin with a PROXY header.
    pub(crate) proxy_protocol: ProxyProtocol,
}

/// Accepts until the node has stopped, or gives the listener up as soon as it begins to when another process takes over.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    hand_over: HandOver,
    node: Arc<Node>,
    connections: TaskTracker,
) {
    tokio::select! {
        () = accept(&listener, door, &node, &connections) => {}
        () = node.closed.cancelled(), if hand_over != HandOver::ReusedPort => {}
        () = node.handing_over.cancelled(), if hand_over == HandOver::SharedQueue => {}
        () = given_up(&listener, &node), if hand_over == HandOver::ReusedPort => {}
    }
}

/// Who gets new connections once this process begins to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// Nobody: they are answered 503 to the end.
    Nobody,
    /// Another process on the same port.
    ReusedPort,
    /// Whoever has the same socket.
    SharedQueue,
}

async fn given_up(listener: &TcpListener, node: &Node) {
    node.handing_over.cancelled().await;
    match bound::turn_to_others(listener) {
        Ok(()) => tokio::time::sleep(bound::GIVE_UP_AFTER).await,
        Err(error) => tracing::warn!(%error, "connections that are just being made may be reset"),
    }
}

async fn accept(listener: &TcpListener, door: Door, node: &Arc<Node>, connections: &TaskTracker) {
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // A full descriptor table passes; ending the loop would not.
                tracing::warn!(%error, "cannot accept; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !door.tls && !node.limits.is_trusted(peer.ip()) {
            Counters::add(&node.counters.plain_refused);
            turn_away(node, &tcp, peer.ip(), "plain_refused", || {
                "the plain listener lets in proxy.trusted only".to_owned()
            });
            continue;
        }
        let local = tcp.local_addr().unwrap_or(peer);
        let descriptor = u64::try_from(tcp.as_raw_fd()).unwrap_or_default();
        match node.limits.accept(peer.ip(), local.ip(), descriptor, Instant::now()) {
            Ok(place) => {
                let client = Client::of_socket(peer, local);
                connections.spawn(connection::run(Arc::clone(node), door, tcp, client, place));
            }
            Err(fault) => over_limit(node, &tcp, peer.ip(), fault),
        }
    }
}

/// Closes before TLS a connection whose client is over a limit.
pub(crate) fn over_limit(node: &Node, tcp: &TcpStream, client: IpAddr, fault: LimitFault) {
    Counters::add(&node.counters.turned_away);
    let detail = || format!("{}: connections are closed before TLS", fault.as_str());
    turn_away(node, tcp, client, "limit_reached", detail);
}

/// By a reset: this is what it costs least, and leaves nothing behind.
fn turn_away(
    node: &Node,
    tcp: &TcpStream,
    client: IpAddr,
    what: &'static str,
    detail: impl FnOnce() -> String,
) {
    // A failure leaves it to an ordinary close.
    let _ = tcp.set_zero_linger();
    let address = client.to_canonical();
    if node.limits.may_tell(address, Instant::now()) {
        node.audit.record(&Entry {
            what,
            address: Some(address),
            session: None,
            user: None,
            tenant: None,
            detail: detail(),
        });
    }
}
