//! The public listener: bound at the start, so that a taken port is told at once, but listening only when there
//! is a certificate to serve. What becomes of a connection: `connection.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::audit::Entry;
use crate::client::Client;
use crate::connection;
use crate::counters::Counters;
use crate::limits::LimitFault;
use crate::service::Node;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// A socket that has its port but does not listen yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    pub(crate) address: SocketAddr,
}

impl Bound {
    /// Takes the port.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // So that a restart does not wait for connections in TIME_WAIT; a live listener still refuses it.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address })
    }

    /// Lets connections in.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        TcpListener::from_std(self.socket.into())
    }
}

/// Accepts until the node stops.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Node>, connections: TaskTracker) {
    let acceptor = TlsAcceptor::from(Arc::clone(&node.tls));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = node.stopping.cancelled() => return,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A full descriptor table passes; ending the loop would not.
                tracing::warn!(%error, "cannot accept; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let local = tcp.local_addr().unwrap_or(peer);
        match node.limits.accept(peer.ip(), local.ip(), Instant::now()) {
            Ok(place) => {
                let client = Client::of_socket(peer, local);
                connections.spawn(connection::run(Arc::clone(&node), acceptor.clone(), tcp, client, place));
            }
            Err(fault) => turn_away(&node, &tcp, peer, fault),
        }
    }
}

/// Closes before TLS, by a reset: this is what it costs least.
fn turn_away(node: &Node, tcp: &TcpStream, peer: SocketAddr, fault: LimitFault) {
    Counters::add(&node.counters.turned_away);
    // A failure leaves it to an ordinary close.
    let _ = tcp.set_zero_linger();
    if node.limits.may_tell(peer.ip(), Instant::now()) {
        node.audit.record(&Entry {
            what: "limit_reached",
            address: Some(peer.ip().to_canonical()),
            session: None,
            user: None,
            tenant: None,
            detail: format!("{}: connections are closed before TLS", fault.as_str()),
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bound_port_is_taken_but_refuses_until_it_listens() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.address;
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = bound.listen().unwrap();
        TcpStream::connect(address).await.unwrap();
        assert_eq!(Bound::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
