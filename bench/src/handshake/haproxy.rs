//! HAProxy with one thread.

use std::process::Command;

use anyhow::Result;

use super::{SERVER_CORE, Target};
use crate::cpu;
use crate::server::{Place, Server, find};

pub(super) async fn start() -> Result<Option<Target>> {
    let Some(program) = find("bin/haproxy", "haproxy") else { return Ok(None) };
    let place = Place::new()?;
    let material = place.authority.issue()?;
    let pem = place.world.write("site.pem", &(material.chain_pem + &material.key_pem));
    // By its own arithmetic a connection takes two descriptors; without a backend it takes one.
    let config = format!(
        "global\n nbthread 1\n no strict-limits\n maxconn 15000\n ssl-default-bind-options ssl-min-ver TLSv1.3\n\
         defaults\n mode http\n maxconn 15000\n backlog 4096\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         frontend web\n bind {} ssl crt {}\n http-request return status 200\n",
        place.world.node_address(),
        pem.display()
    );
    let config = place.world.write("haproxy.cfg", &config);
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(config);
    let server = Server::start("haproxy", &mut cpu::pinned(&command, SERVER_CORE), &place.prober).await?;
    Ok(Some(Target::running("HAProxy, one thread", place, material.leaf, server).await?))
}
