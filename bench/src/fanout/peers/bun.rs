//! Bun brings uWebSockets, the fastest of the C++ servers by its own account, with topics of its own.

use std::process::Command;

use anyhow::Result;
use sealwire_tests::tools;

use super::Server;
use crate::fanout::client::Target;
use crate::fanout::tongue::Tongue;
use crate::server::{self, Place, find};

pub(super) const INSTALL: &str = "npm install --prefix target/tools/bun bun@1.4.5";

pub(super) async fn start() -> Result<Option<Server>> {
    let Some(bun) = find("bun/node_modules/.bin/bun", "bun") else { return Ok(None) };
    let place = Place::new()?;
    let mut command = Command::new(bun);
    command.arg("run").arg(tools::repository().join("bench/peers/bun.js")).args(place.arguments()?);
    let server = server::Server::start("bun", &mut command, &place.prober).await?;
    let target = Target::new(place.world.node_address(), Tongue::Plain)?;
    Ok(Some(Server::other(place, server, target)))
}
