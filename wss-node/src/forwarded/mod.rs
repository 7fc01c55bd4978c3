//! Whose request a proxy hands on. What a proxy writes into a header is believed only if the proxy is trusted, and of
//! that only what trusted proxies have written: a client can put anything to the left of it.

mod elements;

use std::net::IpAddr;

use http::header::{AsHeaderName, FORWARDED};
use http::{HeaderMap, HeaderName};

use crate::config::{ForwardedHeader, ProxyConfig};
use elements::{Element, Node};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// A trusted proxy wrote something that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The header.
    pub(crate) header: HeaderName,
}

/// Whose request it is. `hop`: the address it comes from as far as that is certain, that of the socket or of a PROXY
/// header. If that is no trusted proxy it is the client, whatever the headers say.
///
/// Lists are walked from the right over trusted proxies; the first other address is the client. If a proxy hides the
/// one before it (`unknown`, `_hidden`) or all are trusted, it is the last address that was told.
///
/// # Errors
/// [`Unreadable`]: what a trusted proxy wrote is not of the header's grammar.
pub(crate) fn client_address(
    hop: IpAddr,
    headers: &HeaderMap,
    proxy: &ProxyConfig,
) -> Result<IpAddr, Unreadable> {
    let hop = hop.to_canonical();
    if !proxy.trusts(hop) {
        return Ok(hop);
    }
    match proxy.header {
        ForwardedHeader::XForwardedFor => {
            let unreadable = || Unreadable { header: X_FORWARDED_FOR };
            let lines = texts(headers, X_FORWARDED_FOR).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
            let items = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
            let nodes = items.filter(|item| !item.is_empty()).rev().map(elements::forwarded_for);
            walk(hop, nodes, proxy).ok_or_else(unreadable)
        }
        ForwardedHeader::Forwarded => {
            let elements = forwarded(headers).ok_or(Unreadable { header: FORWARDED })?;
            let nodes = elements.into_iter().rev().map(|element| Some(element.source));
            walk(hop, nodes, proxy).ok_or(Unreadable { header: FORWARDED })
        }
        ForwardedHeader::XRealIp => {
            let mut values = texts(headers, X_REAL_IP);
            let address = match (values.next(), values.next()) {
                (None, _) => return Ok(hop),
                (Some(value), None) => value.and_then(|value| value.trim().parse::<IpAddr>().ok()),
                (Some(_), Some(_)) => None,
            };
            address.map(|address| address.to_canonical()).ok_or(Unreadable { header: X_REAL_IP })
        }
    }
}

/// Whether the client came to the proxy over TLS, as the proxy tells: `https` or `wss` in every item of
/// `X-Forwarded-Proto`, or, where `Forwarded` is the header and that is not there, in its last element.
pub(crate) fn came_over_tls(headers: &HeaderMap, proxy: &ProxyConfig) -> bool {
    let is_tls = |proto: &str| ["https", "wss"].iter().any(|tls| proto.trim().eq_ignore_ascii_case(tls));
    if headers.contains_key(X_FORWARDED_PROTO) {
        return texts(headers, X_FORWARDED_PROTO)
            .all(|line| line.is_some_and(|line| line.split(',').all(is_tls)));
    }
    let last = (proxy.header == ForwardedHeader::Forwarded).then(|| forwarded(headers)?.pop()).flatten();
    last.and_then(|element| element.proto).is_some_and(|proto| is_tls(&proto))
}

/// From the nearest to the farthest; `None` if one that counts cannot be read.
fn walk(hop: IpAddr, nodes: impl Iterator<Item = Option<Node>>, proxy: &ProxyConfig) -> Option<IpAddr> {
    let mut known = hop;
    for node in nodes {
        match node? {
            Node::Address(address) => known = address.to_canonical(),
            Node::Hidden => return Some(known),
        }
        if !proxy.trusts(known) {
            break;
        }
    }
    Some(known)
}

/// All elements of all lines, in order. Each line for itself: a quote that a client leaves open in its own line must
/// not swallow that of the proxy.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Element>> {
    let mut all = Vec::new();
    for line in texts(headers, FORWARDED) {
        all.extend(elements::forwarded(line?)?);
    }
    Some(all)
}

/// `None` for a value that is not ASCII.
fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(name).iter().map(|value| value.to_str().ok())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
