//! nats-server's own WebSocket listener: core NATS, which keeps nothing.

use std::process::Command;

use anyhow::Result;

use super::{QUIET, Server};
use crate::fanout::client::Target;
use crate::fanout::tongue::Tongue;
use crate::server::{self, Place, find};

pub(super) async fn start() -> Result<Option<Server>> {
    let Some(program) = find("bin/nats-server", "nats-server") else { return Ok(None) };
    let place = Place::new()?;
    let [address, port, chain, key] = place.arguments()?;
    let tls = format!("tls {{ cert_file: \"{chain}\", key_file: \"{key}\", min_version: \"1.3\" }}");
    let config = format!(
        "listen: \"{address}:4222\"\nping_interval: \"{QUIET}\"\n\
         websocket {{ listen: \"{address}:{port}\", compression: false, {tls} }}\n"
    );
    let config = place.world.write("nats.conf", &config);
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let server = server::Server::start("nats-server", &mut command, &place.prober).await?;
    let target = Target::new(place.world.node_address(), Tongue::Nats)?;
    Ok(Some(Server::other(place, server, target)))
}
