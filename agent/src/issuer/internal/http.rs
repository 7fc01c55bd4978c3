//! What embedded CAs publish, over HTTP: revocation lists, CA certificates, roots, and the OCSP responder
//! (RFC 5280 section 4.2.1.13, RFC 6960 appendix A, RFC 5019 section 6). Plain HTTP by design: everything is
//! signed, and whoever checks a certificate to get here would need the answer first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::InternalIssuer;
use super::endpoints::{CERTIFICATE_SUFFIX, CRL_SUFFIX, RESPONDER, ROOTS};
use super::identity::AuthorityId;
use super::ocsp::Answer;
use crate::issuer::listen::accept;

/// A request with ten questions is well below 2 KiB.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// The head of a request; a question in its path is below 1 KiB.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a client may take to send the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may last: one question, or a list of some megabytes.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// CA certificates and roots change with months of notice; whoever waits for a new root is not kept waiting.
const CERTIFICATES_FRESH_S: i64 = 300;

/// Some clients leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The CAs that share one listener, by name.
#[derive(Clone, Default)]
pub struct Publication(Arc<BTreeMap<String, Arc<InternalIssuer>>>);

impl Publication {
    /// Of these CAs.
    #[must_use]
    pub fn new(issuers: impl IntoIterator<Item = Arc<InternalIssuer>>) -> Self {
        let by_name = issuers.into_iter().map(|issuer| (issuer.shared.name.clone(), issuer));
        Self(Arc::new(by_name.collect()))
    }

    /// Answers on `listener` until `shutdown`.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let router = Router::new()
            .route(&format!("/{{issuer}}/{RESPONDER}"), post(ask_by_post))
            .route(&format!("/{{issuer}}/{RESPONDER}/{{*question}}"), get(ask_by_get))
            .route("/{issuer}/{file}", get(file))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self);
        accept(listener, shutdown, |stream| serve_connection(stream, router.clone())).await;
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Err(error)) => tracing::debug!(error, "a connection for revocation failed"),
        Err(_) => tracing::debug!("a connection for revocation took too long"),
        Ok(Ok(())) => {}
    }
}

async fn ask_by_post(
    State(publication): State<Publication>,
    Path(issuer): Path<String>,
    request: Request,
) -> Response {
    let Some(issuer) = publication.0.get(&issuer) else { return StatusCode::NOT_FOUND.into_response() };
    let is_ocsp = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|found| found.as_bytes().eq_ignore_ascii_case(b"application/ocsp-request"));
    if !is_ocsp {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match axum::body::to_bytes(request.into_body(), MAX_REQUEST_BYTES).await {
        Ok(question) => {
            let mut response = Response::new(Body::from(issuer.answer_ocsp(&question).der));
            response.headers_mut().insert(CONTENT_TYPE, ocsp_response());
            // Only answers by GET are for caches (RFC 5019 section 6).
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

async fn ask_by_get(
    State(publication): State<Publication>,
    Path((issuer, question)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(issuer) = publication.0.get(&issuer) else { return StatusCode::NOT_FOUND.into_response() };
    // What is not base64 is answered like what is not a request.
    let question = BASE64.decode(question.trim_start_matches('/')).unwrap_or_default();
    let Answer { der, good } = issuer.answer_ocsp(&question);
    let now = issuer.clock.now();
    let cache = good.map(|(since, until)| Cache {
        since,
        until: Some(until),
        fresh_s: (until.duration_since(now) / 2).as_secs().max(0),
    });
    respond(der, ocsp_response(), cache.as_ref(), &headers)
}

fn ocsp_response() -> HeaderValue {
    HeaderValue::from_static("application/ocsp-response")
}

async fn file(
    State(publication): State<Publication>,
    Path((issuer, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(issuer) = publication.0.get(&issuer) else { return StatusCode::NOT_FOUND.into_response() };
    let (view, now) = (issuer.view(), issuer.clock.now());
    if file == ROOTS {
        let roots = view.authorities.iter().filter(|(id, _)| matches!(id, AuthorityId::Root(_)));
        let since = roots.map(|(_, seen)| seen.authority.not_before()).max().unwrap_or(now);
        let cache = Cache { since, until: None, fresh_s: CERTIFICATES_FRESH_S };
        let kind = HeaderValue::from_static("application/pem-certificate-chain");
        return respond(view.roots_pem.clone().into(), kind, Some(&cache), &headers);
    }
    let id = |suffix| file.strip_suffix(suffix).and_then(|stem| stem.parse::<AuthorityId>().ok());
    if let Some(crl) = id(CRL_SUFFIX).and_then(|id| view.crls.get(&id)) {
        let cache =
            Cache { since: crl.this_update, until: Some(crl.next_update), fresh_s: crl.fresh_for(now) };
        let kind = HeaderValue::from_static("application/pkix-crl");
        return respond(crl.der.clone(), kind, Some(&cache), &headers);
    }
    if let Some(seen) = id(CERTIFICATE_SUFFIX).and_then(|id| view.authorities.get(&id)) {
        let (authority, kind) = (&seen.authority, HeaderValue::from_static("application/pkix-cert"));
        let (since, until) = (authority.not_before(), Some(authority.not_after()));
        let cache = Cache { since, until, fresh_s: CERTIFICATES_FRESH_S };
        return respond(authority.certificate().to_vec().into(), kind, Some(&cache), &headers);
    }
    StatusCode::NOT_FOUND.into_response()
}

/// For how long an answer may be kept by others.
struct Cache {
    since: Timestamp,
    until: Option<Timestamp>,
    fresh_s: i64,
}

fn respond(body: Bytes, kind: HeaderValue, cache: Option<&Cache>, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", sealwire_proto::hex(&sealwire_proto::validate::sha256(&body)));
    let is_known = asked.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).is_some_and(|known| {
        known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    });
    let mut response = match cache {
        Some(_) if is_known => StatusCode::NOT_MODIFIED.into_response(),
        _ => Response::new(Body::from(body)),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    let mut set = |name, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    match cache {
        Some(Cache { since, until, fresh_s }) => {
            set(ETAG, tag);
            set(CACHE_CONTROL, format!("public, no-transform, must-revalidate, max-age={fresh_s}"));
            // RFC 9110 section 5.6.7
            let date = |at| rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(at);
            if let Ok(text) = date(since) {
                set(LAST_MODIFIED, text);
            }
            if let Some(Ok(text)) = until.as_ref().map(date) {
                set(EXPIRES, text);
            }
        }
        None => set(CACHE_CONTROL, "no-store".to_owned()),
    }
    response
}
