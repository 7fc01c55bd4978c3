//! Drills: rehearsed on real nodes, and clients notice nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use sealwire_tests::eventually;
use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::process::Ran;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

fn drill(world: &World, kind: &str) -> Ran {
    tokio::task::block_in_place(|| world.run(["drill", kind, "--cert", "web"]))
}

/// All that were seen, with one handshake at least.
async fn leaves(handshakes: &Handshakes) -> Vec<Vec<u8>> {
    eventually("a handshake", PATIENCE, || async {
        let leaves = handshakes.leaves();
        (!leaves.is_empty()).then_some(leaves)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_and_a_rollback_are_proven_on_every_node_and_service_is_not_touched() {
    let world = World::new();
    let (_agent, node) = world.start().await;
    world.configure_node("node-2", 1, &world.delivery_socket(), "");
    let second = world.start_node("node-2");
    let _ready = second.line("ready:", PATIENCE);
    let before = world.proven().await;
    let generation = before.current.unwrap();
    let handshakes = Handshakes::start(world.node_address(), "node.test");

    // There is nothing to go back to yet, and that is said.
    let ran = drill(&world, "rollback");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("no older generation"), "{ran:?}");

    let ran = drill(&world, "renew");
    assert_eq!(ran.code, 0, "{ran:?}\n{}", node.log());
    assert!(ran.out.contains("proven on 2 node(s), and what is served was not touched"), "{ran:?}");
    assert_eq!(ran.out.matches("the shadow was seen by a handshake").count(), 2, "{ran:?}");

    // Drills are no orders, no history and no generations of the certificate.
    let after = world.proven().await;
    assert_eq!((after.orders, after.current.unwrap()), (before.orders, generation.clone()));
    assert_eq!(leaves(&handshakes).await, [generation.leaf_sha256]);
    assert_eq!(handshakes.failures(), Vec::<String>::new());

    // After a renewal there is a generation to go back to.
    let renewed = tokio::task::block_in_place(|| world.run(["renew", "web"]));
    assert_eq!(renewed.code, 0, "{renewed:?}");
    let serving = world.proven().await.current.unwrap();
    let handshakes = Handshakes::start(world.node_address(), "node.test");
    let ran = drill(&world, "rollback");
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = format!("generation {} could be served again", generation.generation);
    assert!(ran.out.contains(&said), "{ran:?}");
    assert_eq!(leaves(&handshakes).await, [serving.leaf_sha256]);
    // What a drill shows goes away with it.
    let address = world.node_address().to_string();
    eventually("the shadow is gone", PATIENCE, || async {
        sealwire_proto::probe::drill(&address, "node.test", PATIENCE).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_played_through_and_the_next_issuer_takes_over() {
    let world = World::new();
    world.configure_agent(&AgentSettings {
        issuers: "[internal.one]\nleaf_lifetime = \"1h\"\n[internal.two]\nleaf_lifetime = \"1h\"\n"
            .to_owned(),
        certificate: "issuers = [\"one\", \"two\"]".to_owned(),
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let before = world.proven().await;
    let ran = drill(&world, "ca-down");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("one would fail"), "{ran:?}");
    assert!(ran.out.contains("two would take over") && ran.out.contains("proven on 1 node(s)"), "{ran:?}");
    assert_eq!(world.proven().await, before, "nothing has happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_issuer_the_end_is_told() {
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let ran = drill(&world, "ca-down");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("no other issuer is configured: what is served ends"), "{ran:?}");
    let ran = tokio::task::block_in_place(|| world.run(["drill", "renew", "--cert", "nobody"]));
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_found_out_at_our_own_ca_or_at_one_of_the_drill() {
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let before = world.proven().await;
    let ran = drill(&world, "revoke");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("the leaf is revoked since") && ran.out.contains("drill.invalid"), "{ran:?}");
    assert!(ran.out.contains("from pki at once: the current generation is revoked"), "{ran:?}");
    assert_eq!(world.proven().await, before, "nothing has happened");

    // With a CA that publishes, the very pages that clients read.
    let world = World::new();
    let pages = format!("{}:8089", world.address);
    world.configure_agent(&AgentSettings {
        issuers: format!(
            "[internal.pki]\nleaf_lifetime = \"1h\"\npublish = {{ listen = \"{pages}\", url = \"http://{pages}\" }}\n"
        ),
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let before = world.proven().await.current.unwrap();
    let ran = drill(&world, "revoke");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains(&format!("says http://{pages}")), "{ran:?}");
    assert!(ran.out.contains("keyCompromise"), "{ran:?}");
    let after = world.proven().await.current.unwrap();
    assert_eq!(after.serial, before.serial, "what is served was not revoked");
}
