//! A seed for agents that must not wait.

use std::os::unix::fs::DirBuilderExt;

use sealwire_agent::lifecycle::backoff::fraction;
use sealwire_proto::validate::sha256;
use sealwire_tests::world::World;

/// Gives the agent a seed by which it asks for renewal information within a second of a new generation, the first
/// or the second, of "web".
pub(crate) fn ask_at_once(world: &World) {
    let mut name = [0; 8];
    name.copy_from_slice(&sha256(b"web")[..8]);
    let name = u64::from_le_bytes(name);
    let soon = |seed: u64, generation: u64| fraction(seed ^ name, !generation) * 600.0 < 1.0;
    let seed = (0..).find(|&seed| soon(seed, 1) && soon(seed, 2)).unwrap();
    std::fs::DirBuilder::new().mode(0o700).create(world.path("state")).unwrap();
    world.write("state/agent.json", &format!("{{\"seed\": {seed}}}"));
}
