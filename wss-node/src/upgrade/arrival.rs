//! Whom a request comes from and which host it is for: what a trusted proxy has to say of that.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::head::Head;
use super::refusal::{Outcome, Refusal};
use super::route::Handshake;
use crate::client::Client;
use crate::forwarded::{came_over_tls, client_address};
use crate::host::Authority;
use crate::limits::AcceptPlace;
use crate::service::Node;

/// What a connection counts for; shared, for the request is answered while the connection is served.
pub(crate) type Place<'a> = Mutex<&'a mut AcceptPlace>;

/// Reads the host, and sets the client's address to what a trusted proxy says; the connection counts for that client
/// from here on.
pub(super) fn arrive(
    node: &Node,
    head: &Head<'_>,
    client: &mut Client,
    place: &Place<'_>,
) -> Result<Option<Authority>, Refusal> {
    let proxy = &node.config.proxy;
    let address = client_address(client.address, head.headers, proxy).map_err(|unreadable| {
        let text = "the proxy told the client's address in a way that cannot be read";
        let detail = format!("{text}: header {} of {}", unreadable.header, client.peer.ip());
        Refusal::new(Outcome::ForwardedUnreadable, text).detail(detail)
    })?;
    if address != client.address {
        client.address = address;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        node.limits.told(&mut place, address, Instant::now())?;
    }
    if client.tls.is_none() && !came_over_tls(head.headers, proxy) {
        return Err(Refusal::new(Outcome::TlsRequired, "TLS is required"));
    }
    head.host()
}

/// How far the TLS handshake binds the request.
pub(super) fn handshake<'a>(node: &Node, client: &'a Client) -> Handshake<'a> {
    match &client.tls {
        Some(tls) if client.passed_on || !node.config.proxy.trusts(client.peer.ip()) => {
            Handshake::Client(tls.server_name.as_deref())
        }
        _ => Handshake::Proxy,
    }
}
