//! A node halted by hand stays halted, over restarts of either side, until it is resumed and proven.
#![allow(missing_docs, clippy::unwrap_used)]

use sealwire_tests::eventually;
use sealwire_tests::process::Ran;
use sealwire_tests::world::{PATIENCE, World};

fn run<'a>(world: &World, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
    tokio::task::block_in_place(|| world.run(arguments))
}

async fn breaker(world: &World, state: &str) {
    eventually(&format!("the breaker is {state}"), PATIENCE, || async {
        let status = world.status().await?;
        status.nodes.iter().any(|node| node.connected && node.breaker == state).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn halted_by_hand_until_resumed_by_hand() {
    let world = World::new();
    let (mut agent, mut node) = world.start().await;
    breaker(&world, "closed").await;

    let ran = run(&world, ["node", "resume"]);
    assert_eq!((ran.code, ran.err.contains("was not halted by hand")), (2, true), "{ran:?}");
    let ran = run(&world, ["node", "halt", "--reason", "a drill of ours"]);
    assert_eq!((ran.code, ran.out.contains("node-1: halted")), (0, true), "{ran:?}");
    breaker(&world, "open").await;
    let ran = run(&world, ["status"]);
    assert!(ran.out.contains("the breaker is open") && ran.out.contains("a drill of ours"), "{ran:?}");
    let incidents = run(&world, ["incidents"]);
    assert!(incidents.out.contains("breaker_open"), "{incidents:?}");
    assert!(agent.count("an operator's order to nodes") == 1, "{}", agent.log());

    // A renewal goes on as ever: it is state that is halted, not certificates.
    let ran = run(&world, ["renew", "web"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    breaker(&world, "open").await;

    node.kill();
    node = world.start_node("node-1");
    breaker(&world, "open").await;
    agent.kill();
    agent = world.start_agent();
    breaker(&world, "open").await;

    let ran = run(&world, ["node", "resume", "node-1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    breaker(&world, "closed").await;
    eventually("the incident is over", PATIENCE, || async {
        run(&world, ["incidents", "--json"]).out.contains("breaker_open").eq(&false).then_some(())
    })
    .await;
    let unknown = run(&world, ["node", "halt", "nobody"]);
    assert_eq!((unknown.code, unknown.err.contains("was ever paired")), (2, true), "{unknown:?}");
    drop((agent, node));
}
