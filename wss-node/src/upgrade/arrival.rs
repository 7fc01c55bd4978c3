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

/// What is known of a request before its path is looked at.
#[derive(Debug)]
pub(super) struct Arrival {
    /// `None`: it says none.
    pub(super) host: Option<Authority>,
    /// The name that the TLS handshake was for, or the address, of which handshakes say nothing; `None`: the handshake was
    /// made by a trusted proxy.
    handshake: Option<String>,
}

impl Arrival {
    /// The host, as far as it tells tenants apart.
    pub(super) fn name(&self) -> Option<&str> {
        self.host.as_ref().map(Authority::name)
    }

    /// How far the TLS handshake binds the request.
    pub(super) fn handshake(&self) -> Handshake<'_> {
        self.handshake.as_deref().map_or(Handshake::Proxy, Handshake::Client)
    }
}

/// Reads the host, and sets the client's address to what a trusted proxy says; the connection counts for that client
/// from here on.
pub(super) fn arrive(
    node: &Node,
    head: &Head<'_>,
    client: &mut Client,
    place: &Place<'_>,
) -> Result<Arrival, Refusal> {
    let proxy = &node.config.proxy;
    // Behind a PROXY header the handshake is the client's own, though the socket is the proxy's.
    let by_client = client.tls.as_ref().filter(|_| !proxy.trusts(client.address));
    let handshake = by_client.map(|tls| match &tls.server_name {
        Some(name) => name.to_ascii_lowercase(),
        None => client.local.ip().to_canonical().to_string(),
    });
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
    Ok(Arrival { host: head.host()?, handshake })
}
