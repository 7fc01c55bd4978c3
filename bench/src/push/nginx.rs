//! nginx reads its files anew when it is told to reload.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use tokio::process::Command;

use super::{Peer, Pushed};
use crate::prober::Prober;
use crate::server::{Place, Server, find, replace};

/// A running nginx.
pub struct Nginx {
    program: PathBuf,
    _server: Server,
    // After the server: it holds the directory.
    place: Place,
}

impl Nginx {
    /// How it is installed.
    pub const INSTALL: &str = "apt-get install nginx";

    /// Starts it; `None` if it is not installed.
    ///
    /// # Errors
    /// It is installed and does not serve.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = find("bin/nginx", "nginx") else { return Ok(None) };
        let place = Place::new()?;
        let first = place.authority.issue()?;
        place.world.write("chain.pem", &first.chain_pem);
        place.world.write("key.pem", &first.key_pem);
        let config = format!(
            "daemon off;\npid nginx.pid;\nworker_processes 2;\nevents {{ worker_connections 1024; }}\n\
             http {{\n access_log off;\n client_body_temp_path t1;\n proxy_temp_path t2;\n\
             \x20fastcgi_temp_path t3;\n uwsgi_temp_path t4;\n scgi_temp_path t5;\n\
             \x20server {{\n  listen {} ssl;\n  ssl_protocols TLSv1.3;\n  ssl_certificate chain.pem;\n\
             \x20 ssl_certificate_key key.pem;\n  return 200;\n }}\n}}\n",
            place.world.node_address()
        );
        place.world.write("nginx.conf", &config);
        let mut command = command(&program, &place);
        let server = Server::start("nginx", command.as_std_mut(), &place.prober).await?;
        Ok(Some(Self { program, _server: server, place }))
    }
}

fn command(program: &PathBuf, place: &Place) -> Command {
    let mut command = Command::new(program);
    // All paths of the configuration are relative to this.
    command.arg("-p").arg(place.world.path(""));
    command.arg("-e").arg(place.world.path("error.log"));
    command.arg("-c").arg("nginx.conf");
    command
}

#[async_trait]
impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx, reload"
    }

    fn prober(&self) -> &Prober {
        &self.place.prober
    }

    async fn push(&mut self) -> Result<Pushed> {
        let new = self.place.authority.issue()?;
        let at = Instant::now();
        // A reload that comes between the two fails and changes nothing: there is none.
        replace(&self.place.world.path("key.pem"), &new.key_pem).await?;
        replace(&self.place.world.path("chain.pem"), &new.chain_pem).await?;
        let mut reload = command(&self.program, &self.place);
        let ran = reload.args(["-s", "reload"]).output().await.context("nginx -s reload")?;
        ensure!(ran.status.success(), "nginx -s reload: {}", String::from_utf8_lossy(&ran.stderr));
        Ok(Pushed::at_once(at, new.leaf))
    }
}
