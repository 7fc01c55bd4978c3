//! Who is let in to the API, and how many at once. The same for HTTP and gRPC; only the form of a refusal differs.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

use super::refused::Refused;
use super::{Api, Caller, http};
use crate::http_server::Peer;

/// Where a key may be.
const KEY_HEADER: &str = "x-api-key";
/// What stands before it in `Authorization`.
const SCHEME: &str = "apikey";

/// The key that a request presents.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(KEY_HEADER) {
        return Some(key.as_bytes().trim_ascii());
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim().as_bytes())
}

/// A request on its way to a method.
pub(super) async fn pass(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let refuse = |why, text: &str| {
        api.refused(why);
        refusal(is_grpc, why, text)
    };
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        tracing::error!("a request to the server API from nowhere: a fault of the program");
        return refuse(Refused::Unauthorized, "unauthorized");
    };
    if let Some(keys) = &api.keys {
        let key = presented(request.headers());
        if !key.is_some_and(|key| keys.know(key)) {
            let what = if key.is_some() { "a wrong key" } else { "no key" };
            api.turned_away(peer.address, format!("{what} for {}", request.uri().path()));
            return refuse(
                Refused::Unauthorized,
                "unauthorized: expected X-API-Key, or Authorization: apikey KEY",
            );
        }
    }
    let Ok(_place) = api.room.try_acquire() else {
        return refuse(Refused::Busy, "try again: api.requests are under way");
    };
    request.extensions_mut().insert(Caller::of(&peer, !is_grpc));
    match tokio::time::timeout(api.config.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(
            Refused::Timeout,
            "try again, with the same idempotency_key: no answer within api.timeout; it may have been done all the same",
        ),
    }
}

/// The answer to a request that comes to no method.
fn refusal(is_grpc: bool, why: Refused, text: &str) -> Response {
    let (status, code, grpc) = match why {
        Refused::Unauthorized => (StatusCode::UNAUTHORIZED, 101, Code::Unauthenticated),
        Refused::Timeout => (StatusCode::GATEWAY_TIMEOUT, 100, Code::DeadlineExceeded),
        _ => (StatusCode::SERVICE_UNAVAILABLE, 100, Code::Unavailable),
    };
    if is_grpc {
        return Status::new(grpc, text).into_http::<Body>();
    }
    let mut response = http::refusal(status, code, text);
    if why != Refused::Unauthorized {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
