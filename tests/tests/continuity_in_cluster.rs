//! What subscribers see on two nodes behind HAProxy, with three NATS servers that share the channels, while nodes are
//! killed and drained, servers are lost, and all of them restart: the judge finds no gap, no repeat, no other order, no
//! loss. One of the readers is the official client. `SEALWIRE_SECONDS` makes the run longer.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use sealwire_tests::client::Settings;
use sealwire_tests::continuity::{Trial, told_by_sdk};
use sealwire_tests::faults::{End, FaultProxy};
use sealwire_tests::nats::Nats;
use sealwire_tests::process::Process;
use sealwire_tests::sdk::{Maker, Sdk};
use sealwire_tests::session::tls;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, haproxy, wire};
use serde_json::json;
use wss_node::wire::Framing;

const PAUSE: Duration = Duration::from_millis(10);

struct Cluster {
    world: World,
    nats: Nats,
    nodes: Vec<Process>,
    tls: Arc<ClientConfig>,
    _agent: Process,
    _haproxy: Process,
    public: std::net::SocketAddr,
    root: std::path::PathBuf,
}

impl Cluster {
    /// `None`: something is not installed.
    async fn start() -> Option<Self> {
        let world = World::new();
        let nats = Nats::start(&world, 3, "").await?;
        world.configure_agent(&AgentSettings::default());
        let extra = format!(
            "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n\
             messages_per_second = 100000\nmessages_burst = 100000\n\
             [drain]\nwindow = \"500ms\"\ntimeout = \"1s\"\n\
             [broker.nats]\nservers = {:?}\npartitions = 2\nreplicas = 3\nhistory = 100000\n\
             [namespaces.default]\ndurability = \"cluster\"\nhistory = 100000\nrecovery_limit = 100000\n\
             retained_bytes = 100000000\n",
            nats.urls()
        );
        for (id, offset) in [("node-1", 0), ("node-2", 1)] {
            world.configure_node(id, offset, &world.delivery_socket(), &extra);
        }
        let agent = world.start_agent();
        let nodes = vec![world.start_node("node-1"), world.start_node("node-2")];
        world.proven().await;
        let (haproxy, public) = haproxy::start(&world, &[0, 1])?;
        let (anchors, root) = world.roots().await;
        let tls = tls(&anchors).unwrap();
        let cluster = Self { world, nats, nodes, tls, _agent: agent, _haproxy: haproxy, public, root };
        for number in 0..2 {
            cluster.ready(number).await;
        }
        Some(cluster)
    }

    /// Waits for a node, which waits for its servers.
    async fn ready(&self, number: u16) {
        let admin = (self.world.address, 9090 + number).into();
        eventually("a node is ready", PATIENCE, || async {
            (wire::admin(admin, "/readyz").await.ok()?.0 == 200).then_some(())
        })
        .await;
    }

    fn client(&self, framing: Framing, seed: u64) -> Settings {
        Settings {
            seed,
            // A publication may wait for a new leader of its stream.
            timeout: Duration::from_secs(15),
            ..Settings::new(self.public, &self.tls, framing)
        }
    }

    async fn again(&mut self, number: u16) {
        self.nodes[usize::from(number)] = self.world.start_node(&format!("node-{}", number + 1));
        self.ready(number).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_and_three_servers_fail_in_turn() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let url = format!("wss://{}/connection/websocket", cluster.public);
    let Some(mut sdk) = Sdk::start(Maker::JavaScript, &url, &cluster.root) else { return };
    let proxy = FaultProxy::start(cluster.world.address, cluster.public).await;
    let mut trial = Trial::new("orders", true);
    for (name, framing) in [("ann", Framing::Json), ("bob", Framing::Protobuf), ("eve", Framing::Json)] {
        trial.publisher(name, cluster.client(framing, 1), PAUSE);
    }
    for (name, framing) in [("json", Framing::Json), ("protobuf", Framing::Protobuf), ("cut", Framing::Json)]
    {
        let mut settings = cluster.client(framing, 2);
        if name == "cut" {
            settings.addresses = vec![proxy.address];
        }
        trial.reader(name, settings);
    }
    sdk.connect("official", json!({}));
    sdk.subscribe("official", trial.channel(), "stream", &json!({ "recoverable": true }));
    trial.progress(5).await;

    let seconds = std::env::var("SEALWIRE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let (end, mut round) = (Instant::now() + Duration::from_secs(seconds.unwrap_or(0)), 0_usize);
    loop {
        let server = round % 3;
        let (first, second) = if round.is_multiple_of(2) { (0, 1) } else { (1, 0) };
        eprintln!("round {round}: server {server} is lost");
        cluster.nats.kill(server);
        trial.progress(3).await;
        eprintln!("node {first} is killed, and cuts");
        cluster.nodes[usize::from(first)].kill();
        proxy.end(End::Reset);
        trial.progress(3).await;
        cluster.again(first).await;
        cluster.nats.run(server);
        eprintln!("node {second} is drained");
        cluster.nodes[usize::from(second)].terminate();
        assert!(cluster.nodes[usize::from(second)].ended(PATIENCE).success());
        trial.progress(3).await;
        cluster.again(second).await;
        eprintln!("all servers restart");
        (0..3).for_each(|server| cluster.nats.kill(server));
        proxy.end(End::Cut);
        (0..3).for_each(|server| cluster.nats.run(server));
        trial.progress(3).await;
        round += 1;
        if Instant::now() >= end {
            break;
        }
    }
    let outcome = trial.end(Some(cluster.client(Framing::Json, 0))).await;
    let newest = outcome.record.acknowledged().map(|told| told.place.offset).max().unwrap();
    while sdk.event("official", &["publication"])["offset"].as_u64() < Some(newest) {}
    let told = sdk.all_events("official");
    let outcome = outcome.with(told_by_sdk("official", &told));
    outcome.assert_sound("cluster");
    // Nobody is told of a loss: history reaches back. Everybody came back, the official client too.
    assert_eq!(outcome.verdict.lost, 0, "{:?}", outcome.lives);
    assert!(told.iter().any(|event| event["recovered"] == true), "{told:?}");
    for (name, life) in &outcome.lives {
        assert!(life.closes.values().sum::<usize>() >= 1, "{name} was never away: two nodes went in turn");
    }
    assert!(
        outcome.lives.values().any(|life| life.closes.contains_key(&3001)),
        "nobody was moved by a drain"
    );
    for node in &cluster.nodes {
        assert_eq!(node.count("panicked"), 0, "{}", node.log());
    }
}
