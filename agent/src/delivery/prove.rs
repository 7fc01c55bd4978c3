//! The agent's own handshakes with a node's listeners.

use std::time::Duration;

use futures_util::future::try_join_all;
use sealwire_proto::probe;

use super::NodeInfo;

/// Limit of one handshake; a node next door needs a few milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Sees what the node presents on every listener for every name, and returns the leaf (SHA-256) and the
/// longest handshake if all saw the same.
///
/// # Errors
/// The first handshake that failed or saw another leaf, in words.
pub async fn prove(
    node: &NodeInfo,
    names: &[String],
    want: [u8; 32],
) -> Result<([u8; 32], Duration), String> {
    if node.listeners.is_empty() {
        return Err("the node named no listener; set delivery.proof = \"node\" to take its word".to_owned());
    }
    let pairs = node.listeners.iter().flat_map(|listener| names.iter().map(move |name| (listener, name)));
    let handshakes = pairs.map(|(listener, name)| async move {
        let seen =
            probe::handshake(listener, name, HANDSHAKE_TIMEOUT).await.map_err(|error| error.to_string())?;
        if seen.leaf_sha256 == want {
            return Ok(seen.took);
        }
        let (seen, want) = (sealwire_proto::hex(&seen.leaf_sha256[..8]), sealwire_proto::hex(&want[..8]));
        Err(format!("a handshake with {listener} for {name} saw leaf {seen}, expected {want}"))
    });
    let took = try_join_all(handshakes).await?;
    Ok((want, took.into_iter().max().unwrap_or_default()))
}
