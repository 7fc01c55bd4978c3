//! nginx with one worker.

use std::process::Command;

use anyhow::Result;

use super::{SERVER_CORE, Target};
use crate::cpu;
use crate::server::{Place, Server, find};

pub(super) async fn start() -> Result<Option<Target>> {
    let Some(program) = find("bin/nginx", "nginx") else { return Ok(None) };
    let place = Place::new()?;
    let material = place.authority.issue()?;
    place.world.write("chain.pem", &material.chain_pem);
    place.world.write("key.pem", &material.key_pem);
    let config = format!(
        "daemon off;\npid nginx.pid;\nworker_processes 1;\nevents {{ worker_connections 15000; }}\n\
         http {{\n access_log off;\n client_body_temp_path t1;\n proxy_temp_path t2;\n\
         \x20fastcgi_temp_path t3;\n uwsgi_temp_path t4;\n scgi_temp_path t5;\n\
         \x20server {{\n  listen {} ssl backlog=4096;\n  ssl_protocols TLSv1.3;\n  ssl_certificate chain.pem;\n\
         \x20 ssl_certificate_key key.pem;\n  return 200;\n }}\n}}\n",
        place.world.node_address()
    );
    place.world.write("nginx.conf", &config);
    let mut command = Command::new(program);
    // All paths of the configuration are relative to this.
    command.arg("-p").arg(place.world.path(""));
    command.arg("-e").arg(place.world.path("error.log"));
    command.arg("-c").arg("nginx.conf");
    let server = Server::start("nginx", &mut cpu::pinned(&command, SERVER_CORE), &place.prober).await?;
    Ok(Some(Target::running("nginx, one worker", place, material.leaf, server).await?))
}
