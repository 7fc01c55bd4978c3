//! Node.js: `https` with `ws`, as its documentation shows them together.

use std::process::Command;

use anyhow::Result;
use sealwire_tests::wire;

use super::{SERVER_CORE, Target, node_modules};
use crate::cpu;
use crate::server::{NAME, Place, Server, find};

/// How it is installed.
pub(super) const INSTALL: &str = "apt-get install nodejs npm; tests/tools/install";

const SERVER: &str = "\
const [host, port] = process.argv.slice(2);
const { readFileSync } = require('node:fs');
const { WebSocketServer } = require('ws');
const options = { cert: readFileSync('chain.pem'), key: readFileSync('key.pem'), minVersion: 'TLSv1.3' };
const server = require('node:https').createServer(options, (request, response) => response.end());
new WebSocketServer({ server }).on('connection', (socket) => socket.on('error', () => {}));
server.listen({ host, port, backlog: 4096 });
";

pub(super) async fn start() -> Result<Option<Target>> {
    let (Some(program), Some(modules)) = (find("bin/node", "node"), node_modules()) else { return Ok(None) };
    let place = Place::new()?;
    let material = place.authority.issue()?;
    place.world.write("chain.pem", &material.chain_pem);
    place.world.write("key.pem", &material.key_pem);
    let script = place.world.write("server.cjs", SERVER);
    let address = place.world.node_address();
    let mut command = Command::new(program);
    command.arg(script).arg(address.ip().to_string()).arg(address.port().to_string());
    command.env("NODE_PATH", modules);
    let mut command = cpu::pinned(&command, SERVER_CORE);
    command.current_dir(place.world.path(""));
    let server = Server::start("node", &mut command, &place.prober).await?;
    let mut target = Target::running("Node.js https + ws", place, material.leaf, server).await?;
    target.upgrade = Some(wire::upgrade(NAME, ""));
    Ok(Some(target))
}
