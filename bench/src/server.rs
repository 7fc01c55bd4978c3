//! A server of other people: found or named as missing, started in a directory and on an address of its own, and
//! ended in good order, since some leave workers behind when they are killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sealwire_proto::anchors::Anchors;
use sealwire_tests::process::Process;
use sealwire_tests::tools;
use sealwire_tests::world::World;

use crate::material::Authority;
use crate::prober::Prober;

/// The name that every server has a certificate for.
pub const NAME: &str = "node.test";

/// For a server to serve, and for one to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program, among the tools or where programs are; nginx lies where only root's path leads.
pub(crate) fn find(tool: &str, program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let named = places.map(|dir| dir.join(program));
    std::iter::once(tools::dir().join(tool)).chain(named).find(|file| file.is_file())
}

/// A place for a server, and a CA of its own.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) authority: Authority,
    pub(crate) prober: Prober,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let world = World::new();
        let authority = Authority::new()?;
        let anchors = Anchors::from_pem_file(&world.write("root.pem", &authority.root_pem()))?;
        let prober = Prober::new(world.node_address(), NAME, &anchors)?;
        Ok(Self { world, authority, prober })
    }

    /// A certificate, and what a program is told of where it is to serve it: address, port, chain and key.
    pub(crate) fn arguments(&self) -> Result<[String; 4]> {
        let first = self.authority.issue()?;
        let [chain, key] = [("chain.pem", &first.chain_pem), ("key.pem", &first.key_pem)]
            .map(|(name, text)| self.world.write(name, text).display().to_string());
        let address = self.world.node_address();
        Ok([address.ip().to_string(), address.port().to_string(), chain, key])
    }
}

/// A running server.
pub(crate) struct Server {
    process: Process,
}

impl Server {
    /// Starts it and waits for a handshake.
    pub(crate) async fn start(name: &str, command: &mut Command, prober: &Prober) -> Result<Self> {
        let mut server = Self { process: Process::start(name, command) };
        let end = Instant::now() + PATIENCE;
        loop {
            let error = match prober.handshake().await.leaf {
                Ok(_) => return Ok(server),
                Err(error) => error,
            };
            if !server.process.is_running() || Instant::now() > end {
                bail!("{name} does not serve ({error}):\n{}", server.process.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Server {
    /// Its process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.terminate();
        let end = Instant::now() + PATIENCE;
        // Past that, dropping the process kills it.
        while self.process.is_running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Replaces a file by one rename, as a deploy hook would.
pub(crate) async fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    tokio::fs::write(&new, text).await.with_context(|| new.display().to_string())?;
    tokio::fs::rename(&new, path).await.with_context(|| path.display().to_string())
}
