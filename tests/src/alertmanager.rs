//! Debian's Alertmanager, as a process of a world.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Process;
use crate::world::World;
use crate::{eventually, tools};

/// A running Alertmanager without a cluster.
#[derive(Debug)]
pub struct Alertmanager {
    /// Its API and its pages.
    pub address: SocketAddr,
    /// Its log.
    pub server: Process,
}

impl Alertmanager {
    /// Where the Alertmanager of a world listens, running or not.
    #[must_use]
    pub fn address(world: &World) -> SocketAddr {
        // Not 9093: the package may have started one there, on all addresses.
        (world.address, 19093).into()
    }

    /// Starts it. `None` if it is not installed (never in CI).
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(world: &World) -> Option<Self> {
        let program = tools::find("prometheus-alertmanager")?;
        let config = world.write(
            "alertmanager.yml",
            "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\nglobal: { resolve_timeout: 5m }\n",
        );
        let address = Self::address(world);
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", world.path("alertmanager").display()));
        command.args([&format!("--web.listen-address={address}"), "--cluster.listen-address="]);
        let server = Process::start("alertmanager", &mut command);
        let one = Self { address, server };
        eventually("Alertmanager", Duration::from_secs(30), || async { one.alerts().await }).await;
        Some(one)
    }

    /// The alerts that it has now; those that are over are not among them. `None` while it cannot be asked.
    pub async fn alerts(&self) -> Option<Vec<Value>> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request = "GET /api/v2/alerts HTTP/1.0\r\nHost: am\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200")?;
        serde_json::from_str(body).ok()
    }
}
