//! Either side may die at any instant: service comes back with the same generation and without a new order.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use sealwire_proto::v1::CertificateStatus;
use sealwire_tests::eventually;
use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::world::{PATIENCE, World};

/// What must be the same after a restart.
fn identity(certificate: &CertificateStatus) -> (u64, String, u64) {
    let current = certificate.current.clone().unwrap();
    (current.generation, current.serial, certificate.orders)
}

/// Waits until the agent says that the node serves it, on the present connection.
async fn proven_again(world: &World) -> CertificateStatus {
    eventually("proven on a paired node", PATIENCE, || async {
        let certificate = world.web().await?;
        let paired = certificate.deliveries.iter().any(|delivery| delivery.connected);
        (certificate.state == "proven" && paired).then_some(certificate)
    })
    .await
}

async fn serves(world: &World, certificate: &CertificateStatus) {
    let want = certificate.current.clone().unwrap().leaf_sha256;
    let address = world.node_address().to_string();
    eventually("the node serves it", PATIENCE, || async {
        let seen =
            sealwire_proto::probe::handshake(&address, "node.test", Duration::from_secs(5)).await.ok()?;
        (seen.leaf_sha256.as_slice() == want).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_dies_is_missed_by_nobody() {
    let world = World::new();
    let (mut agent, node) = world.start().await;
    let before = world.web().await.unwrap();
    let handshakes = Handshakes::start(world.node_address(), "node.test");

    agent.kill();
    serves(&world, &before).await;
    let mut agent = world.start_agent();
    let after = proven_again(&world).await;
    assert_eq!(identity(&after), identity(&before));
    // The node said what it holds, so nothing was sent again.
    assert_eq!(agent.count("PUSHED"), 0, "{}", agent.log());
    assert_eq!(node.count("swapped in"), 1, "{}", node.log());
    assert_eq!(handshakes.failures(), Vec::<String>::new());

    // The same once more, ended in good order.
    agent.terminate();
    assert!(agent.ended(PATIENCE).success());
    assert!(!world.delivery_socket().exists(), "the socket file is removed");
    let _agent = world.start_agent();
    assert_eq!(identity(&proven_again(&world).await), identity(&before));
}

#[tokio::test]
async fn peer_defect_12_a_node_that_dies_gets_its_bundle_at_once() {
    let world = World::new();
    let (agent, mut node) = world.start().await;
    let before = world.web().await.unwrap();

    node.kill();
    let node = world.start_node("node-1");
    serves(&world, &before).await;
    let after = proven_again(&world).await;
    assert_eq!(identity(&after), identity(&before));
    eventually("pushed again", PATIENCE, || async { (agent.count("PUSHED") == 2).then_some(()) }).await;
    let _ready = node.line("ready: serving", PATIENCE);
}

#[tokio::test]
async fn both_die_and_come_back_in_either_order() {
    let world = World::new();
    let (mut agent, mut node) = world.start().await;
    let before = world.web().await.unwrap();
    for agent_first in [true, false] {
        agent.kill();
        node.kill();
        if agent_first {
            agent = world.start_agent();
            eventually("the agent is up", PATIENCE, || world.status()).await;
            node = world.start_node("node-1");
        } else {
            node = world.start_node("node-1");
            let _waiting = node.line("cannot reach", PATIENCE);
            agent = world.start_agent();
        }
        serves(&world, &before).await;
        assert_eq!(identity(&proven_again(&world).await), identity(&before));
    }
}

#[tokio::test]
async fn a_node_without_a_certificate_accepts_nobody_and_is_not_ready() {
    let world = World::new();
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let mut node = world.start_node("node-1");
    let _waiting = node.line("cannot reach", PATIENCE);
    let connected = tokio::net::TcpStream::connect(world.node_address()).await;
    assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let admin = |path: &str| format!("http://{}:9090{path}", world.address);
    let code = |path: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &admin(path)]);
        sealwire_tests::process::run(&mut curl).out
    };
    assert_eq!((code("/healthz"), code("/readyz")), ("200".into(), "503".into()));

    world.configure_agent(&Default::default());
    let _agent = world.start_agent();
    world.proven().await;
    eventually("ready", PATIENCE, || async { (code("/readyz") == "200").then_some(()) }).await;

    node.terminate();
    assert!(node.ended(PATIENCE).success(), "{}", node.log());
}
