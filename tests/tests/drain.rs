//! How a node stops: nobody new gets in, those who are in are moved at an even rate with what was promised to them, and
//! the log says what became of them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use sealwire_tests::eventually;
use sealwire_tests::process::Process;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::wire::{self, ask, code};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message};

async fn start(world: &World, drain: &str) -> (Process, Process) {
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), &format!("[drain]\n{drain}"));
    let started = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    started
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_moved_at_an_even_rate_and_lose_nothing() {
    const SESSIONS: usize = 100;
    let world = World::new();
    // One publishes as fast as it is answered.
    let limits = "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\nmessages_per_second = 0\n";
    let drain = &format!("delay = \"1s\"\nsessions_per_second = 50\nwindow = \"20s\"\n{limits}");
    let (_agent, mut node) = start(&world, drain).await;
    let tls = tls(&world.roots().await.0).unwrap();
    let mut reading = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap();
        session.subscribe("news").await.unwrap();
        reading.push(tokio::spawn(async move {
            let mut seen = 0;
            let end = loop {
                match session.next().await {
                    Ok(message) if message["push"]["pub"].is_object() => seen += 1,
                    Ok(_) => {}
                    Err(error) => break error.to_string(),
                }
            };
            (Instant::now(), seen, end)
        }));
    }
    let mut publisher = Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap();
    let tcp = TcpStream::connect(world.node_address()).await.unwrap();
    let stream = wire::tls(tcp, "node.test", Arc::clone(&tls)).await.unwrap();
    let url = format!("wss://{}/connection/websocket", world.node_address());
    // No command: what else it speaks is its own affair.
    let (mut raw, _) = ClientBuilder::new().uri(&url).unwrap().connect_on(stream).await.unwrap();

    let mut acknowledged = 0;
    node.terminate();
    let terminated = Instant::now();
    // For a second it only says that it goes.
    let admin = (world.address, 9090).into();
    eventually("not ready", PATIENCE, || async {
        (wire::admin(admin, "/readyz").await.ok()?.0 == 503).then_some(())
    })
    .await;
    let tcp = TcpStream::connect(world.node_address()).await.unwrap();
    let mut stream = wire::tls(tcp, "node.test", Arc::clone(&tls)).await.unwrap();
    let refused = ask(&mut stream, &wire::upgrade("node.test", "")).await.unwrap();
    assert!(code(&refused) == 503 && refused.to_lowercase().contains("retry-after: "), "{refused}");
    while terminated.elapsed() < Duration::from_millis(800) {
        let id = publisher.publish("news", json!({ "n": acknowledged })).await.unwrap();
        while publisher.next().await.unwrap()["id"] != id {}
        acknowledged += 1;
    }

    let mut ends = Vec::new();
    for reader in reading {
        let (at, seen, end) = reader.await.unwrap();
        assert!(end.contains("3001"), "{end}");
        assert_eq!(seen, acknowledged, "all that was acknowledged comes before the close");
        ends.push(at - terminated);
    }
    loop {
        let message = raw.next().await.unwrap().unwrap();
        if let Some((code, _)) = message.as_close() {
            assert_eq!(u16::from(code), 1012);
            break;
        }
    }
    let _ = raw.send(Message::close(None, "")).await;
    ends.sort();
    assert!(ends[0] >= Duration::from_secs(1), "nobody goes before the delay is over: {:?}", ends[0]);
    // 102 sessions at 50 in a second take two; each tenth of them about a tenth of that.
    let takes = *ends.last().unwrap() - ends[0];
    assert!(takes > Duration::from_millis(1700), "{takes:?}");
    let half = ends[SESSIONS / 2] - ends[0];
    assert!(half > takes / 4 && half < takes * 3 / 4, "{half:?} of {takes:?}");
    assert!(node.ended(PATIENCE).success(), "{}", node.log());
    let line = node.line("node stopped", PATIENCE);
    for part in ["sessions=102", "moved=102", "cut_off=0", "per_second=50"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_wins_over_the_rate_and_who_does_not_go_is_cut_off() {
    let world = World::new();
    let drain = "sessions_per_second = 1\nwindow = \"1s\"\ntimeout = \"1s\"\n";
    let (_agent, mut node) = start(&world, drain).await;
    let tls = tls(&world.roots().await.0).unwrap();
    let mut sessions = Vec::new();
    for _ in 0..20 {
        // They read nothing, and answer no close.
        sessions.push(Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap());
    }
    let started = Instant::now();
    node.terminate();
    assert!(node.ended(PATIENCE).success(), "{}", node.log());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let _warned = node.line("drain.window is too short", PATIENCE);
    let line = node.line("node stopped", PATIENCE);
    assert!(line.contains("sessions=20") && line.contains("per_second=20"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_now() {
    let world = World::new();
    let (_agent, mut node) = start(&world, "delay = \"1h\"\n").await;
    node.terminate();
    let _said = node.line("SIGTERM: stopping", PATIENCE);
    node.terminate();
    assert_eq!(node.ended(PATIENCE).code(), Some(1));
}
