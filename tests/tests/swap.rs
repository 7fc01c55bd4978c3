//! A new generation is held by every paired node before any serves it, then proven on each; or it is served by
//! none.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;

use sealwire_proto::probe;
use sealwire_proto::v1::{CertificateStatus, StepKind};
use sealwire_tests::eventually;
use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::process::Process;
use sealwire_tests::relay::{Relay, Spoil};
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

/// An agent and two nodes, the second of them behind a relay.
struct Pair {
    world: World,
    relay: Relay,
    agent: Process,
    nodes: [Process; 2],
}

impl Pair {
    async fn start(delivery: &str) -> Self {
        let world = World::new();
        world.configure_agent(&AgentSettings { delivery: delivery.to_owned(), ..AgentSettings::default() });
        let agent = world.start_agent();
        eventually("the agent is up", PATIENCE, || world.status()).await;
        let relay = Relay::start(&world.path("run/relay.sock"), &world.delivery_socket());
        world.configure_node("node-1", 0, &world.delivery_socket(), "");
        world.configure_node("node-2", 1, &world.path("run/relay.sock"), "");
        let nodes = [world.start_node("node-1"), world.start_node("node-2")];
        let pair = Self { world, relay, agent, nodes };
        pair.served_by_both().await;
        pair
    }

    fn address(&self, node: u16) -> SocketAddr {
        (self.world.address, 8443 + node - 1).into()
    }

    /// Waits until both nodes are proven to serve what is current.
    async fn served_by_both(&self) -> CertificateStatus {
        eventually("both nodes are proven", PATIENCE, || async {
            let web = self.world.web().await?;
            let current = web.current.as_ref()?.generation;
            let serving = web.deliveries.iter().filter(|one| one.connected && one.serving == current).count();
            (serving == 2 && web.state != "delivering").then_some(web)
        })
        .await
    }

    async fn leaf(&self, node: u16) -> Vec<u8> {
        let address = self.address(node).to_string();
        probe::handshake(&address, "node.test", PATIENCE).await.unwrap().leaf_sha256.to_vec()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_refuses_is_served_by_none() {
    let pair = Pair::start("").await;
    let good = pair.served_by_both().await.current.unwrap();
    let handshakes = Handshakes::start(pair.address(1), "node.test");
    pair.relay.set(Spoil::OtherName);
    let mut admin = pair.world.admin().await;
    let renewal = Renewal::follow(&mut admin, false).await.unwrap();
    assert!(!renewal.is_done());
    let of = |kind| renewal.steps.iter().filter(|step| step.kind() == kind).collect::<Vec<_>>();
    assert_eq!(of(StepKind::Nacked)[0].node_id, "node-2");
    assert!(of(StepKind::Committed).is_empty() && of(StepKind::Acked).is_empty(), "{:?}", renewal.steps);
    let failed = &of(StepKind::Failed)[0].detail;
    assert!(failed.contains("NAME_MISMATCH") && failed.contains("no node serves it"), "{failed}");
    for node in [1, 2] {
        assert_eq!(pair.leaf(node).await, good.leaf_sha256, "node {node}");
    }
    eventually("a handshake", PATIENCE, || async { (!handshakes.leaves().is_empty()).then_some(()) }).await;
    assert_eq!(
        handshakes.leaves(),
        std::slice::from_ref(&good.leaf_sha256),
        "node-1 never served the refused one"
    );

    // A name mismatch is a reason to renew by itself, after the first of the advised waits.
    let refused = pair.world.state("refused").await;
    assert!(refused.why.contains("refused"), "{refused:?}");
    let wait = refused.next_at_ms - refused.last_error_ms;
    assert!((60_000..=66_000).contains(&wait), "{refused:?}");
    pair.relay.set(Spoil::Nothing);
    assert!(Renewal::follow(&mut admin, true).await.unwrap().is_done());
    let now = pair.served_by_both().await.current.unwrap();
    assert_ne!(now.serial, good.serial);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_at_the_commit_is_brought_to_what_was_committed() {
    let mut pair = Pair::start("ack_timeout = \"1s\"").await;
    pair.relay.set(Spoil::LoseCommit);
    let mut admin = pair.world.admin().await;
    let renewal = Renewal::follow(&mut admin, false).await.unwrap();
    // It did not say in time that it swapped: the renewal is not done, and the other node has it.
    assert!(!renewal.is_done(), "{:?}", renewal.steps);
    assert!(renewal.steps.iter().any(|step| step.kind() == StepKind::Committed));
    // By the time it has dialled anew it gets the bundle, and no commit is needed for that.
    let web = pair.served_by_both().await;
    let current = web.current.unwrap();
    assert_eq!(current.generation, renewal.generation());
    for node in [1, 2] {
        assert_eq!(pair.leaf(node).await, current.leaf_sha256, "node {node}");
    }
    assert_eq!(web.quarantined_generation, 0);

    // A node that was not there at all comes back to the committed one, too.
    pair.relay.set(Spoil::Nothing);
    pair.nodes[1].kill();
    eventually("node-2 is missed", PATIENCE, || async {
        let web = pair.world.web().await?;
        web.deliveries.iter().any(|one| one.node_id == "node-2" && !one.connected).then_some(())
    })
    .await;
    assert!(Renewal::follow(&mut admin, false).await.unwrap().is_done());
    pair.nodes[1] = pair.world.start_node("node-2");
    let current = pair.served_by_both().await.current.unwrap();
    assert_eq!(pair.leaf(2).await, current.leaf_sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_before_the_commit_prepares_anew() {
    let mut pair = Pair::start("").await;
    let before = pair.served_by_both().await.current.unwrap();
    // It does not answer, so nothing is committed.
    pair.nodes[1].freeze();
    let renewal = Process::start("renew", &mut pair.world.sealwire(["renew"]));
    let _prepared = pair.agent.line("PREPARED", PATIENCE);
    pair.agent.kill();
    drop(renewal);
    assert_eq!(pair.leaf(1).await, before.leaf_sha256, "held, and not served");
    pair.nodes[1].go_on();
    pair.agent = pair.world.start_agent();
    let now = pair.served_by_both().await.current.unwrap();
    assert_eq!(now.generation, before.generation + 1, "the same order, prepared and committed");
    assert_eq!(pair.agent.count("COMMITTED"), 1, "{}", pair.agent.log());
    for node in [1, 2] {
        assert_eq!(pair.leaf(node).await, now.leaf_sha256, "node {node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_on_the_port_is_no_proof_and_all_nodes_go_back() {
    let mut pair = Pair::start("proof_timeout = \"1s\"").await;
    let good = pair.served_by_both().await.current.unwrap();
    // From its next Hello on, what node-2 calls its listener belongs to somebody else.
    let other = World::new();
    let (_other_agent, _other_node) = other.start().await;
    pair.relay.set(Spoil::Listener(other.node_address()));
    pair.nodes[1].kill();
    pair.nodes[1] = pair.world.start_node("node-2");
    eventually("node-2 is back", PATIENCE, || async {
        let web = pair.world.web().await?;
        web.deliveries.iter().any(|one| one.node_id == "node-2" && !one.proof_error.is_empty()).then_some(())
    })
    .await;

    let mut admin = pair.world.admin().await;
    let renewal = Renewal::follow(&mut admin, false).await.unwrap();
    assert!(!renewal.is_done());
    let failed = renewal.step(StepKind::Failed).unwrap();
    assert!(failed.detail.contains("not proven to be served"), "{}", failed.detail);
    assert!(renewal.step(StepKind::RolledBack).is_some(), "{:?}", renewal.steps);
    for node in [1, 2] {
        eventually("back at the good one", PATIENCE, || async {
            (pair.leaf(node).await == good.leaf_sha256).then_some(())
        })
        .await;
    }
}
