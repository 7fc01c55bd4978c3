//! The public listener: bound at the start, so that a taken port is told at once, but listening only when there
//! is a certificate to serve. What becomes of a connection: `connection.rs`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::connection;
use crate::counters::Counters;
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

/// Places besides `max_connections` for peers on this machine, for a handshake and no session: a full node must
/// still be able to prove what it serves.
const PROOF_PLACES: usize = 16;

/// Room for one connection, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    /// For a handshake and no session.
    pub(crate) proof_only: bool,
    _permit: OwnedSemaphorePermit,
}

struct Places {
    sessions: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
}

impl Places {
    fn new(max_connections: usize) -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(max_connections)),
            proofs: Arc::new(Semaphore::new(PROOF_PLACES)),
        }
    }

    /// A place for a peer; `None` if there is none for it.
    fn take(&self, peer: IpAddr, own: IpAddr) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.sessions).try_acquire_owned() {
            return Some(Place { proof_only: false, _permit: permit });
        }
        let local = peer.is_loopback() || peer == own;
        let permit = Arc::clone(&self.proofs).try_acquire_owned().ok().filter(|_| local)?;
        Some(Place { proof_only: true, _permit: permit })
    }
}

/// Accepts until the node stops.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Node>, connections: TaskTracker) {
    let places = Places::new(node.config.listen.max_connections);
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
        match places.take(peer.ip(), local.ip()) {
            Some(place) => {
                let client = Client::of_socket(peer, local);
                connections.spawn(connection::run(Arc::clone(&node), acceptor.clone(), tcp, client, place));
            }
            // Closed before TLS: this is what it costs least.
            None => Counters::add(&node.counters.turned_away),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_lets_in_proofs_and_nobody_else() {
        let places = Places::new(1);
        let (far, own, loopback) = ("192.0.2.1", "192.0.2.9", "127.0.0.1");
        let take = |peer: &str| places.take(peer.parse().unwrap(), own.parse().unwrap());
        let first = take(far);
        assert!(first.as_ref().is_some_and(|place| !place.proof_only));
        assert!(take(far).is_none());
        assert!(take(own).is_some_and(|place| place.proof_only));
        let proofs: Vec<_> = (0..=PROOF_PLACES).filter_map(|_| take(loopback)).collect();
        assert_eq!(proofs.len(), PROOF_PLACES);
        drop(first);
        assert!(take(far).is_some_and(|place| !place.proof_only));
    }

    #[tokio::test]
    async fn a_bound_port_is_taken_but_refuses_until_it_listens() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.address;
        let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = bound.listen().unwrap();
        tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(Bound::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
