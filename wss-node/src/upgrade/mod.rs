//! From an HTTP request to a WebSocket: which requests are let through, and what the others are told.
//!
//! `arrival -> route -> handshake -> origin -> subprotocol -> token -> limits`: each a file that decides one thing; only
//! the token may have to ask somebody else.

mod arrival;
pub(crate) mod check;
mod close;
mod cookie;
mod handshake;
mod head;
pub(crate) mod health;
mod origin;
mod refusal;
mod room;
mod route;
mod subprotocol;
mod token;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

pub(crate) use arrival::Place;
use bytes::Bytes;
pub(crate) use close::{Goodbye, say as say_goodbye};
use head::Head;
use http::{Request, Response};
use http_body_util::Full;
pub(crate) use refusal::Outcome;
use refusal::Refusal;
use room::Room;

use crate::audit::Entry;
use crate::auth::Grant;
use crate::client::Client;
use crate::counters::Counters;
use crate::host::Authority;
use crate::limits::SessionPlace;
use crate::service::Node;
use crate::tenant::Tenant;
use crate::wire::Framing;

/// What of a path is told to others.
const MAX_PATH_CHARS: usize = 200;

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) client: Client,
    /// Whose rules it is under.
    pub(crate) tenant: Arc<Tenant>,
    /// What its token grants; `None`: none came with the upgrade.
    pub(crate) grant: Option<Grant>,
    /// How its messages are written.
    pub(crate) framing: Framing,
    /// What it counts for.
    pub(crate) place: SessionPlace,
}

/// What an upgraded connection is for.
#[derive(Debug)]
pub(crate) enum Upgraded {
    Session(Box<Admission>),
    /// It is closed at once.
    Close(Goodbye),
}

/// Answers one request; with an [`Upgraded`] it is a 101, and the connection a WebSocket from here on.
pub(crate) async fn answer<B>(
    node: &Node,
    request: &Request<B>,
    mut client: Client,
    place: &Place<'_>,
) -> (Response<Full<Bytes>>, Option<Upgraded>) {
    let head = Head::of(request);
    if let Some(response) = health::answer(&head, || node.readiness.obstacle().is_none()) {
        return (response, None);
    }
    let room = Room::of(node, place.lock().unwrap_or_else(PoisonError::into_inner).proof_only);
    if head.uri.path() == check::PATH {
        return (check::answer(node, &head, client, place, room).await, None);
    }
    let routed = arrival::arrive(node, &head, &mut client, place).and_then(|arrival| {
        let path = head.uri.path();
        let tenant = route::route(&node.tenants, arrival.name(), arrival.handshake(), path)?;
        Ok((arrival, Arc::clone(tenant)))
    });
    let (arrival, tenant) = match routed {
        Ok(routed) => routed,
        Err(refusal) => {
            node.counters.upgrade(refusal.outcome);
            node.refused(&refusal, &client, None, &head);
            return (refusal.response(), None);
        }
    };
    let passed = match before_token(&head, &tenant, arrival.host.as_ref(), room) {
        Ok(passed) => admit(node, &head, &tenant, client.address).await.map(|admitted| (passed, admitted)),
        Err(refusal) => Err(refusal),
    };
    match passed {
        Ok((passed, (grant, place))) => {
            node.counters.upgrade(Outcome::Accepted);
            let name = node.config.proxy.sticky_cookie.as_ref();
            let cookie = name.and_then(|name| cookie::sticky(name, &node.config.node_id));
            let response = handshake::switching(&passed.key, passed.subprotocol, cookie);
            let framing = passed.subprotocol.and_then(Framing::of_subprotocol).unwrap_or(Framing::Json);
            let admission = Admission { client, tenant, grant, framing, place };
            (response, Some(Upgraded::Session(Box::new(admission))))
        }
        Err(refusal) => {
            node.counters.upgrade(refusal.outcome);
            if refusal.outcome == Outcome::Halted {
                Counters::add(&node.counters.upgrades_refused);
            }
            node.refused(&refusal, &client, Some(&tenant), &head);
            match close::instead(&refusal, &tenant.gate, &head) {
                Some((response, goodbye)) => (response, Some(Upgraded::Close(goodbye))),
                None => (refusal.response(), None),
            }
        }
    }
}

/// What the 101 must say.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    key: String,
    subprotocol: Option<&'static str>,
}

/// All that needs nobody else to decide.
fn before_token(
    head: &Head<'_>,
    tenant: &Tenant,
    host: Option<&Authority>,
    room: Room,
) -> Result<Passed, Refusal> {
    handshake::check_line(head)?;
    room.check()?;
    let key = handshake::accept_key(head)?;
    origin::check(head.headers, &tenant.gate, host)?;
    let subprotocol = subprotocol::choose(head.headers, tenant.gate.require_subprotocol)?;
    Ok(Passed { key, subprotocol })
}

/// Who the client is, and a place for its session.
async fn admit(
    node: &Node,
    head: &Head<'_>,
    tenant: &Tenant,
    address: IpAddr,
) -> Result<(Option<Grant>, SessionPlace), Refusal> {
    let grant = token::grant(node, head, tenant).await?;
    match node.limits.session(address, tenant) {
        Ok(place) => Ok((grant, place)),
        Err(fault) => {
            let user = grant.map(|grant| grant.user).filter(|user| !user.is_empty());
            Err(Refusal { user, ..fault.into() })
        }
    }
}

impl Node {
    /// Tells that a request was refused: without its query, which may hold a token.
    fn refused(&self, refusal: &Refusal, client: &Client, tenant: Option<&Arc<Tenant>>, head: &Head<'_>) {
        let path: String = head.uri.path().chars().take(MAX_PATH_CHARS).collect();
        let entry = Entry {
            what: refusal.outcome.as_str(),
            address: Some(client.address),
            session: None,
            user: refusal.user.clone(),
            tenant: tenant.and_then(|tenant| tenant.name.clone()),
            detail: format!("{} {path}: {}", head.method, refusal.detail),
        };
        self.audit.record_from(&entry, client.peer);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
