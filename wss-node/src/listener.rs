//! The public listener: bound at the start, so that a taken port is told at once, but listening only when there
//! is a certificate to serve. One task per connection, from accept to the end of its session.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use sealwire_proto::probe::DRILL_ALPN;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use crate::counters::Counters;
use crate::service::Node;
use crate::tls::{self, Reason};
use crate::{session, upgrade};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// For the end of a connection that is no session.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Header fields of a request; browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// Boxed right after the handshake: an idle session then costs its own size, not the largest of the states
/// before it (NODE.md section 2).
pub(crate) type Stream = Box<TlsStream<TcpStream>>;

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
struct Place {
    /// For a handshake and no session.
    proof_only: bool,
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
        let own = tcp.local_addr().map_or(peer.ip(), |own| own.ip());
        match places.take(peer.ip(), own) {
            Some(place) => {
                connections.spawn(connection(Arc::clone(&node), acceptor.clone(), tcp, peer, place));
            }
            // Closed before TLS: this is what it costs least.
            None => Counters::add(&node.counters.turned_away),
        }
    }
}

async fn connection(node: Arc<Node>, acceptor: TlsAcceptor, tcp: TcpStream, peer: SocketAddr, place: Place) {
    // Small frames must not wait for one another; a failure to set it costs only time.
    let _ = tcp.set_nodelay(true);
    let limit = node.config.listen.handshake_timeout;
    let handshake = Box::pin(handshake(&acceptor, tcp));
    let stream = match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((reason, detail))) => return failed(&node, peer, reason, &detail),
        Err(_) => return failed(&node, peer, Reason::Timeout, &format!("not done within {limit:?}")),
    };
    Counters::add(&node.counters.handshakes);
    if stream.get_ref().1.alpn_protocol() == Some(DRILL_ALPN) {
        // It has seen what it came for.
        return goodbye(stream).await;
    }
    let Some((stream, read_ahead)) = Box::pin(http(&node, stream, peer, &place)).await else { return };
    session::run(&node, session::Prefixed::new(stream, read_ahead), peer).await;
    drop(place);
}

fn failed(node: &Node, peer: SocketAddr, reason: Reason, detail: &str) {
    node.counters.handshake_failed(reason);
    tracing::info!(%peer, reason = reason.as_str(), detail, "TLS handshake failed");
}

async fn handshake(acceptor: &TlsAcceptor, mut tcp: TcpStream) -> Result<Stream, (Reason, String)> {
    let mut first = [0; 4];
    let peeked = tcp.peek(&mut first).await.map_err(|error| (Reason::of(&error), error.to_string()))?;
    if tls::looks_like_http(&first[..peeked]) {
        // They are being told what is wrong; whether they read it is theirs.
        let _ = tcp.write_all(tls::plain_http_answer().as_bytes()).await;
        let _ = tcp.shutdown().await;
        drain(&mut tcp).await;
        return Err((Reason::PlainHttp, "a request without TLS".to_owned()));
    }
    let stream = acceptor.accept(tcp).await.map_err(|error| (Reason::of(&error), error.to_string()))?;
    Ok(Box::new(stream))
}

/// Ends TLS in good order. A peer that does not take it has its own reasons.
async fn goodbye(mut stream: Stream) {
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, stream.shutdown()).await;
}

/// Reads what the peer has sent, so that closing does not reset the connection under our answer.
async fn drain(tcp: &mut TcpStream) {
    use tokio::io::AsyncReadExt;
    const MOST: usize = 64 * 1024;
    let mut buffer = [0; 1024];
    let mut total = 0;
    while let Ok(Ok(read)) = tokio::time::timeout(Duration::from_secs(1), tcp.read(&mut buffer)).await {
        total += read;
        if read == 0 || total > MOST {
            return;
        }
    }
}

/// One HTTP request; gives the stream back if it was upgraded, with what was read beyond the request.
async fn http(
    node: &Node,
    stream: Stream,
    peer: SocketAddr,
    place: &Place,
) -> Option<(Stream, bytes::Bytes)> {
    let upgraded = Mutex::<Option<OnUpgrade>>::default();
    let service = service_fn(|mut request| {
        let response = upgrade::answer(node, &request, peer, place.proof_only);
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
        }
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(node.config.listen.head_timeout)
        .max_buf_size(node.config.listen.head_bytes)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "HTTP connection ended");
        return None;
    }
    let upgraded = upgraded.into_inner().unwrap_or_else(PoisonError::into_inner)?.await.ok()?;
    // It is what was put in above.
    let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
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
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = bound.listen().unwrap();
        TcpStream::connect(address).await.unwrap();
        assert_eq!(Bound::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
