//! Our node, with a certificate from our agent. What limits a client is off: all clients here are one.

use anyhow::{Context, Result};
use sealwire_tests::world::{AgentSettings, World};

use super::{QUIET, Running, Server};
use crate::fanout::client::Target;
use crate::fanout::tongue::Tongue;

const LIMITS: &str = "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n\
                      unauthenticated = 0\nmessages_per_second = 0\n[log]\nlevel = \"warn\"\n";

pub(super) async fn start(namespaces: &str) -> Result<Server> {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let config = format!("{LIMITS}[session]\nping_interval = \"{QUIET}\"\n{namespaces}");
    world.configure_node("node-1", 0, &world.delivery_socket(), &config);
    let text = std::fs::read_to_string(world.path("node-1.toml")).context("node-1.toml")?;
    world.write("node-1.toml", &text.replace("[listen]\n", "[listen]\nmax_connections = 60000\n"));
    let (agent, node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let target = Target::new(world.node_address(), Tongue::Centrifuge)?;
    Ok(Server { target, running: Running::Ours { node, _agent: agent }, _world: world })
}
