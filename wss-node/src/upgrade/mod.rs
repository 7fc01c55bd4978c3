//! From an HTTP request to a WebSocket: which requests are let through (RFC 6455 section 4.2), and what the
//! others are told. The decision is a pure function of the request.

use std::ops::RangeInclusive;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use sha1::{Digest, Sha1};

use crate::auth::Grant;
use crate::client::Client;
use crate::counters::Counters;
use crate::limits::{LimitFault, SessionPlace};
use crate::service::Node;
use crate::tenant::Tenant;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The subprotocol of the Centrifuge JSON protocol; clients that offer none speak it too.
const JSON: &str = "centrifuge-json";

/// When clients come back to a node that has halted, in seconds.
const HALTED_RETRY_AFTER_S: RangeInclusive<u64> = 5..=20;

/// Why a request is not upgraded.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    /// For people.
    reason: &'static str,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, header: None, reason }
    }

    fn with(self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }
}

/// What the 101 must say.
#[derive(Debug, PartialEq, Eq)]
struct Accepted {
    key: String,
    subprotocol: Option<&'static str>,
}

/// Whether there is room for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Open,
    Full,
    Stopping,
    /// The breaker is open; clients are to come back after so many seconds.
    Halted(u64),
}

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) client: Client,
    /// Whose rules it is under.
    pub(crate) tenant: Arc<Tenant>,
    /// What its token grants; `None`: none came with the upgrade.
    pub(crate) grant: Option<Grant>,
    /// What it counts for.
    pub(crate) place: SessionPlace,
}

impl From<LimitFault> for Refusal {
    fn from(fault: LimitFault) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many sessions")
            .with(RETRY_AFTER, fault.retry_after().as_secs())
    }
}

/// Answers one request; with an admission it is a 101, and the connection a WebSocket from here on. `full`: there is
/// no place for one more session.
pub(crate) async fn answer<B>(
    node: &Node,
    request: &Request<B>,
    client: Client,
    full: bool,
) -> (Response<Full<Bytes>>, Option<Admission>) {
    let mut admission = None;
    let mut response = Response::new(Full::default());
    let room = if node.readiness.is_draining() {
        Room::Stopping
    } else if node.guard.is_open() {
        // Not all at the same instant.
        Room::Halted(fastrand::u64(HALTED_RETRY_AFTER_S))
    } else if full {
        Room::Full
    } else {
        Room::Open
    };
    let decided = decide(request, &node.config.listen.path, room);
    let placed =
        decided.and_then(|accepted| Ok((accepted, node.limits.session(client.address, &node.tenant)?)));
    match placed {
        Ok((accepted, place)) => {
            admission = Some(Admission { client, tenant: Arc::clone(&node.tenant), grant: None, place });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            // Base64 is always a legal value.
            if let Ok(key) = accepted.key.parse() {
                headers.insert(SEC_WEBSOCKET_ACCEPT, key);
            }
            if let Some(subprotocol) = accepted.subprotocol {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
            }
        }
        Err(refusal) => {
            if matches!(room, Room::Halted(_)) && refusal.status == StatusCode::SERVICE_UNAVAILABLE {
                Counters::add(&node.counters.upgrades_refused);
            }
            tracing::info!(peer = %client.peer, status = refusal.status.as_u16(), reason = refusal.reason, "upgrade refused");
            *response.status_mut() = refusal.status;
            if let Some((name, value)) = refusal.header {
                response.headers_mut().insert(name, value);
            }
            *response.body_mut() = Full::from(format!("{}\n", refusal.reason));
        }
    }
    (response, admission)
}

fn decide<B>(request: &Request<B>, path: &str, room: Room) -> Result<Accepted, Refusal> {
    let headers = request.headers();
    if request.uri().path() != path {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "nothing is here; the WebSocket endpoint has another path",
        ));
    }
    if request.method() != Method::GET {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
        return Err(refusal.with(ALLOW, HeaderValue::from_static("GET")));
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "a WebSocket upgrade needs HTTP/1.1",
        ));
    }
    let unavailable = |reason, after_s: u64| {
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).with(RETRY_AFTER, after_s))
    };
    match room {
        Room::Open => {}
        Room::Full => return unavailable("this node is full", 1),
        Room::Stopping => return unavailable("this node is stopping", 1),
        Room::Halted(after_s) => return unavailable("this node has halted", after_s),
    }
    let bad = |reason| Refusal::new(StatusCode::BAD_REQUEST, reason);
    if !lists(headers, &UPGRADE, "websocket") || !lists(headers, &CONNECTION, "upgrade") {
        return Err(bad("expected a WebSocket upgrade: Upgrade: websocket, Connection: Upgrade"));
    }
    match single(headers, &SEC_WEBSOCKET_VERSION) {
        Some("13") => {}
        Some(_) => {
            let refusal =
                Refusal::new(StatusCode::UPGRADE_REQUIRED, "only version 13 of the WebSocket protocol");
            return Err(refusal.with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        }
        None => return Err(bad("Sec-WebSocket-Version is missing, or there are several")),
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
        .ok_or_else(|| bad("Sec-WebSocket-Key must be the base64 of 16 bytes"))?;
    let subprotocol = match offered(headers).as_slice() {
        [] => None,
        offered if offered.contains(&JSON) => Some(JSON),
        _ => {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "none of the offered subprotocols is spoken here",
            ));
        }
    };
    Ok(Accepted { key: accept_key(key), subprotocol })
}

/// RFC 6455 section 4.2.2, item 5.4.
fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The value of a header that must stand once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// Whether a comma-separated header has a token.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn offered(headers: &HeaderMap) -> Vec<&str> {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL).collect()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
