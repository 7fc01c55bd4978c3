//! A second CA, of other people: step-ca knows neither renewal information nor profiles, cannot change account
//! keys, and lets certificates live for three days.
#![allow(missing_docs, clippy::unwrap_used)]

use sealwire_tests::step_ca::StepCa;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, World};

fn configure(world: &World, ca: &StepCa, more: &str) {
    world.configure_agent(&AgentSettings {
        issuers: format!("{}{more}", ca.issuer),
        ..AgentSettings::default()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn obtains_renews_and_revokes() {
    let world = World::new();
    let Some(ca) = StepCa::start(&world).await else { return };
    configure(&world, &ca, "");
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    // A name and an address, each by a challenge over HTTP.
    let first = world.proven().await.current.unwrap();
    assert_eq!(first.issuer, "step");
    let lifetime = first.not_after_ms - first.not_before_ms;
    assert!((72 * 3_600_000..73 * 3_600_000).contains(&lifetime), "{lifetime} ms");

    // No renewal information: two thirds of the lifetime, as configured.
    let why = tokio::task::block_in_place(|| world.run(["why", "web"]));
    assert!(why.out.contains("67 % of the lifetime"), "{}", why.out);

    let mut admin = world.admin().await;
    let renewal = Renewal::follow(&mut admin, true).await.unwrap();
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    let second = world.proven().await.current.unwrap();
    assert_ne!(first.serial, second.serial);

    let revoked = tokio::task::block_in_place(|| world.run(["revoke", "web", "--reason", "superseded"]));
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let third = sealwire_tests::eventually("replaced", sealwire_tests::world::PATIENCE, || async {
        world
            .web()
            .await
            .filter(|web| web.state == "proven")?
            .current
            .filter(|one| one.serial != second.serial)
    })
    .await;
    assert_ne!(third.serial, second.serial);

    // 501: said, and the old key is kept.
    let rollover = tokio::task::block_in_place(|| world.run(["account", "rollover"]));
    assert_eq!(rollover.code, 1, "{rollover:?}");
    assert!(rollover.err.contains("not implemented"), "{rollover:?}");
    let renewal = Renewal::follow(&mut admin, true).await.unwrap();
    assert!(renewal.is_done(), "{:?}", renewal.steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn obtains_by_tls_alpn_01() {
    let world = World::new();
    let Some(ca) = StepCa::start(&world).await else { return };
    let more = format!("challenges = [\"tls-alpn-01\"]\n[tls_alpn01]\nlisten = \"{}:5001\"\n", world.address);
    configure(&world, &ca, &more);
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    assert_eq!(world.proven().await.current.unwrap().issuer, "step");
}
