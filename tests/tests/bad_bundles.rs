//! Bundles that must not be served: the real node refuses each with its own reason and keeps what it has, and
//! the real agent says so, withdraws the generation and does not try again in a tight loop.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use sealwire_proto::v1::StepKind;
use sealwire_tests::eventually;
use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::relay::{Relay, Spoil};
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn peer_defect_11_each_fault_is_nacked_with_its_reason_and_the_last_good_one_is_served() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let agent = world.start_agent();
    eventually("the agent is up", PATIENCE, || world.status()).await;
    let relay = Relay::start(&world.path("run/relay.sock"), &world.delivery_socket());
    world.configure_node("node-1", 0, &world.path("run/relay.sock"), "");
    let node = world.start_node("node-1");
    world.proven().await;

    let handshakes = Handshakes::start(world.node_address(), "node.test");
    let mut admin = world.admin().await;
    let faults = [
        (Spoil::ForeignKey, "KEY_MISMATCH"),
        (Spoil::OtherName, "NAME_MISMATCH"),
        (Spoil::Expired, "EXPIRED"),
        (Spoil::NotYetValid, "NOT_YET_VALID"),
        (Spoil::TruncatedChain, "UNTRUSTED_CHAIN"),
        (Spoil::CutLeaf, "MALFORMED"),
        (Spoil::WrongUsage, "WRONG_USAGE"),
    ];
    for (spoil, reason) in faults {
        relay.set(Spoil::Nothing);
        let good = Renewal::follow(&mut admin, true).await.unwrap();
        assert!(good.is_done(), "{:?}", good.steps);
        let serving = world.proven().await.current.unwrap();

        relay.set(spoil);
        let bad = Renewal::follow(&mut admin, true).await.unwrap();
        assert!(!bad.is_done(), "{reason}");
        let nack = bad.step(StepKind::Nacked).unwrap_or_else(|| panic!("{reason}: {:?}", bad.steps));
        assert!(nack.detail.starts_with(reason), "{reason}: {}", nack.detail);
        assert!(bad.step(StepKind::Quarantined).is_some() && bad.step(StepKind::RolledBack).is_some());

        // The agent is back at the last good generation, says why, and does not order again at once.
        let refused = world.state("refused").await;
        assert_eq!(refused.current.clone().unwrap().serial, serving.serial);
        assert_eq!(refused.quarantined_generation, bad.generation());
        let delivery = &refused.deliveries[0];
        assert_eq!((delivery.nack_reason.as_str(), delivery.nacked), (reason, bad.generation()));
        let ran = tokio::task::block_in_place(|| world.run(["status"]));
        assert!(ran.out.contains("refused") && ran.out.contains(reason), "{}", ran.out);
        assert!(refused.next_at_ms >= refused.last_error_ms + 10_000, "{refused:?}");

        // What clients see has not changed.
        let address = world.node_address().to_string();
        let seen = sealwire_proto::probe::handshake(&address, "node.test", PATIENCE).await.unwrap();
        assert_eq!(seen.leaf_sha256.as_slice(), serving.leaf_sha256, "{reason}");
    }
    assert_eq!(handshakes.failures(), Vec::<String>::new());
    assert!(node.count("EXPIRED") > 0, "{}", node.log());
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_without_proof_is_rolled_back() {
    let world = World::new();
    let delivery = "proof_timeout = \"1s\"".to_owned();
    world.configure_agent(&AgentSettings { delivery, ..AgentSettings::default() });
    let _agent = world.start_agent();
    eventually("the agent is up", PATIENCE, || world.status()).await;
    let relay = Relay::start(&world.path("run/relay.sock"), &world.delivery_socket());
    world.configure_node("node-1", 0, &world.path("run/relay.sock"), "");
    let _node = world.start_node("node-1");
    let good = world.proven().await.current.unwrap();

    relay.set(Spoil::HideProof);
    let mut admin = world.admin().await;
    let renewal = Renewal::follow(&mut admin, false).await.unwrap();
    assert!(!renewal.is_done());
    let failed = renewal.step(StepKind::Failed).unwrap();
    assert!(failed.detail.contains("not proven to be served"), "{}", failed.detail);
    let address = world.node_address().to_string();
    eventually("the last good leaf is served again", PATIENCE, || async {
        let seen =
            sealwire_proto::probe::handshake(&address, "node.test", Duration::from_secs(5)).await.ok()?;
        (seen.leaf_sha256.as_slice() == good.leaf_sha256).then_some(())
    })
    .await;
    assert_eq!(world.state("refused").await.current.unwrap().serial, good.serial);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_a_name_the_node_does_not_serve_is_refused() {
    let world = World::new();
    world.configure_agent(&AgentSettings {
        identifiers: vec!["elsewhere.example".to_owned()],
        certificate: "nodes = [\"node-1\"]".to_owned(),
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, node) = (world.start_agent(), world.start_node("node-1"));
    let refused = world.state("refused").await;
    assert_eq!(refused.deliveries[0].nack_reason, "NAME_MISMATCH");
    let _said = node.line("NAME_MISMATCH", PATIENCE);
    let ran = tokio::task::block_in_place(|| world.run(["status"]));
    assert!(ran.out.contains("no certificate is configured for node.test"), "{}", ran.out);
}
