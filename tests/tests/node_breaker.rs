//! A real node whose breaker opens and closes, with real sessions over TLS. The agent is a script.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sealwire_proto::probe;
use sealwire_proto::v1::agent_message::Body;
use sealwire_proto::v1::{BreakerState, Bundle, Halt, Resume, Staple, StaplePolicy, node_message};
use sealwire_proto::validate::sha256;
use sealwire_tests::authority::Authority;
use sealwire_tests::process::run;
use sealwire_tests::scripted_agent::Scripted;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::talk::Talk;
use sealwire_tests::world::{PATIENCE, World};
use sealwire_tests::{eventually, tools};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

fn halt() -> Body {
    Body::Halt(Halt { by: "operator".into(), reason: "incident 7".into() })
}

fn resume() -> Body {
    Body::Resume(Resume { by: "operator".into() })
}

/// The head and body of an answer of the node's admin address, or of its WebSocket endpoint.
fn curl(arguments: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    let ran = run(command.args(["--silent", "--include", "--max-time", "20"]).args(arguments));
    assert_eq!(ran.code, 0, "curl {arguments:?}: {ran:?}");
    let code = ran.out.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no status: {ran:?}")), ran.out)
}

fn admin(world: &World, path: &str) -> (u16, String) {
    curl(&[&format!("http://{}:9090{path}", world.address)])
}

fn status(world: &World) -> Value {
    let (code, answer) = admin(world, "/status");
    assert_eq!(code, 200, "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

async fn breaker(world: &World, state: &str) -> Value {
    eventually(&format!("breaker {state}"), PATIENCE, || async {
        let status = status(world);
        (status["breaker"]["state"] == state).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn halted_by_hand_nothing_is_published_and_nothing_is_lost() {
    let mut scripted = Scripted::start("").await;
    let (world, ca) = (&scripted.world, Authority::new("halt"));
    ca.write(world);
    let node = &mut scripted.pairing;
    let bundle = ca.bundle(world, 1, HOUR);
    node.serve(bundle.clone()).await;
    let tls = tls(&ca.anchors()).unwrap();
    let mut talk = Talk::begin(world, &tls).await;
    assert_eq!(talk.publish(json!(1)).await, None);
    assert_eq!(admin(world, "/readyz").0, 200);

    node.say(halt()).await;
    let told = breaker(world, "open").await;
    assert_eq!(told["breaker"]["causes"], json!(["halted"]));
    assert_eq!(told["breaker"]["detail"], "halted by operator: incident 7");
    let refusal = talk.publish(json!("refused")).await.unwrap();
    assert_eq!((&refusal["code"], &refusal["temporary"]), (&json!(100), &json!(true)));
    let (code, answer) = admin(world, "/readyz");
    assert!(code == 503 && answer.contains("breaker open: halted by operator: incident 7"), "{answer}");
    assert_eq!(admin(world, "/healthz").0, 200, "it is alive");
    let url = format!("https://{}/connection/websocket", world.node_address());
    let root = world.path("root.pem");
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let mut arguments = vec!["--http1.1", "--cacert", root.to_str().unwrap(), &url];
    upgrade.iter().for_each(|header| arguments.extend(["--header", header]));
    arguments.extend(["--header", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]);
    let (code, answer) = curl(&arguments);
    assert_eq!(code, 503, "{answer}");
    let after = answer
        .to_lowercase()
        .split("retry-after: ")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.parse().ok());
    assert!(after.is_some_and(|seconds: u64| (5..=20).contains(&seconds)), "{answer}");
    assert!(Session::open(world.node_address(), Arc::clone(&tls)).await.is_err());
    eventually("the agent is told", PATIENCE, || async {
        let breaker = node.report().and_then(|report| report.breaker)?;
        (breaker.state() == BreakerState::Open && breaker.causes == ["halted"]).then_some(())
    })
    .await;
    // TLS goes on, so that proofs can be made.
    let seen = probe::handshake(&world.node_address().to_string(), "node.test", PATIENCE).await.unwrap();
    assert_eq!(seen.leaf_sha256, sha256(&bundle.chain[0]));

    node.say(resume()).await;
    let told = breaker(world, "closed").await;
    assert_eq!(
        (&told["counters"]["breaker_opened"], &told["counters"]["breaker_closed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(talk.publish(json!(2)).await, None);
    assert_eq!(talk.all_has_come().await, ["open", "closed"]);
    Session::open(world.node_address(), tls).await.unwrap();
    let log = scripted.node.log();
    for line in ["halted by hand", "resumed by hand", "from=\"closed\" to=\"open\"", "to=\"closed\""] {
        assert!(log.lines().any(|found| found.contains("audit") && found.contains(line)), "{line}:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_sent_away_after_the_hold() {
    let mut scripted = Scripted::start("[breaker]\nhold = \"200ms\"\n").await;
    let (world, ca) = (&scripted.world, Authority::new("hold"));
    let node = &mut scripted.pairing;
    node.serve(ca.bundle(world, 1, HOUR)).await;
    let tls = tls(&ca.anchors()).unwrap();
    let mut session = Session::open(world.node_address(), tls).await.unwrap();
    node.say(halt()).await;
    let notice = session.next().await.unwrap();
    assert_eq!(notice, json!({"push": {"message": {"data": {"breaker": "open"}}}}));
    let error = session.next().await.unwrap_err().to_string();
    assert!(error.contains("Again") || error.contains("1013"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_while_the_agent_is_dead() {
    let mut scripted = Scripted::start("").await;
    let ca = Authority::new("expiry");
    let world = &scripted.world;
    let bundle = ca.bundle(world, 1, Duration::from_secs(4));
    scripted.pairing.serve(bundle.clone()).await;
    let tls = tls(&ca.anchors()).unwrap();
    let mut talk = Talk::begin(world, &tls).await;
    assert_eq!(talk.publish(json!("before")).await, None);
    scripted.kill_agent().await;
    let world = &scripted.world;
    let told = breaker(world, "open").await;
    assert_eq!(told["breaker"]["causes"], json!(["expired"]));
    assert!(talk.publish(json!("after")).await.is_some());
    let seen = probe::handshake(&world.node_address().to_string(), "node.test", PATIENCE).await.unwrap();
    assert_eq!(seen.leaf_sha256, sha256(&bundle.chain[0]), "TLS is answered with the last one");
    // The agent is back with another: proven, and everything goes on.
    let mut node = scripted.again().await;
    let world = &scripted.world;
    node.serve(ca.bundle(world, 2, HOUR)).await;
    breaker(world, "closed").await;
    assert_eq!(talk.publish(json!("again")).await, None);
    assert_eq!(talk.all_has_come().await, ["open", "closed"]);
}

/// The clock of the node jumps by two days, as after a suspend.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_over_the_end_is_noticed() {
    let Some(library) = tools::faketime() else { return };
    let world = World::new();
    let clock = world.write("clock", "+0\n");
    let mut scripted = Scripted::start_with(world, "", |command| {
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &clock);
        // Waits are left alone: what is asked for is a step of the wall clock.
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    })
    .await;
    let (world, ca) = (&scripted.world, Authority::new("faketime"));
    scripted.pairing.serve(ca.bundle(world, 1, HOUR)).await;
    assert_eq!(status(world)["breaker"]["state"], "closed");
    world.write("clock", "+2d\n");
    let told = breaker(world, "open").await;
    assert_eq!(told["breaker"]["causes"], json!(["expired"]));
    // The clock is right again: a proof of the same leaf closes it.
    world.write("clock", "+0\n");
    breaker(world, "closed").await;
}

/// A node whose only staple ends in some seconds, with a grace of one, and a talk on it.
async fn stapled(policy: StaplePolicy, ca: &Authority) -> (Scripted, Talk, Bundle) {
    let mut scripted = Scripted::start("").await;
    let mut bundle = ca.bundle(&scripted.world, 1, HOUR);
    bundle.staple_policy = policy.into();
    bundle.staple_grace_s = 1;
    bundle.staple = ca.staple(&bundle, |answer| answer.next_update = Some(answer.this_update + 60 + 4));
    let proof = scripted.pairing.serve(bundle.clone()).await;
    assert_eq!(proof.staple_sha256, sha256(&bundle.staple));
    let mut talk = Talk::begin(&scripted.world, &tls(&ca.anchors()).unwrap()).await;
    assert_eq!(talk.publish(json!("before")).await, None);
    (scripted, talk, bundle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_staple_that_is_gone_for_longer_than_the_grace_halts_and_a_preferred_one_does_not() {
    let ca = Authority::new("stapled");
    // Its staple ends first: when the other has halted, this one would have long since.
    let (preferring, mut preferred_talk, _) = stapled(StaplePolicy::Prefer, &ca).await;
    let (mut requiring, mut talk, bundle) = stapled(StaplePolicy::Require, &ca).await;
    let told = breaker(&requiring.world, "open").await;
    assert_eq!(told["breaker"]["causes"], json!(["staple_stale"]));
    for world in [&preferring.world, &requiring.world] {
        let address = world.node_address().to_string();
        let seen = probe::handshake(&address, "node.test", PATIENCE).await.unwrap();
        assert_eq!(seen.staple, None);
    }
    assert_eq!(status(&preferring.world)["breaker"]["state"], "closed");
    assert_eq!(preferred_talk.publish(json!("still")).await, None);
    assert_eq!(preferred_talk.all_has_come().await, [] as [Value; 0]);

    assert!(talk.publish(json!("refused")).await.is_some());
    let response = ca.staple(&bundle, |_| {});
    let policy = StaplePolicy::Require.into();
    let staple = Staple { certificate: "web".into(), generation: 1, response, policy, grace_s: 1 };
    requiring.pairing.say(Body::Staple(staple)).await;
    assert!(matches!(requiring.pairing.answer().await, node_message::Body::Stapled(_)));
    breaker(&requiring.world, "closed").await;
    assert_eq!(talk.publish(json!("again")).await, None);
    assert_eq!(talk.all_has_come().await, ["open", "closed"]);
}
