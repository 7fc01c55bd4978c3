//! Two agents on one state directory: one works, the other refuses or waits; what a dead one left behind
//! stops nobody.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use sealwire_tests::eventually;
use sealwire_tests::process::Process;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

/// How soon a waiting agent must have taken over.
const TAKE_OVER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn one_works_one_refuses_and_one_that_waits_takes_over() {
    let world = World::new();
    let (mut first, _node) = world.start().await;
    let serial = world.web().await.unwrap().current.unwrap().serial;

    let refused = tokio::task::block_in_place(|| world.run(["run"]));
    assert_eq!(refused.code, 1, "{refused:?}");
    let pid = format!("in use by another agent (pid {})", first.pid());
    assert!(refused.err.contains(&pid), "{refused:?}");

    let mut second = Process::start("waiting", &mut world.sealwire(["run", "--wait"]));
    let _waiting = second.line("waiting for the other agent to end", PATIENCE);
    assert!(second.is_running());
    let died = Instant::now();
    first.kill();
    eventually("taken over", TAKE_OVER, || world.status()).await;
    assert!(died.elapsed() < TAKE_OVER, "{:?}", died.elapsed());
    assert_eq!(world.proven().await.current.unwrap().serial, serial);

    // One that waits ends when it is told to.
    let mut third = Process::start("third", &mut world.sealwire(["run", "--wait"]));
    let _waiting = third.line("waiting for the other agent to end", PATIENCE);
    third.terminate();
    assert!(third.ended(PATIENCE).success(), "{}", third.log());
    assert!(second.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_defect_14_stale_locks_and_sockets_are_taken_over_at_once() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let mut agent = world.start_agent();
    let _status = eventually("up", PATIENCE, || world.status()).await;
    agent.kill();
    for left in ["run/delivery.sock", "run/admin.sock", "run/admin.sock.lock", "state/lock"] {
        assert!(world.path(left).exists(), "{left} is left behind");
    }
    let _agent = world.start_agent();
    eventually("up again", TAKE_OVER, || world.status()).await;
}
