//! The HTTP servers beside that of sessions: the admin address, and the server API's own. Few clients, and small
//! answers; connections are limited in number and in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;
/// Between two requests, and for the head of one: proxies and clients keep connections for 60 s.
const IDLE: Duration = Duration::from_secs(75);
/// Between two pings of HTTP/2, and for the answer to one.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Requests of one connection at the same time (HTTP/2).
const MAX_STREAMS: u32 = 256;
/// For requests that are under way when the node stops.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The other end of a connection; every request has it among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// A name of the certificate that it presented.
    pub(crate) certificate: Option<Arc<str>>,
}

/// What is done with a connection before HTTP is spoken on it.
pub(crate) trait Welcome: Send + Sync + 'static {
    /// What comes of it.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Lets a connection in, and says who it is; `None`: it is to be closed.
    fn welcome(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
    ) -> impl Future<Output = Option<(Self::Stream, Peer)>> + Send;
}

/// HTTP as it is, without TLS.
pub(crate) struct Plain;

impl Welcome for Plain {
    type Stream = TcpStream;

    async fn welcome(&self, tcp: TcpStream, address: SocketAddr) -> Option<(TcpStream, Peer)> {
        Some((tcp, Peer { address, certificate: None }))
    }
}

/// Answers until it is `closed`, and what was asked before. HTTP/1.1, and HTTP/2 without an upgrade.
pub(crate) async fn serve(
    listener: TcpListener,
    welcome: impl Welcome,
    router: Router,
    closed: CancellationToken,
) {
    let (welcome, room) = (Arc::new(welcome), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let Some((place, accepted)) = closed.run_until_cancelled(next).await else { break };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A full descriptor table passes; ending the loop would not.
                tracing::warn!(%error, "cannot accept on the admin or API address; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (welcome, router, closed) = (Arc::clone(&welcome), router.clone(), closed.clone());
        connections.spawn(async move {
            if let Some((stream, peer)) = welcome.welcome(tcp, address).await {
                connection(stream, router.layer(Extension(peer)), closed).await;
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection<S>(stream: S, router: Router, closed: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .max_concurrent_streams(MAX_STREAMS);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = closed.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWERS, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection to the admin or API address has ended");
    }
}
