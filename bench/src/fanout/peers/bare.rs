//! The bare loop, for how near the others come.

use anyhow::Result;
use sealwire_tests::process::own;

use super::Server;
use crate::fanout::client::Target;
use crate::fanout::tongue::Tongue;
use crate::server::{self, Place};

pub(super) async fn start() -> Result<Server> {
    let place = Place::new()?;
    let [_, _, chain, key] = place.arguments()?;
    let address = place.world.node_address();
    let mut command = own("sealwire-bench-bare", ["fanout", &address.to_string(), &chain, &key]);
    let server = server::Server::start("bare", &mut command, &place.prober).await?;
    let target = Target::new(address, Tongue::Plain)?;
    Ok(Server::other(place, server, target))
}
