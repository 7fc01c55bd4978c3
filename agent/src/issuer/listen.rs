//! The accept loop of what answers strangers: challenges, and questions about what is revoked.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The ports are open to everyone; a CA validates from a handful of addresses at once, and a question about
/// revocation takes a millisecond.
const MAX_CONNECTIONS: usize = 256;

/// A pause after a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hands each connection to `serve`, which must end by itself, until `shutdown`.
pub(crate) async fn accept<F, R>(listener: TcpListener, shutdown: CancellationToken, serve: F)
where
    F: Fn(TcpStream) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            // Taken before accept: more clients than slots wait in the kernel's backlog.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        let Some((connection, slot)) = accepted else { return };
        match connection {
            Ok((stream, peer)) => {
                let connection = serve(stream);
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = connection => {}
                    }
                    tracing::trace!(%peer, "connection closed");
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
