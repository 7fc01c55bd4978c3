//! The node's own proof: a handshake with its own listener must see the leaf it has just swapped in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sealwire_proto::probe;
use tokio::time::Instant;

use super::CertReader;

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

/// Sees the leaf for each of `names` at `address`, within ten seconds; returns the longest handshake.
///
/// # Errors
/// The last handshake that failed or saw another leaf, in words.
pub(crate) async fn prove(
    address: SocketAddr,
    names: &[String],
    want: [u8; 32],
    reader: &CertReader,
) -> Result<Duration, String> {
    let end = Instant::now() + PATIENCE;
    let address = address.to_string();
    let mut longest = Duration::ZERO;
    for name in names {
        longest = longest.max(loop {
            let error = match probe::handshake(&address, name, HANDSHAKE_TIMEOUT).await {
                Ok(seen) if seen.leaf_sha256 == want => break seen.took,
                Ok(seen) => other_leaf(name, seen.leaf_sha256, reader),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= end {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        });
    }
    Ok(longest)
}

/// Most likely two certificates are for one name, and only one of them can answer.
fn other_leaf(name: &str, seen: [u8; 32], reader: &CertReader) -> String {
    match reader.with_leaf(seen) {
        Some(other) => format!(
            "for {name}, saw the leaf of certificate {} generation {}; let only one certificate be for {name}",
            other.certificate, other.generation
        ),
        None => {
            format!("for {name}, saw leaf {}, which is not of this node", sealwire_proto::hex(&seen[..8]))
        }
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
