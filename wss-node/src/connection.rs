//! One connection, from accept to the end of its session: handshake, request, session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use opentelemetry::trace::FutureExt;
use sealwire_proto::probe::DRILL_ALPN;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::Client;
use crate::counters::Counters;
use crate::listener::Place;
use crate::service::Node;
use crate::telemetry::trace::Trace;
use crate::tls::{self, Reason};
use crate::upgrade::Admission;
use crate::{session, upgrade};

/// For the end of a connection that is no session.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Header fields of a request; browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// Boxed right after the handshake: an idle session then costs its own size, not the largest of the states
/// before it (NODE.md section 2).
pub(crate) type Stream = Box<TlsStream<TcpStream>>;

/// From the accept to the end of the session, if there is one.
pub(crate) async fn run(
    node: Arc<Node>,
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    mut client: Client,
    place: Place,
) {
    let began = Instant::now();
    // Small frames must not wait for one another; a failure to set it costs only time.
    let _ = tcp.set_nodelay(true);
    let limit = node.config.listen.handshake_timeout;
    let handshake = Box::pin(handshake(&acceptor, tcp));
    let stream = match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((reason, detail))) => return failed(&node, &client, began, reason, &detail),
        Err(_) => {
            return failed(&node, &client, began, Reason::Timeout, &format!("not done within {limit:?}"));
        }
    };
    Counters::add(&node.counters.handshakes);
    let facts = tls::facts(stream.get_ref().1, began.elapsed());
    node.telemetry.histograms().handshake(&facts);
    node.counters.agreed.add(&facts);
    client.tls = Some(Box::new(facts));
    if stream.get_ref().1.alpn_protocol() == Some(DRILL_ALPN) {
        // It has seen what it came for.
        return goodbye(stream).await;
    }
    let Some((stream, read_ahead, admission, trace)) = Box::pin(http(&node, stream, client, &place)).await
    else {
        return;
    };
    let session = session::run(&node, session::Prefixed::new(stream, read_ahead), admission);
    match trace {
        // In a box, so that only traced sessions pay for it.
        Some(trace) => {
            Box::pin(session.with_context(trace.context())).await;
            trace.end();
        }
        None => session.await,
    }
    drop(place);
}

fn failed(node: &Node, client: &Client, began: Instant, reason: Reason, detail: &str) {
    node.counters.handshake_failed(reason);
    node.telemetry.failed_handshake(client, reason, began);
    tracing::info!(peer = %client.peer, reason = reason.as_str(), detail, "TLS handshake failed");
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
async fn http<S>(
    node: &Arc<Node>,
    stream: S,
    client: Client,
    place: &Place,
) -> Option<(S, Bytes, Admission, Option<Trace>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = client.peer;
    let upgraded = Mutex::<Option<(OnUpgrade, Admission, Option<Trace>)>>::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (client, upgraded) = (client.clone(), &upgraded);
        async move {
            let began = Instant::now();
            let path = request.uri().path();
            let trace = node.telemetry.connection(&client, request.method(), path, request.headers());
            let answer = upgrade::answer(node, &request, client, place.proof_only);
            let (response, admission) = match &trace {
                Some(trace) => Box::pin(answer.with_context(trace.context())).await,
                None => answer.await,
            };
            let took = began.elapsed();
            node.telemetry.histograms().request(request.method(), response.status(), took);
            if let Some(trace) = &trace {
                trace.answered(response.status(), took, admission.as_ref());
            }
            if let Some(admission) = admission {
                let taken = (hyper::upgrade::on(&mut request), admission, trace);
                *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
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
    let (upgraded, admission, trace) = upgraded.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    // It is what was put in above.
    let parts = upgraded.await.ok()?.downcast::<TokioIo<S>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf, admission, trace))
}
