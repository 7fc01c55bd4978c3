//! npm's `ws`: a loop over the subscribers, as its documentation shows it.

use std::process::Command;

use anyhow::Result;
use sealwire_tests::tools;

use super::Server;
use crate::fanout::client::Target;
use crate::fanout::tongue::Tongue;
use crate::server::{self, Place, find};

pub(super) async fn start() -> Result<Option<Server>> {
    let (Some(node), modules) = (find("bin/node", "node"), tools::dir().join("js/node_modules")) else {
        return Ok(None);
    };
    if !modules.join("ws").is_dir() {
        return Ok(None);
    }
    let place = Place::new()?;
    let mut command = Command::new(node);
    command.env("NODE_PATH", modules).arg(tools::repository().join("bench/peers/ws.cjs"));
    command.args(place.arguments()?);
    let server = server::Server::start("ws", &mut command, &place.prober).await?;
    let target = Target::new(place.world.node_address(), Tongue::Plain)?;
    Ok(Some(Server::other(place, server, target)))
}
