//! The node's own proof: a handshake with its own listener must see leaf, chain and staple that it has just swapped in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use sealwire_proto::probe::Approach;
use sealwire_proto::validate::sha256;
use sealwire_proto::{hex, probe};
use tokio::time::Instant;

use super::CertReader;
use super::served::{Served, seconds};

/// The listener may be a moment away from accepting, on the first certificate.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two handshakes until then.
const AGAIN: Duration = Duration::from_millis(20);
/// Limit of one handshake with ourselves.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a handshake on this machine reaches the listener: a wildcard address is not one to dial.
pub(crate) fn dialable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// Where and how handshakes reach the node's own listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnListener {
    /// One that can be dialled.
    pub(crate) address: SocketAddr,
    /// It wants a PROXY header first.
    pub(crate) proxied: bool,
}

/// What handshakes saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proven {
    /// The longest of them.
    pub(crate) took: Duration,
    /// SHA-256 of the staple.
    pub(crate) staple: Option<[u8; 32]>,
}

/// Sees leaf, chain and staple of `want` for each of `names` at `listener`, within ten seconds.
///
/// # Errors
/// The last handshake that failed or saw something else, in words.
pub(crate) async fn served(
    listener: OwnListener,
    names: &[String],
    want: &Served,
    reader: &CertReader,
) -> Result<Proven, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match once(listener, names, want, reader).await {
            Ok(proven) => return Ok(proven),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// The same with one handshake for each name.
pub(crate) async fn once(
    listener: OwnListener,
    names: &[String],
    want: &Served,
    reader: &CertReader,
) -> Result<Proven, String> {
    look(listener, names, want, Some(reader)).await
}

/// Sees the shadow of a drill for each of `names`.
///
/// # Errors
/// As above.
pub(crate) async fn shadow(listener: OwnListener, names: &[String], want: &Served) -> Result<Proven, String> {
    look(listener, names, want, None).await
}

/// One handshake for each name: an ordinary one, or a drill's without a `reader`.
async fn look(
    listener: OwnListener,
    names: &[String],
    want: &Served,
    reader: Option<&CertReader>,
) -> Result<Proven, String> {
    let OwnListener { address, proxied } = listener;
    let (address, approach) = (address.to_string(), Approach { drill: reader.is_none(), proxied });
    let mut proven = Proven { took: Duration::ZERO, staple: None };
    for name in names {
        let seen = probe::look(&address, name, HANDSHAKE_TIMEOUT, approach).await;
        let seen = seen.map_err(|error| error.to_string())?;
        if seen.leaf_sha256 != want.leaf.sha256 {
            return Err(other_leaf(name, seen.leaf_sha256, reader));
        }
        if seen.chain_sha256 != want.chain_sha256 {
            return Err(format!(
                "for {name}, saw the leaf under another chain of {} certificates",
                seen.chain.len()
            ));
        }
        let staple = seen.staple.as_deref().map(sha256);
        let expected = want.staple_sha256(seconds(UnixTime::now()));
        if staple != expected {
            let told =
                |staple: Option<[u8; 32]>| staple.map_or("none".to_owned(), |sha256| hex(&sha256[..8]));
            return Err(format!("for {name}, saw staple {}, expected {}", told(staple), told(expected)));
        }
        proven = Proven { took: proven.took.max(seen.took), staple };
    }
    Ok(proven)
}

/// Most likely two certificates are for one name, and only one of them can answer.
fn other_leaf(name: &str, seen: [u8; 32], reader: Option<&CertReader>) -> String {
    match reader.and_then(|reader| reader.with_leaf(seen)) {
        Some(other) => format!(
            "for {name}, saw the leaf of certificate {} generation {}; let only one certificate be for {name}",
            other.certificate, other.generation
        ),
        None => format!("for {name}, saw leaf {}, which is not of this node", hex(&seen[..8])),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_addresses_are_dialled_on_loopback() {
        let dial = |text: &str| dialable(text.parse().unwrap()).to_string();
        assert_eq!(dial("0.0.0.0:8443"), "127.0.0.1:8443");
        assert_eq!(dial("[::]:1"), "[::1]:1");
        assert_eq!(dial("10.0.0.1:1"), "10.0.0.1:1");
    }
}
