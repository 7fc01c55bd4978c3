//! Our node, the whole of it: limits, handshake, gate with a token, session. Its agent is a process beside it that has
//! nothing to do meanwhile.

use anyhow::{Context, Result};
use sealwire_tests::process::Process;
use sealwire_tests::wire;
use sealwire_tests::world::{AgentSettings, World};

use super::{OURS, SERVER_CORE, Target};
use crate::prober::Prober;
use crate::server::NAME;
use crate::{cpu, token};

/// All clients here are one: the limits are counted, and none is reached. As quiet as the others are.
const CONFIG: &str = "[limits]\nsessions_per_ip = 1000000\nhandshakes_per_ip = 1000000\n\
                      accepts_per_second_per_ip = 1000000\naccepts_burst_per_ip = 1000000\nunauthenticated = 1000000\n\
                      [log]\nlevel = \"warn\"\n";
/// For a burst of ten thousand, and those that have not quite ended.
const LISTEN: &str = "[listen]\nmax_connections = 60000\nhandshake_timeout = \"1m\"\n";

pub(super) async fn start() -> Result<Target> {
    let world = World::new();
    let AgentSettings { issuers, .. } = AgentSettings::default();
    world.configure_agent(&AgentSettings {
        issuers: issuers + "[log]\nlevel = \"warn\"\n",
        identifiers: vec![NAME.to_owned()],
        ..AgentSettings::default()
    });
    let (tokens, token) = token::required(&world)?;
    world.configure_node("node-1", 0, &world.delivery_socket(), &(tokens + CONFIG));
    let config = std::fs::read_to_string(world.path("node-1.toml")).context("node-1.toml")?;
    let names = config.lines().find(|line| line.starts_with("server_names")).context("no server_names")?;
    let config = config.replace(names, &format!("server_names = [\"{NAME}\"]"));
    world.write("node-1.toml", &config.replace("[listen]\n", LISTEN));
    let agent = world.start_agent();
    let node = Process::start("node-1", &mut cpu::pinned(&world.node_command("node-1"), SERVER_CORE));
    let current = world.proven().await.current.context("nothing is current")?;
    let (anchors, _) = world.roots().await;
    Ok(Target {
        name: OURS,
        address: world.node_address(),
        leaf: current.leaf_sha256.try_into().ok().context("not a SHA-256")?,
        negotiated: Prober::new(world.node_address(), NAME, &anchors)?.negotiated().await?,
        upgrade: Some(wire::upgrade(NAME, &format!("Authorization: Bearer {token}\r\n"))),
        pid: node.pid(),
        _kept: Box::new((node, agent, world)),
    })
}
