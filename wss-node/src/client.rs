//! Who is on the other end of a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A connection's other end, as far as it is known: first the socket, then what a proxy's header and the request say.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Whose connection it is: limits, logs and audit go by it. The peer, or the client that a trusted proxy tells.
    pub(crate) address: IpAddr,
    /// The other end of the socket.
    pub(crate) peer: SocketAddr,
    /// Our end of the socket.
    pub(crate) local: SocketAddr,
    /// What the handshake agreed upon; `None` on the plain listener.
    pub(crate) tls: Option<Box<TlsFacts>>,
}

/// What a TLS handshake agreed upon.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFacts {
    /// The name that the client asked for.
    pub(crate) server_name: Option<String>,
    /// As IANA names it: `TLS13_AES_256_GCM_SHA384` and the like.
    pub(crate) cipher_suite: &'static str,
    /// Key exchange: `X25519MLKEM768` and the like.
    pub(crate) group: &'static str,
    /// Whether it took up an earlier session.
    pub(crate) resumed: bool,
    /// From the accept to its end.
    pub(crate) took: Duration,
    /// SHA-256 of the client's certificate; `None`: it sent none.
    pub(crate) client_certificate: Option<[u8; 32]>,
}

impl Client {
    /// A connection of which nothing but the socket is known.
    pub(crate) fn of_socket(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { address: peer.ip().to_canonical(), peer, local, tls: None }
    }
}
