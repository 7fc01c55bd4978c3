//! Certificates of clients: with roots that the agent sends and changes, and with those of a file.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use sealwire_proto::anchors::Anchors;
use sealwire_tests::authority::Authority;
use sealwire_tests::eventually;
use sealwire_tests::wire::{self, ask, code};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use tokio::net::TcpStream;

/// Trusts the node, and is somebody whom `authority` vouches for.
fn client(anchors: &Anchors, authority: Option<&Authority>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in anchors.certificates() {
        roots.add(certificate.clone()).unwrap();
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let (chain, key) = authority.client("somebody");
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// The answer to an upgrade, or what went wrong before it.
async fn answer(world: &World, config: &Arc<ClientConfig>) -> Result<u16, String> {
    let tcp = TcpStream::connect(world.node_address()).await.unwrap();
    let answered = async {
        let mut stream = wire::tls(tcp, "node.test", Arc::clone(config)).await?;
        ask(&mut stream, &wire::upgrade("node.test", "")).await
    };
    answered.await.map(|head| code(&head)).map_err(|error| format!("{error:#}"))
}

fn with_listen(world: &World, lines: &str) {
    let path = world.path("node-1.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace("[listen]\n", &format!("[listen]\n{lines}"))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_says_who_vouches_for_clients_and_changes_are_in_force_at_once() {
    let world = World::new();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let file = world.write("clients.pem", &old.pem());
    let delivery = format!("client_roots = {file:?}\n");
    world.configure_agent(&AgentSettings { delivery, ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    with_listen(&world, "client_auth = \"required\"\n");
    let (agent, node) = (world.start_agent(), world.start_node("node-1"));
    // Both the node and the agent prove what is served by handshakes without a certificate.
    world.proven().await;
    let _told = agent.line("checks clients against delivery.client_roots", PATIENCE);
    let (anchors, _) = world.roots().await;
    let (of_old, of_new, nobody) =
        (client(&anchors, Some(&old)), client(&anchors, Some(&new)), client(&anchors, None));
    assert_eq!(answer(&world, &of_old).await, Ok(101));
    assert_eq!(answer(&world, &of_old).await, Ok(101), "resumed");
    assert_eq!(answer(&world, &nobody).await, Ok(403));
    let error = answer(&world, &of_new).await.unwrap_err();
    assert!(error.contains("UnknownCA"), "{error}");
    let line = node.line("reason=\"client_certificate\"", PATIENCE);
    assert!(line.contains("peer=127."), "{line}");
    let _audited = node.line("client_certificate_missing", PATIENCE);
    let tcp = TcpStream::connect(world.node_address()).await.unwrap();
    let mut stream = wire::tls(tcp, "node.test", Arc::clone(&nobody)).await.unwrap();
    let health = ask(&mut stream, "GET /readyz HTTP/1.1\r\nHost: node.test\r\n\r\n").await.unwrap();
    assert_eq!(code(&health), 200, "load balancers have no certificate: {health}");

    // A broken file changes nothing; a good one is in force, also for who could resume a session.
    std::fs::write(&file, "nothing of the kind").unwrap();
    let _refused = agent.line("the roots of before stay in use", PATIENCE);
    assert_eq!(answer(&world, &of_old).await, Ok(101));
    std::fs::write(&file, new.pem()).unwrap();
    eventually("the new root is in use", PATIENCE, || async {
        (answer(&world, &of_new).await == Ok(101)).then_some(())
    })
    .await;
    let error = answer(&world, &of_old).await.unwrap_err();
    assert!(error.contains("UnknownCA"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_node_decides_and_optional_lets_in_those_without() {
    let world = World::new();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let (file, theirs) = (world.write("node.pem", &ours.pem()), world.write("agent.pem", &others.pem()));
    let delivery = format!("client_roots = {theirs:?}\n");
    world.configure_agent(&AgentSettings { delivery, ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    with_listen(&world, &format!("client_auth = \"optional\"\nclient_roots = {file:?}\n"));
    let (_agent, node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let _warned = node.line("listen.client_roots does not hold 1 of the 1 roots", PATIENCE);
    let (anchors, _) = world.roots().await;
    assert_eq!(answer(&world, &client(&anchors, Some(&ours))).await, Ok(101));
    assert_eq!(answer(&world, &client(&anchors, None)).await, Ok(101));
    assert!(answer(&world, &client(&anchors, Some(&others))).await.is_err());
}
