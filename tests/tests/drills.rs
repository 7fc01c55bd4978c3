//! Drills: rehearsed on real nodes, and clients notice nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::process::Ran;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

fn drill(world: &World, kind: &str) -> Ran {
    tokio::task::block_in_place(|| world.run(["drill", kind, "--cert", "web"]))
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
    assert_eq!(handshakes.leaves(), [generation.leaf_sha256.clone()]);
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
    assert_eq!(handshakes.leaves(), [serving.leaf_sha256]);
    // What a drill shows goes away with it.
    let address = world.node_address().to_string();
    let gone = sealwire_proto::probe::drill(&address, "node.test", PATIENCE).await;
    assert!(gone.is_err(), "{gone:?}");
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
    assert_eq!(ran.out.matches("one would fail").count(), 3, "{ran:?}");
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
