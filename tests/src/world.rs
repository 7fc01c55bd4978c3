//! One agent and its nodes, with configuration, sockets and addresses of their own, so that tests run side
//! by side: every world has an address in 127.0.0.0/8 to itself, and ports on it never collide.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::dial;
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use sealwire_proto::v1::{CaRootRequest, CertificateStatus, StatusReply, StatusRequest};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::eventually;
use crate::process::{Process, Ran, own, run};

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, an address, and what runs there.
#[derive(Debug)]
pub struct World {
    dir: TempDir,
    /// Nobody else's.
    pub address: Ipv4Addr,
}

/// What differs from one agent to the next.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// TOML of the issuers.
    pub issuers: String,
    /// Identifiers of the certificate "web"; empty: `node.test` and the world's address.
    pub identifiers: Vec<String>,
    /// Lines for the `[[certificate]]`.
    pub certificate: String,
    /// Lines for `[delivery]`.
    pub delivery: String,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            issuers: "[internal.pki]\nleaf_lifetime = \"10m\"\n".to_owned(),
            identifiers: Vec::new(),
            certificate: String::new(),
            delivery: String::new(),
        }
    }
}

impl World {
    /// A new world.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    #[must_use]
    pub fn new() -> Self {
        sealwire_proto::install_crypto_provider();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // Process ids of tests that run at the same time differ in their low bits.
        let pid = std::process::id();
        let address =
            Ipv4Addr::new(127, 16 + (pid % 224) as u8, (pid / 224 % 250) as u8, (next % 250) as u8 + 1);
        let dir = tempfile::Builder::new().prefix("sealwire-").tempdir();
        Self { dir: dir.unwrap_or_else(|error| panic!("no temporary directory: {error}")), address }
    }

    /// A file or directory of this world.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Keeps the directory when the world ends.
    pub fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// Where the node listens.
    #[must_use]
    pub fn node_address(&self) -> SocketAddr {
        (self.address, 8443).into()
    }

    /// The URL of its WebSocket endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("wss://{}/connection/websocket", self.node_address())
    }

    /// Writes a file of this world and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes `agent.toml`.
    pub fn configure_agent(&self, settings: &AgentSettings) {
        let mut identifiers = settings.identifiers.clone();
        if identifiers.is_empty() {
            identifiers = vec!["node.test".to_owned(), self.address.to_string()];
        }
        let dir = self.dir.path().display();
        let text = format!(
            "state_dir = \"{dir}/state\"\n\
             [delivery]\nsocket = \"{dir}/run/delivery.sock\"\n{}\n\
             [admin]\nsocket = \"{dir}/run/admin.sock\"\n\
             [http01]\nlisten = \"{}:5002\"\n\
             {}\n[[certificate]]\nname = \"web\"\nidentifiers = {identifiers:?}\n{}\n",
            settings.delivery, self.address, settings.issuers, settings.certificate
        );
        self.write("agent.toml", &text);
    }

    /// Writes the configuration of node `id`, whose ports are moved by `offset`.
    pub fn configure_node(&self, id: &str, offset: u16, socket: &Path, extra: &str) {
        let address = self.address;
        let mut text = format!("node_id = \"{id}\"\nserver_names = [\"node.test\", \"{address}\"]\n");
        if !extra.contains("[token]") {
            text.push_str("[token]\nanonymous = true\n");
        }
        // All that a test starts comes from one address.
        if !extra.contains("[limits]") {
            text.push_str(
                "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n",
            );
        }
        let _ = write!(
            text,
            "[delivery]\nsocket = \"{}\"\n[listen]\naddress = \"{address}:{}\"\n[admin]\naddress = \"{address}:{}\"\n{extra}\n",
            socket.display(),
            8443 + offset,
            9090 + offset,
        );
        self.write(&format!("{id}.toml"), &text);
    }

    /// The socket that nodes dial.
    #[must_use]
    pub fn delivery_socket(&self) -> PathBuf {
        self.path("run/delivery.sock")
    }

    /// Starts the agent of `agent.toml`.
    #[must_use]
    pub fn start_agent(&self) -> Process {
        Process::start("agent", &mut self.sealwire(["run"]))
    }

    /// Starts node `id`.
    #[must_use]
    pub fn start_node(&self, id: &str) -> Process {
        Process::start(id, &mut self.node_command(id))
    }

    /// The command that runs node `id`.
    #[must_use]
    pub fn node_command(&self, id: &str) -> Command {
        let config = self.path(&format!("{id}.toml"));
        own("wss-node", ["run".into(), "--config".into(), config.into_os_string()])
    }

    /// A `sealwire` command against this world's agent.
    #[must_use]
    pub fn sealwire<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let config = self.path("agent.toml").into_os_string();
        let arguments = arguments.into_iter().map(Into::into);
        own("sealwire", ["--config".into(), config].into_iter().chain(arguments))
    }

    /// Runs a `sealwire` command to its end.
    #[must_use]
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        run(&mut self.sealwire(arguments))
    }

    /// Starts agent and node with default settings and waits until the certificate is proven.
    pub async fn start(&self) -> (Process, Process) {
        self.configure_agent(&AgentSettings::default());
        self.configure_node("node-1", 0, &self.delivery_socket(), "");
        let (agent, node) = (self.start_agent(), self.start_node("node-1"));
        self.proven().await;
        (agent, node)
    }

    /// Talks to the agent, which may be about to start.
    pub async fn admin(&self) -> AdminServiceClient<Channel> {
        let socket = self.path("run/admin.sock");
        let channel = eventually("the admin socket", PATIENCE, || async { dial(&socket).await.ok() }).await;
        AdminServiceClient::new(channel)
    }

    /// The agent's status; `None` while it cannot be asked.
    pub async fn status(&self) -> Option<StatusReply> {
        let channel = dial(&self.path("run/admin.sock")).await.ok()?;
        let parts = AdminServiceClient::new(channel).status(StatusRequest {}).await.ok()?;
        sealwire_proto::whole_status(parts.into_inner()).await.ok()
    }

    /// The status of the certificate "web".
    pub async fn web(&self) -> Option<CertificateStatus> {
        self.status().await?.certificates.into_iter().find(|certificate| certificate.name == "web")
    }

    /// Waits until "web" is in a state, and returns it.
    pub async fn state(&self, state: &str) -> CertificateStatus {
        eventually(&format!("state {state}"), PATIENCE, || async {
            self.web().await.filter(|certificate| certificate.state == state)
        })
        .await
    }

    /// Waits until "web" is proven to be served.
    pub async fn proven(&self) -> CertificateStatus {
        self.state("proven").await
    }

    /// The roots of the internal issuer, and a file with them.
    ///
    /// # Panics
    /// When the agent has none.
    pub async fn roots(&self) -> (Anchors, PathBuf) {
        let request = CaRootRequest { issuer: String::new() };
        let reply = self.admin().await.ca_root(request).await;
        let pem = reply.unwrap_or_else(|status| panic!("no root: {status}")).into_inner().pem;
        let path = self.write("root.pem", &pem);
        let anchors = Anchors::from_pem_file(&path).unwrap_or_else(|error| panic!("{error}"));
        (anchors, path)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
