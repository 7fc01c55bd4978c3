//! The agent's own handshakes with a node's listeners.

use std::time::Duration;

use futures_util::future::try_join_all;
use sealwire_proto::probe::{self, Approach, Seen};
use sealwire_proto::validate::sha256;

use super::NodeInfo;
use super::slot::Saw;
use crate::store::Chain;

/// Limit of one handshake; a node next door needs a few milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Sees what the node presents on every listener for every name: the whole chain must be as wanted, and the
/// staple everywhere the same. Tells the longest handshake.
///
/// # Errors
/// The first handshake that failed or saw something else, in words.
pub async fn prove(node: &NodeInfo, names: &[String], want: &Chain) -> Result<Saw, String> {
    prove_by(node, names, want, false).await
}

/// The same with handshakes that ask for the shadow of a drill.
///
/// # Errors
/// As [`prove`].
pub async fn prove_shadow(node: &NodeInfo, names: &[String], want: &Chain) -> Result<Saw, String> {
    prove_by(node, names, want, true).await
}

async fn prove_by(node: &NodeInfo, names: &[String], want: &Chain, drill: bool) -> Result<Saw, String> {
    if node.listeners.is_empty() {
        return Err("the node named no listener; set delivery.proof = \"node\" to take its word".to_owned());
    }
    let leaf = sha256(want.leaf());
    let pairs = node.listeners.iter().flat_map(|listener| names.iter().map(move |name| (listener, name)));
    let handshakes = pairs.map(|(listener, name)| async move {
        let approach = Approach { drill, proxied: node.proxied.contains(listener) };
        let seen = probe::look(listener, name, HANDSHAKE_TIMEOUT, approach).await;
        let seen = seen.map_err(|error| error.to_string())?;
        if seen.leaf_sha256 != leaf {
            let (seen, want) = (sealwire_proto::hex(&seen.leaf_sha256[..8]), sealwire_proto::hex(&leaf[..8]));
            return Err(format!("a handshake with {listener} for {name} saw leaf {seen}, expected {want}"));
        }
        if !seen.chain.iter().eq(want.iter()) {
            let (seen, want) = (seen.chain.len(), want.iter().count());
            return Err(format!(
                "a handshake with {listener} for {name} saw the leaf in another chain ({seen} certificates, \
                 expected {want} of which one differs)"
            ));
        }
        Ok(seen)
    });
    let seen = try_join_all(handshakes).await?;
    let staple = |seen: &Seen| seen.staple.as_deref().map(sha256);
    let first = seen.first().and_then(staple);
    if seen.iter().any(|one| staple(one) != first) {
        return Err("not every listener and name presents the same staple".to_owned());
    }
    Ok(Saw { leaf, staple: first, took: seen.iter().map(|seen| seen.took).max().unwrap_or_default() })
}
