//! A node behind its gate, for tests of who is let in.
#![allow(clippy::unwrap_used)]

use crate::asking::{Answer, Asker};
use crate::process::{Process, Ran, own, run};
use crate::session::tls;
use crate::world::{AgentSettings, World};

/// The WebSocket endpoint.
pub const PATH: &str = "/connection/websocket";
/// Whom a test may trust as a proxy.
pub const PROXY: [u8; 4] = [127, 250, 0, 1];
/// Somebody else.
pub const STRANGER: [u8; 4] = [127, 250, 0, 2];

/// An agent and a node that is ready.
#[derive(Debug)]
pub struct Gate {
    /// Where they are.
    pub world: World,
    /// The node.
    pub node: Process,
    /// Somebody who asks for the first of the node's names, from [`STRANGER`].
    pub asker: Asker,
    _agent: Process,
}

impl Gate {
    /// A node that serves some names and is configured with `extra`, where `ADDRESS` is its own address.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn open(names: &[&str], extra: &str) -> Self {
        Self::open_with(names, extra, &[]).await
    }

    /// The same with variables of the environment, for keys of sections that are there already.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn open_with(names: &[&str], extra: &str, environment: &[(&str, &str)]) -> Self {
        let world = World::new();
        let extra = extra.replace("ADDRESS", &world.address.to_string());
        let names: Vec<_> =
            names.iter().map(ToString::to_string).chain([world.address.to_string()]).collect();
        world.configure_agent(&AgentSettings { identifiers: names.clone(), ..AgentSettings::default() });
        let limits =
            if extra.contains("[limits]") { "" } else { "[limits]\naccepts_per_second_per_ip = 0\n" };
        world.configure_node("node-1", 0, &world.delivery_socket(), &format!("{limits}{extra}"));
        let agent = world.start_agent();
        let mut command = world.node_command("node-1");
        command.envs(environment.iter().copied());
        command.env("WSS_NODE_SERVER_NAMES", format!("{names:?}"));
        command.env("WSS_NODE_ADMIN__SOCKET", world.path("run/node.sock"));
        let node = Process::start("node-1", &mut command);
        world.proven().await;
        let (anchors, _) = world.roots().await;
        let asker = Asker {
            address: world.node_address(),
            tls: tls(&anchors).unwrap(),
            server_name: names[0].clone(),
            source: STRANGER.into(),
            preface: String::new(),
        };
        Self { world, node, asker, _agent: agent }
    }

    /// Runs a `wss-node` command that asks the node.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let config = self.world.path("node-1.toml").into_os_string();
        let arguments = arguments.iter().map(Into::into);
        let mut command = own("wss-node", ["--config".into(), config].into_iter().chain(arguments));
        run(command.env("WSS_NODE_ADMIN__SOCKET", self.world.path("run/node.sock")))
    }
}

/// Status, what is said, and some header fields.
///
/// # Panics
/// When they are others.
pub fn check(answer: &Answer, status: u16, body: &str, headers: &[(&str, &str)]) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body), "{answer:?}");
    for (name, value) in headers {
        assert_eq!(answer.header(name), Some(*value), "{name}: {answer:?}");
    }
}
