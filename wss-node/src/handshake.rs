//! The TLS handshake of one connection: what it begins with, whether anything can be served for the name, and why it
//! fails.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::first::First;
use crate::service::Node;
use crate::tls::{self, Reason};

/// Boxed right after the handshake: an idle session then costs its own size, not the largest of the states
/// before it (NODE.md section 2).
pub(crate) type Stream = Box<TlsStream<TcpStream>>;

/// A record with the fatal alert unrecognized_name (RFC 6066 section 3). rustls has no other word for a name that nothing is
/// found for than access_denied; before our first flight an alert is plain text (RFC 8446 section 5.1), so that it can be
/// written by hand.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why there is no handshake, with the details for the log.
pub(crate) type Failure = (Reason, String);

/// The handshake of a connection that begins with `first`.
///
/// # Errors
/// [`Failure`]
pub(crate) async fn accept(node: &Node, mut tcp: TcpStream, first: First) -> Result<Stream, Failure> {
    let failed = |error: std::io::Error| (Reason::of(&error), error.to_string());
    if first == First::Http {
        // They are being told what is wrong; whether they read it is theirs.
        Box::pin(say(&mut tcp, tls::plain_http_answer().as_bytes())).await;
        return Err((Reason::PlainHttp, "a request without TLS".to_owned()));
    }
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await.map_err(failed)?;
    if let Some(name) = node.reader.lacks(&start.client_hello()) {
        Box::pin(say(&mut start.io, &UNRECOGNIZED_NAME)).await;
        return Err((Reason::UnknownSni, format!("no certificate for {name}")));
    }
    let stream = start.into_stream(Arc::clone(&node.tls)).await.map_err(failed)?;
    Ok(Box::new(stream))
}

/// Last words.
async fn say(tcp: &mut TcpStream, words: &[u8]) {
    let _ = tcp.write_all(words).await;
    let _ = tcp.shutdown().await;
    drain(tcp).await;
}

/// Reads what the peer has sent, so that closing does not reset the connection under our answer.
async fn drain(tcp: &mut TcpStream) {
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
