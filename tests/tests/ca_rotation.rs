//! The change of the root while a node serves and clients verify.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use sealwire_proto::v1::{CaRootRequest, CaStatusReply, CaStatusRequest};
use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::process::{Ran, run};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};

fn configure(world: &World, clients: &str, certificate: &str) {
    let at = format!("{}:8089", world.address);
    world.configure_agent(&AgentSettings {
        issuers: format!(
            "[internal.pki]\nleaf_lifetime = \"1h\"\nclients = {clients}\n\
             publish = {{ listen = \"{at}\", url = \"http://{at}\" }}\n"
        ),
        certificate: certificate.to_owned(),
        ..AgentSettings::default()
    });
}

fn sealwire(world: &World, arguments: &[&str]) -> Ran {
    let ran = tokio::task::block_in_place(|| world.run(arguments.iter().copied()));
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    ran
}

/// Whether a client that trusts what is in `roots` verifies what the node serves.
fn verifies(world: &World, roots: &Path) -> bool {
    let mut command = Command::new(tools::find("openssl").unwrap());
    let server = world.node_address().to_string();
    command.args(["s_client", "-connect", &server, "-servername", "node.test", "-verify_return_error"]);
    let ran = tokio::task::block_in_place(|| run(command.arg("-CAfile").arg(roots)));
    assert_eq!(ran.code == 0, ran.out.contains("Verify return code: 0 (ok)"), "{ran:?}");
    ran.code == 0
}

async fn status(world: &World) -> CaStatusReply {
    let request = CaStatusRequest { issuer: String::new() };
    world.admin().await.ca_status(request).await.unwrap().into_inner()
}

/// The published roots, each in a file of its own.
async fn roots(world: &World) -> Vec<PathBuf> {
    let request = CaRootRequest { issuer: String::new() };
    let pem = world.admin().await.ca_root(request).await.unwrap().into_inner().pem;
    pem.split_inclusive("-----END CERTIFICATE-----\n")
        .enumerate()
        .map(|(number, pem)| world.write(&format!("root-{}.pem", number + 1), pem))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_the_old_root_verify_until_everybody_has_the_new_one() {
    let world = World::new();
    configure(&world, "[\"monitoring\"]", "");
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (mut agent, _node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    if tools::find("openssl").is_none() {
        return;
    }
    let handshakes = Handshakes::start(world.node_address(), "node.test");
    let old = roots(&world).await.remove(0);
    let old_only =
        std::fs::copy(&old, world.path("old-only.pem")).map(|_| world.path("old-only.pem")).unwrap();
    assert!(verifies(&world, &old_only));

    let ran = sealwire(&world, &["ca", "rotate", "root"]);
    assert!(ran.out.contains("next root") && ran.out.contains("waits for client monitoring"), "{ran:?}");
    let published = roots(&world).await;
    assert_eq!(published.len(), 2);
    let both = sealwire(&world, &["ca", "root"]).out;
    let both = world.write("both.pem", &both);
    let incident = eventually("the incident", PATIENCE, || async {
        world.status().await?.incidents.into_iter().find(|incident| incident.kind == "ca_rotation")
    })
    .await;
    assert!(incident.about == "pki" && incident.text.contains("client monitoring"), "{incident:?}");
    sealwire(&world, &["renew", "web"]);
    assert!(verifies(&world, &old_only) && verifies(&world, &both));

    // A crash in the middle.
    agent.kill();
    agent = world.start_agent();
    world.proven().await;
    assert_eq!(roots(&world).await.len(), 2);
    // The node has both by itself; the client is people's work.
    eventually("the node's word", PATIENCE, || async {
        (status(&world).await.waiting_for == ["client monitoring"]).then_some(())
    })
    .await;
    assert!(verifies(&world, &old_only));

    let ran = sealwire(&world, &["ca", "confirm", "--client", "monitoring"]);
    assert!(ran.out.contains("root-2 issues since") && ran.out.contains("old root"), "{ran:?}");
    // What is served is of the old root still, and becomes one of the new with the next renewal.
    assert!(verifies(&world, &old_only));
    sealwire(&world, &["renew", "web"]);
    world.proven().await;
    assert!(verifies(&world, &both) && verifies(&world, &published[1]));
    assert!(!verifies(&world, &old_only), "the new root issued nothing");
    let ran = tokio::task::block_in_place(|| world.run(["ca", "cancel"]));
    assert!(ran.code == 1 && ran.err.contains("has issued already"), "{ran:?}");
    eventually("the end of the incident", PATIENCE, || async {
        let open = world.status().await?.incidents;
        open.iter().all(|incident| incident.kind != "ca_rotation").then_some(())
    })
    .await;
    assert_eq!(handshakes.failures(), [""; 0]);
    assert!(handshakes.seen().len() > 50);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nodes_the_last_client_decides_and_a_change_can_be_called_off() {
    let world = World::new();
    configure(&world, "[\"a\", \"b\"]", "nodes = []");
    let mut agent = world.start_agent();
    world.state("stored").await;

    sealwire(&world, &["ca", "rotate", "root"]);
    sealwire(&world, &["ca", "cancel"]);
    assert_eq!(roots(&world).await.len(), 1);
    let ran = sealwire(&world, &["ca", "rotate", "root"]);
    assert!(ran.out.contains("root-3 is published beside root-1"), "{ran:?}");
    let ran = tokio::task::block_in_place(|| world.run(["ca", "force"]));
    assert!(ran.code == 2 && ran.err.contains("--yes"), "{ran:?}");
    let ran = tokio::task::block_in_place(|| world.run(["ca", "confirm", "--client", "c"]));
    assert!(ran.code == 1 && ran.err.contains("named there: a, b"), "{ran:?}");
    sealwire(&world, &["ca", "confirm", "--client", "b"]);
    assert_eq!(status(&world).await.waiting_for, ["client a"]);
    agent.kill();
    agent = world.start_agent();
    eventually("what was confirmed is remembered", PATIENCE, || async {
        (status(&world).await.waiting_for == ["client a"]).then_some(())
    })
    .await;
    let ran = sealwire(&world, &["ca", "confirm", "--client", "a"]);
    assert!(ran.out.contains("root-3 issues") && ran.out.contains("old root"), "{ran:?}");
    sealwire(&world, &["renew", "web"]);
    let chain = std::fs::read(world.path("state/live/web/fullchain.pem")).unwrap();
    let published = roots(&world).await;
    assert_eq!(published.len(), 2);
    let leaf = world.write("chain.pem", &String::from_utf8(chain).unwrap());
    if let Some(openssl) = tools::find("openssl") {
        let mut command = Command::new(openssl);
        command.args(["verify", "-CAfile"]).arg(&published[1]).arg("-untrusted").arg(&leaf).arg(&leaf);
        let ran = tokio::task::block_in_place(|| run(&mut command));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_waited_for() {
    let world = World::new();
    configure(&world, "[]", "");
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, mut node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    node.kill();
    eventually("the node is gone", PATIENCE, || async {
        world.status().await?.nodes.iter().all(|node| !node.connected).then_some(())
    })
    .await;
    let ran = sealwire(&world, &["ca", "rotate", "root"]);
    assert!(ran.out.contains("waits for node node-1") && ran.out.contains("root-2 is published"), "{ran:?}");
    node = world.start_node("node-1");
    eventually("the new root issues", PATIENCE, || async {
        status(&world).await.rotation.starts_with("root-2 issues").then_some(())
    })
    .await;
    sealwire(&world, &["renew", "web"]);
    drop(node);
}
