//! `GET /connect/check`: the gate without an upgrade. Scripts in browsers see every refused WebSocket as 1006; here a
//! page of an allowed origin learns why. Others learn nothing: not whether, not why.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::arrival::{self, Place};
use super::head::{Head, Several, several};
use super::refusal::{Outcome, Refusal};
use super::room::Room;
use super::{admit, origin, route};
use crate::auth::decoded;
use crate::client::Client;
use crate::config::{GateConfig, TokenConfig};
use crate::host::Authority;
use crate::service::Node;

/// Where it answers, on every listener and host.
pub(crate) const PATH: &str = "/connect/check";

/// What browsers say of a request that a page makes to its own host, which then has no Origin.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How long a browser may remember a preflight.
const PREFLIGHT_MAX_AGE_S: u64 = 600;

/// Answers a request for [`PATH`].
pub(super) async fn answer(
    node: &Node,
    head: &Head<'_>,
    mut client: Client,
    place: &Place<'_>,
    room: Room,
) -> Response<Full<Bytes>> {
    let mut response = match found(node, head, &mut client, place, room).await {
        Ok(response) => response,
        Err(refusal) => {
            // Not its own text: a page that may not ask learns nothing.
            let mut response = Response::new(Full::default());
            *response.status_mut() = refusal.outcome.status();
            if refusal.outcome == Outcome::MethodNotAllowed {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, OPTIONS"));
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin, Sec-Fetch-Site"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to those who may ask; the others' refusal.
async fn found(
    node: &Node,
    head: &Head<'_>,
    client: &mut Client,
    place: &Place<'_>,
    room: Room,
) -> Result<Response<Full<Bytes>>, Refusal> {
    if ![Method::GET, Method::OPTIONS].contains(head.method) {
        return Err(Refusal::new(Outcome::MethodNotAllowed, ""));
    }
    let arrived = arrival::arrive(node, head, client, place);
    let arrival = arrived.inspect_err(|refusal| node.refused(refusal, client, None, head))?;
    let site = node.tenants.site(arrival.name());
    let asked = endpoint(head.uri.query());
    let path = asked.as_deref().or(site.only_path()).unwrap_or(&node.config.listen.path);
    let routed = route::route(&node.tenants, arrival.name(), arrival.handshake(), path);
    let tenant = routed.inspect_err(|refusal| node.refused(refusal, client, None, head))?;
    let refused = |refusal: &Refusal| node.refused(refusal, client, Some(tenant), head);
    let allowed = page(head, &tenant.gate, arrival.host.as_ref()).inspect_err(refused)?;
    let mut response = if head.method == Method::OPTIONS {
        preflight(&tenant.token)
    } else {
        let result = match room.check() {
            Ok(()) => admit(node, head, tenant, client.address).await.map(drop),
            Err(refusal) => Err(refusal),
        };
        told(&result.inspect_err(refused))
    };
    if let Some(origin) = allowed {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    Ok(response)
}

/// The endpoint that is asked about, as the query has it: `path=/acme/websocket`, percent-encoded or not.
fn endpoint(query: Option<&str>) -> Option<Cow<'_, str>> {
    query?.split('&').find_map(|pair| pair.strip_prefix("path=")).map(decoded)
}

/// Whether the page behind a request may ask; gives its Origin, if it comes from elsewhere.
fn page<'a>(
    head: &Head<'a>,
    gate: &GateConfig,
    host: Option<&Authority>,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    match several(head.headers, &ORIGIN) {
        Several::More => Err(Refusal::new(Outcome::BadRequest, "several Origin fields")),
        Several::One(text) => {
            origin::allowed(text, gate, host)?;
            Ok(head.headers.get(ORIGIN))
        }
        Several::None => {
            let is_own = head.headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin");
            match host.filter(|_| is_own) {
                Some(host) => origin::own(gate, host)?,
                None => origin::missing(gate)?,
            }
            Ok(None)
        }
    }
}

fn preflight(token: &TokenConfig) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = match &token.header {
        Some(header) => format!("authorization, {header}"),
        None => "authorization".to_owned(),
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S.into());
    if let Ok(allowed) = allowed.parse() {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response
}

fn told(result: &Result<(), Refusal>) -> Response<Full<Bytes>> {
    let refusal = result.as_ref().err();
    let body = json!({
        "ok": refusal.is_none(),
        "reason": refusal.map(|refusal| &refusal.reason),
        "retry_after": refusal.and_then(|refusal| refusal.retry_after),
    });
    let mut response = Response::new(Full::from(format!("{body}\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
