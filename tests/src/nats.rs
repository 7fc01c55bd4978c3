//! Real `nats-server` processes with JetStream, one or a cluster of three, on the address of a world.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::process::Process;
use crate::world::World;
use crate::{eventually, tools};

const PATIENCE: Duration = Duration::from_secs(60);

/// Servers, numbered from 0.
#[derive(Debug)]
pub struct Nats {
    /// A killed one is `None` until it is started again.
    pub servers: Vec<Option<Process>>,
    program: PathBuf,
    configs: Vec<PathBuf>,
    urls: Vec<String>,
}

impl Nats {
    /// Starts so many; `lines` go into the configuration of each. `None` if it is not installed (never in CI).
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start(world: &World, count: u16, lines: &str) -> Option<Self> {
        let program = tools::find("bin/nats-server")?;
        let address = world.address;
        let routes: Vec<_> = (0..count).map(|n| format!("nats-route://{address}:{}", 6222 + n)).collect();
        let mut configs = Vec::new();
        for n in 0..count {
            let store = world.path(&format!("nats{n}"));
            let mut text = format!(
                "server_name: s{n}\nlisten: \"{address}:{}\"\nhttp: \"{address}:{}\"\n{lines}\n",
                4222 + n,
                8222 + n
            );
            if !lines.contains("jetstream") {
                text += &format!("jetstream {{ store_dir: \"{}\" }}\n", store.display());
            }
            if count > 1 {
                text += &format!(
                    "cluster {{ name: sw, listen: \"{address}:{}\", routes: [{}] }}\n",
                    6222 + n,
                    routes.iter().map(|route| format!("\"{route}\"")).collect::<Vec<_>>().join(", ")
                );
            }
            configs.push(world.write(&format!("nats{n}.conf"), &text));
        }
        let urls = (0..count).map(|n| format!("nats://{address}:{}", 4222 + n)).collect();
        let servers = (0..count).map(|_| None).collect();
        let mut nats = Self { servers, program, configs, urls };
        for n in 0..usize::from(count) {
            nats.run(n);
        }
        for n in 0..count {
            eventually("a NATS server listens", PATIENCE, || async {
                TcpStream::connect((address, 4222 + n)).await.ok()
            })
            .await;
        }
        Some(nats)
    }

    /// Starts one, with what is in its directory.
    pub fn run(&mut self, n: usize) {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.configs[n]);
        self.servers[n] = Some(Process::start(&format!("nats{n}"), &mut command));
    }

    /// Kills one with SIGKILL.
    pub fn kill(&mut self, n: usize) {
        self.servers[n] = None;
    }

    /// Where clients connect.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.urls.clone()
    }
}
