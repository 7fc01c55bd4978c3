//! One connection, from accept to the end of its session: handshake, request, session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use opentelemetry::trace::FutureExt;
use sealwire_proto::probe::DRILL_ALPN;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::audit::Entry;
use crate::client::Client;
use crate::config::ProxyProtocol;
use crate::counters::{Counters, Gauge, Side};
use crate::drain::Timed;
use crate::first;
use crate::handshake::{self, Failure};
use crate::limits::{AcceptPlace, is_this_machine};
use crate::listener::{self, Door};
use crate::proxy::{self, HeaderFault, Told};
use crate::service::Node;
use crate::telemetry::trace::Trace;
use crate::tls::{self, Reason};
use crate::upgrade::Upgraded;
use crate::{session, upgrade};

/// For the end of a connection that is no session.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Header fields of a request; browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// From the accept to the end of the session, if there is one.
pub(crate) async fn run(
    node: Arc<Node>,
    door: Door,
    mut tcp: TcpStream,
    mut client: Client,
    mut place: AcceptPlace,
) {
    let began = Instant::now();
    let _counted = Gauge::up(&node.counters.connections);
    // Small frames must not wait for one another; a failure to set it costs only time.
    let _ = tcp.set_nodelay(true);
    if door.proxy_protocol == ProxyProtocol::Required
        && !told_by_proxy(&node, &mut tcp, &mut client, &mut place).await
    {
        return;
    }
    if !door.tls {
        return Box::pin(serve(&node, tcp, client, place)).await;
    }
    let limit = node.config.listen.handshake_timeout;
    let end = tokio::time::Instant::now() + limit;
    let late = || (Reason::Timeout, format!("not done within {limit:?}"));
    let first = match tokio::time::timeout_at(end, first::arrives(&tcp)).await {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => return failed(&node, &client, began, (Reason::of(&error), error.to_string())),
        Err(_) => return failed(&node, &client, began, late()),
    };
    let (result, busy) = Timed::new(Box::pin(handshake::accept(&node, tcp, first))).until(end).await;
    let stream = match result.unwrap_or_else(|| Err(late())) {
        Ok(stream) => stream,
        Err(failure) => return failed(&node, &client, began, failure),
    };
    let facts = tls::facts(stream.get_ref().1, began.elapsed());
    node.telemetry.histograms().handshake(&facts);
    Counters::add(&node.counters.handshakes);
    node.counters.agreed.add(&facts);
    if !facts.resumed {
        node.drain.capacity.handshake(busy);
    }
    client.tls = Some(Box::new(facts));
    if stream.get_ref().1.alpn_protocol() == Some(DRILL_ALPN) {
        // It has seen what it came for.
        return goodbye(stream).await;
    }
    Box::pin(serve(&node, stream, client, place)).await;
}

fn failed(node: &Node, client: &Client, began: Instant, (reason, detail): Failure) {
    node.counters.handshake_failed(reason);
    node.telemetry.failed_handshake(client, reason, began);
    let Client { address, peer, .. } = client;
    tracing::info!(%peer, %address, reason = reason.as_str(), detail, "TLS handshake failed");
}

/// Takes the PROXY header; whether the connection may go on. This machine's own handshakes, which prove what is served,
/// need no trust as long as they speak for nobody else.
async fn told_by_proxy(
    node: &Node,
    tcp: &mut TcpStream,
    client: &mut Client,
    place: &mut AcceptPlace,
) -> bool {
    let trusted = node.limits.is_trusted(client.peer.ip());
    let told = if trusted || is_this_machine(client.peer.ip(), client.local.ip()) {
        proxy::read(tcp).await
    } else {
        Err(HeaderFault::Untrusted)
    };
    let fault = match told {
        Ok(Told::Nobody) => return true,
        Ok(Told::Client(told)) if trusted => {
            client.address = told.ip();
            match node.limits.told(place, told.ip(), Instant::now()) {
                Ok(()) => return true,
                Err(fault) => {
                    listener::over_limit(node, tcp, client.address, fault);
                    return false;
                }
            }
        }
        Ok(Told::Client(_)) => HeaderFault::Untrusted,
        Err(fault) => fault,
    };
    node.counters.proxy_header_refused(fault);
    tracing::info!(peer = %client.peer, reason = fault.as_str(), "closed: no PROXY header to go by");
    false
}

/// One request, and the session that it may become.
async fn serve<S>(node: &Arc<Node>, stream: S, client: Client, mut place: AcceptPlace)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some((stream, read_ahead, begun)) = Box::pin(http(node, stream, client, &mut place)).await else {
        return;
    };
    let Begun { upgraded, trace } = begun;
    let mut admission = match upgraded {
        Upgraded::Session(admission) => *admission,
        Upgraded::Close(goodbye) => {
            node.counters.closes.add(Side::Node, goodbye.code);
            return upgrade::say_goodbye(stream, goodbye).await;
        }
    };
    place.becomes(&mut admission.place);
    if admission.grant.is_some() {
        admission.place.authenticated();
    }
    let session = session::run(node, stream, read_ahead, admission);
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

/// Ends TLS in good order. A peer that does not take it has its own reasons.
async fn goodbye<S: AsyncWrite + Unpin>(mut stream: S) {
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, stream.shutdown()).await;
}

/// What an upgraded connection begins with.
pub(crate) struct Begun {
    pub(crate) upgraded: Upgraded,
    /// `None`: it is not traced.
    trace: Option<Trace>,
}

/// One HTTP request; gives the stream back if it was upgraded, with what was read beyond the request.
pub(crate) async fn http<S>(
    node: &Arc<Node>,
    stream: S,
    client: Client,
    place: &mut AcceptPlace,
) -> Option<(S, Bytes, Begun)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = client.peer;
    let place = Mutex::new(place);
    let upgraded = Mutex::<Option<(OnUpgrade, Option<Begun>)>>::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (client, upgraded, place) = (client.clone(), &upgraded, &place);
        async move {
            let began = Instant::now();
            let path = request.uri().path();
            let trace = node.telemetry.connection(&client, request.method(), path, request.headers());
            let address = client.address;
            let answer = answer(node, &request, client, place);
            let (mut response, admitted) = match &trace {
                Some(trace) => Box::pin(answer.with_context(trace.context())).await,
                None => answer.await,
            };
            let took = began.elapsed();
            node.telemetry.histograms().request(request.method(), response.status(), took);
            if let Some(trace) = &trace {
                trace.answered(response.status(), took, address, admitted.as_ref());
            }
            if admitted.is_none() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let begun = admitted.map(|upgraded| Begun { upgraded, trace });
            // A refused one too: hyper then leaves the stream to us to be ended.
            let taken = (hyper::upgrade::on(&mut request), begun);
            *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(node.config.listen.head_timeout)
        .max_buf_size(node.config.listen.head_bytes)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "HTTP connection ended");
        return None;
    }
    let (upgraded, begun) = upgraded.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    // It is what was put in above.
    let parts = upgraded.await.ok()?.downcast::<TokioIo<S>>().ok()?;
    let stream = parts.io.into_inner();
    let Some(begun) = begun else {
        goodbye(stream).await;
        return None;
    };
    Some((stream, parts.read_buf, begun))
}

/// Answers a request, and admits a session if it may begin one.
async fn answer(
    node: &Node,
    request: &Request<Incoming>,
    client: Client,
    place: &Mutex<&mut AcceptPlace>,
) -> (Response<Full<Bytes>>, Option<Upgraded>) {
    match without_certificate(node, request, &client) {
        Some(refusal) => (refusal, None),
        None => upgrade::answer(node, request, client, place).await,
    }
}

/// The answer to a request whose client had to present a certificate and did not. Load balancers that ask how the node is
/// have none.
fn without_certificate<B>(
    node: &Node,
    request: &Request<B>,
    client: &Client,
) -> Option<Response<Full<Bytes>>> {
    let has_certificate = client.tls.as_ref().is_some_and(|tls| tls.client_certificate.is_some());
    if !node.clients.refuses(has_certificate) || upgrade::health::is_asked(request.uri().path()) {
        return None;
    }
    Counters::add(&node.counters.client_certificates_missing);
    if node.limits.may_tell(client.address, Instant::now()) {
        node.audit.record(&Entry {
            what: "client_certificate_missing",
            address: Some(client.address),
            session: None,
            user: None,
            tenant: None,
            detail: "listen.client_auth is \"required\"".to_owned(),
        });
    }
    let mut response = Response::new(Full::from("this node wants a certificate of its clients\n"));
    *response.status_mut() = StatusCode::FORBIDDEN;
    Some(response)
}
