//! A node with channels of all kinds, an issuer of tokens, and a process with official clients, some of them behind a
//! proxy that can cut.

use sealwire_tests::faults::FaultProxy;
use sealwire_tests::issuer::Issuer;
use sealwire_tests::process::Process;
use sealwire_tests::sdk::{Maker, Sdk};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::{Value, json};

const NAMESPACES: &str = "\
[namespaces.news]\nhistory = 50\n\
[namespaces.room]\npresence = true\njoin_leave = true\n\
[namespaces.price]\nkind = \"value\"\ndelta = true\n\
[namespaces.feed]\ndelta = true\n\
[namespaces.slow]\nhistory = 100000\nrecovery_limit = 100000\nretained_bytes = 100000000\n\
[namespaces.board]\nkind = \"map\"\nhistory = 200\n\
[session]\noutbound_queue_bytes = 131072\n";

pub(super) struct Scene {
    pub(super) sdk: Sdk,
    pub(super) proxy: FaultProxy,
    pub(super) issuer: Issuer,
    pub(super) node: Process,
    _agent: Process,
    _world: World,
}

impl Scene {
    /// `None`: the client is not installed.
    pub(super) async fn open(maker: Maker) -> Option<Self> {
        let world = World::new();
        let issuer = Issuer::start(world.address).await;
        world.configure_agent(&AgentSettings::default());
        let token = format!("[token]\nanonymous = true\njwks = \"{}\"\n", issuer.url("jwks"));
        world.configure_node("node-1", 0, &world.delivery_socket(), &format!("{token}{NAMESPACES}"));
        let (agent, node) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let _fetched = node.line("token keys fetched", PATIENCE);
        let (_, root) = world.roots().await;
        let proxy = FaultProxy::start(world.address, world.node_address()).await;
        let sdk = Sdk::start(maker, &world.url(), &root)?;
        Some(Self { sdk, proxy, issuer, node, _agent: agent, _world: world })
    }

    /// Through the proxy.
    pub(super) fn by_proxy(&self, framing: &str) -> Value {
        let url = format!("wss://{}/connection/websocket", self.proxy.address);
        json!({ "framing": framing, "url": url })
    }

    /// A token of a user who may do everything.
    pub(super) fn token(&self, user: &str, more: &Value, seconds: i64) -> String {
        let all = ["sub", "pub", "hst", "prs"];
        let mut claims = json!({ "sub": user, "caps": [{ "channels": ["*"], "allow": all }] });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.issuer.token(&claims, seconds)
    }

    /// Nothing was said that should not have been.
    pub(super) fn has_been_sound(&self) {
        assert_eq!(self.node.count("panicked"), 0, "{}", self.node.log());
        assert_eq!(
            self.node.count("code=3501"),
            0,
            "the official client is never wrong: {}",
            self.node.log()
        );
    }
}
