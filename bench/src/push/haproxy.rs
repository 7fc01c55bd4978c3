//! HAProxy takes a certificate over its runtime API: a transaction with the PEM, and its commit.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Peer, Pushed};
use crate::prober::Prober;
use crate::server::{Place, Server, find};

/// For an answer of the runtime API.
const LIMIT: Duration = Duration::from_secs(10);
/// More than any answer has.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// A running HAProxy.
pub struct Haproxy {
    socket: PathBuf,
    pem: PathBuf,
    _server: Server,
    // After the server: it holds the directory.
    place: Place,
}

impl Haproxy {
    /// How it is installed.
    pub const INSTALL: &str = "apt-get install haproxy";

    /// Starts it; `None` if it is not installed.
    ///
    /// # Errors
    /// It is installed and does not serve.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = find("bin/haproxy", "haproxy") else { return Ok(None) };
        let place = Place::new()?;
        let first = place.authority.issue()?;
        let pem = place.world.write("site.pem", &(first.chain_pem + &first.key_pem));
        let socket = place.world.path("admin.sock");
        let config = format!(
            "global\n stats socket {} mode 600 level admin\n nbthread 2\n\
             \x20ssl-default-bind-options ssl-min-ver TLSv1.3\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             frontend web\n bind {} ssl crt {}\n http-request return status 200\n",
            socket.display(),
            place.world.node_address(),
            pem.display()
        );
        let config = place.world.write("haproxy.cfg", &config);
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(config);
        let server = Server::start("haproxy", &mut command, &place.prober).await?;
        Ok(Some(Self { socket, pem, _server: server, place }))
    }

    async fn command(&self, command: &str, answer: &str) -> Result<()> {
        let ask = async {
            let mut socket = UnixStream::connect(&self.socket).await?;
            socket.write_all(command.as_bytes()).await?;
            socket.shutdown().await?;
            let mut said = String::new();
            socket.take(MAX_ANSWER_BYTES).read_to_string(&mut said).await?;
            Ok::<_, std::io::Error>(said)
        };
        let said = tokio::time::timeout(LIMIT, ask).await.context("haproxy does not answer")??;
        ensure!(said.contains(answer), "haproxy: {said}");
        Ok(())
    }
}

#[async_trait]
impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy, runtime API"
    }

    fn prober(&self) -> &Prober {
        &self.place.prober
    }

    async fn push(&mut self) -> Result<Pushed> {
        let new = self.place.authority.issue()?;
        let pem = self.pem.display();
        // An empty line ends the payload.
        let set = format!("set ssl cert {pem} <<\n{}{}\n", new.chain_pem, new.key_pem);
        let commit = format!("commit ssl cert {pem}\n");
        let at = Instant::now();
        self.command(&set, "Transaction created").await?;
        self.command(&commit, "Success!").await?;
        Ok(Pushed::at_once(at, new.leaf))
    }
}
