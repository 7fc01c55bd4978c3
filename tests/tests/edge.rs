//! What strangers do to a listener: hold connections open, flood it, send too much. Each has its exact answer, those who
//! are in are served meanwhile, and memory comes back.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealwire_tests::eventually;
use sealwire_tests::process::Process;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::talk::Talk;
use sealwire_tests::wire::{self, ask, code, connect_from, head};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No limit of a single client: everything here comes from this machine.
const UNLIMITED: &str = "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n\
                         unauthenticated = 0\nmessages_per_second = 0\n";

async fn start(world: &World, extra: &str) -> (Process, Process) {
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), extra);
    let started = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    started
}

/// `[listen]` and `[admin]` are written by the harness already.
fn with_listen(world: &World, lines: &str) {
    let path = world.path("node-1.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace("[listen]\n", &format!("[listen]\n{lines}"))).unwrap();
}

async fn start_listening(world: &World, listen: &str, extra: &str) -> (Process, Process) {
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), extra);
    with_listen(world, listen);
    // With a heap for each thread (glibc), how much it holds would depend on which thread did what.
    let mut node = world.node_command("node-1");
    let started = (world.start_agent(), Process::start("node-1", node.env("MALLOC_ARENA_MAX", "1")));
    world.proven().await;
    started
}

/// Reads to the end, which must come; how long it took.
async fn time_to_end(tcp: &mut TcpStream, started: Instant) -> Duration {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut rest)).await;
    // Cut or reset: either is an end.
    let _ = ended.expect("the node closes it");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_and_slow_requests_end_at_their_limits() {
    let world = World::new();
    let limits = "handshake_timeout = \"2s\"\nhead_timeout = \"1s\"\n";
    let (_agent, node) = start_listening(&world, limits, UNLIMITED).await;
    let (anchors, _) = world.roots().await;

    // One byte of a ClientHello at a time never gets further than the limit.
    let started = Instant::now();
    let mut tcp = TcpStream::connect(world.node_address()).await.unwrap();
    let (mut read, mut write) = tcp.split();
    let drip = async {
        for byte in [22, 3, 1, 2, 0].into_iter().chain(std::iter::repeat(1)) {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = read.read_to_end(&mut rest) => {}
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(10), "{took:?}");
    let line = node.line("reason=\"timeout\"", PATIENCE);
    assert!(line.contains("peer=127.") && line.contains("2s"), "{line}");

    // A request that never ends.
    let tcp = TcpStream::connect(world.node_address()).await.unwrap();
    let mut stream = wire::tls(tcp, "node.test", tls(&anchors).unwrap()).await.unwrap();
    let started = Instant::now();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let drip = async {
        for byte in b"GET /connection/websocket HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            let said = async {
                write.write_all(&[*byte]).await?;
                write.flush().await
            };
            if said.await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = drip => {}
        answered = head(&mut read) => if let Ok(head) = answered { assert_eq!(code(&head), 408, "{head}") },
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_told_so() {
    let world = World::new();
    let (_agent, _node) = start(&world, UNLIMITED).await;
    let tls = tls(&world.roots().await.0).unwrap();
    let connect = || async {
        let tcp = TcpStream::connect(world.node_address()).await.unwrap();
        wire::tls(tcp, "node.test", Arc::clone(&tls)).await.unwrap()
    };
    let long = wire::upgrade("node.test", &format!("X-Long: {}\r\n", "x".repeat(10_000)));
    assert_eq!(code(&ask(&mut connect().await, &long).await.unwrap()), 431);
    let many: String = (0..70).map(|number| format!("X-{number}: x\r\n")).collect();
    assert_eq!(code(&ask(&mut connect().await, &wire::upgrade("node.test", &many)).await.unwrap()), 431);
    let fits = wire::upgrade("node.test", &format!("X-Long: {}\r\n", "x".repeat(7_000)));
    assert_eq!(code(&ask(&mut connect().await, &fits).await.unwrap()), 101);
}

/// Connections that begin a handshake and do not go on, from many addresses of this machine.
async fn half_open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        // 64 addresses: none is the node's own or that of the other clients.
        let source = IpAddr::V4(Ipv4Addr::new(127, 9, 9, (number % 64) as u8 + 1));
        let mut tcp = connect_from(source, address).await.unwrap();
        tcp.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        open.push(tcp);
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_half_open_handshakes_hold_up_nobody_and_cost_nothing_in_the_end() {
    const FLOOD: usize = 10_000;
    /// While both sides of the flood and the sessions share the processors.
    const SERVED_WITHIN: Duration = Duration::from_secs(5);
    let world = World::new();
    let (_agent, node) = start_listening(&world, "handshake_timeout = \"15s\"\n", UNLIMITED).await;
    let tls = tls(&world.roots().await.0).unwrap();
    let mut talk = Talk::begin(&world, &tls).await;
    let mut heights = Vec::new();
    for round in 0..3 {
        let before = node.resident_bytes();
        let flood = tokio::spawn(half_open(world.node_address(), FLOOD));
        let mut slowest = Duration::ZERO;
        while !flood.is_finished() {
            let started = Instant::now();
            assert_eq!(talk.publish(json!("still there")).await, None);
            talk.all_has_come().await;
            slowest = slowest.max(started.elapsed());
        }
        let mut flood = flood.await.unwrap();
        // New clients get in as well.
        let started = Instant::now();
        Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap().close().await;
        slowest = slowest.max(started.elapsed());
        assert!(slowest < SERVED_WITHIN, "round {round}: {slowest:?}");
        let during = node.resident_bytes();
        // All of them are cut at their limit; those who are in are served until then.
        let ended = tokio::spawn(async move {
            let started = Instant::now();
            for tcp in &mut flood {
                time_to_end(tcp, started).await;
            }
        });
        while !ended.is_finished() {
            assert_eq!(talk.publish(json!("still there")).await, None);
            talk.all_has_come().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ended.await.unwrap();
        let after = node.resident_bytes();
        eprintln!("round {round}: {before} -> {during} -> {after} bytes, slowest answer {slowest:?}");
        // A socket, a small task and its timer each: nothing of TLS before there is a ClientHello.
        // What is left of the flood before may be given back only during this one.
        let each = during.saturating_sub(before) / FLOOD as u64;
        assert!(each < 4096, "{each} bytes each");
        heights.push(during);
    }
    eventually("all were counted", PATIENCE, || async {
        let counters = wire::counters((world.address, 9090).into()).await.ok()?;
        (counters["handshake_failures"]["timeout"].as_u64()? == 3 * FLOOD as u64).then_some(())
    })
    .await;
    // The allocator keeps what the first flood made it ask for; no further one makes it more. How much of it is given back
    // in between depends on what lies at the end of the heap, so floods are compared at their height.
    let (first, last) = (heights[0], heights[2]);
    assert!(last < first + first / 10, "{heights:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_limits_is_reset_before_tls_and_others_are_not() {
    let world = World::new();
    let limits = "[limits]\nhandshakes_per_ip = 4\naccepts_per_second_per_ip = 5\naccepts_burst_per_ip = 8\n\
                  unauthenticated = 30\n";
    let (_agent, node) = start(&world, limits).await;
    let tls = tls(&world.roots().await.0).unwrap();
    let admin = (world.address, 9090).into();
    let far = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 9, 8, last));

    // Loopback is this machine: over its limits it gets places for proofs, and no session in them.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connect_from(far(1), world.node_address()).await.unwrap());
    }
    let fifth = connect_from(far(1), world.node_address()).await.unwrap();
    let mut fifth = wire::tls(fifth, "node.test", Arc::clone(&tls)).await.unwrap();
    let refused = ask(&mut fifth, &wire::upgrade("node.test", "")).await.unwrap();
    assert_eq!(code(&refused), 503, "{refused}");
    // Another client is not concerned.
    let other = connect_from(far(2), world.node_address()).await.unwrap();
    let mut other = wire::tls(other, "node.test", Arc::clone(&tls)).await.unwrap();
    assert_eq!(code(&ask(&mut other, &wire::upgrade("node.test", "")).await.unwrap()), 101);
    drop((held, fifth));

    // More than there are places for proofs: the rest is reset.
    let mut resets = 0;
    let mut all = Vec::new();
    for _ in 0..40 {
        match connect_from(far(3), world.node_address()).await {
            Ok(tcp) => all.push(tcp),
            // It came before our side had looked.
            Err(_) => resets += 1,
        }
    }
    for tcp in &mut all {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(200), tcp.read(&mut byte)).await;
        if let Ok(Err(error)) = read {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            resets += 1;
        }
    }
    assert!(resets >= 40 - 4 - 16, "{resets}");
    let counters = wire::counters(admin).await.unwrap();
    assert!(counters["turned_away"].as_u64().unwrap() >= resets, "{counters}");
    let line = node.line("handshakes_per_ip", PATIENCE);
    assert!(line.contains("limit_reached") && line.contains("127.9.8.3"), "{line}");
    assert_eq!(node.count("127.9.8.3"), 1, "a flood is told of once:\n{}", node.log());
    drop(all);
    eventually("the places are free again", PATIENCE, || async {
        let tcp = connect_from(far(4), world.node_address()).await.ok()?;
        let mut stream = wire::tls(tcp, "node.test", Arc::clone(&tls)).await.ok()?;
        let answer = ask(&mut stream, &wire::upgrade("node.test", "")).await.ok()?;
        (code(&answer) == 101).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_client_are_limited() {
    let world = World::new();
    let (_agent, _node) =
        start(&world, "[limits]\nsessions_per_ip = 2\naccepts_per_second_per_ip = 0\n").await;
    let tls = tls(&world.roots().await.0).unwrap();
    let first = Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap();
    let _second = Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap();
    let open = |last: u8| {
        let (tls, address) = (Arc::clone(&tls), world.node_address());
        async move {
            let tcp = connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), address).await.unwrap();
            let mut stream = wire::tls(tcp, "node.test", tls).await.unwrap();
            ask(&mut stream, &wire::upgrade("node.test", "")).await.unwrap()
        }
    };
    let refused = open(1).await;
    assert_eq!(code(&refused), 429, "{refused}");
    assert!(refused.to_lowercase().contains("\r\nretry-after: "), "{refused}");
    assert_eq!(code(&open(2).await), 101, "another address is another client");
    first.close().await;
    eventually("a place is free again", PATIENCE, || async { (code(&open(1).await) == 101).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_gets_its_alert_or_the_default() {
    let world = World::new();
    let (_agent, mut node) = start(&world, UNLIMITED).await;
    let config = tls(&world.roots().await.0).unwrap();
    let connect = || async {
        let tcp = TcpStream::connect(world.node_address()).await.unwrap();
        wire::tls(tcp, "other.example", Arc::clone(&config)).await.unwrap_err().to_string()
    };
    let error = connect().await;
    assert!(error.contains("UnrecognisedName"), "{error}");
    let line = node.line("unknown_sni", PATIENCE);
    assert!(line.contains("other.example") && line.contains("peer=127."), "{line}");
    node.terminate();
    assert!(node.ended(PATIENCE).success());
    with_listen(&world, "unknown_sni = \"default\"\n");
    let _node = world.start_node("node-1");
    eventually("the default is served", PATIENCE, || async {
        let tcp = TcpStream::connect(world.node_address()).await.ok()?;
        let error = wire::tls(tcp, "other.example", Arc::clone(&config)).await.err()?.to_string();
        error.contains("not valid for name").then_some(())
    })
    .await;
}
