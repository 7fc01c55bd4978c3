//! `make bench-idle`: what a connection costs the node in memory while nothing happens, stage by stage.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use sealwire_tests::eventually;
use sealwire_tests::process::Process;
use sealwire_tests::session::{self, Session};
use sealwire_tests::wire;
use sealwire_tests::world::{AgentSettings, World};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

/// Connections that are opened at the same time.
const OPENING: usize = 32;
/// What a process needs besides.
const SPARE_DESCRIPTORS: u64 = 500;
/// After each stage, for what is still under way to end.
const SETTLE: Duration = Duration::from_secs(3);
/// The node's `session.ping_interval`, and its `pong_timeout` as well: after that every session was pinged.
const PINGED: Duration = Duration::from_secs(25 + 8);
/// All limits of a client are off: all clients here are one. The deadlines of handshake and request are far away: those
/// stages are measured at rest too.
const CONFIG: &str = "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n\
                      unauthenticated = 0\n[log]\nlevel = \"warn\"\n";
const LISTEN: &str =
    "[listen]\nmax_connections = 60000\nhandshake_timeout = \"20m\"\nhead_timeout = \"20m\"\n";

#[tokio::main]
async fn main() -> Result<()> {
    let count = match std::env::var("SEALWIRE_SESSIONS") {
        Ok(text) => text.parse().context("SEALWIRE_SESSIONS")?,
        Err(_) => 10_000,
    };
    allow_descriptors(count + SPARE_DESCRIPTORS)?;
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), CONFIG);
    let config = std::fs::read_to_string(world.path("node-1.toml"))?;
    world.write("node-1.toml", &config.replace("[listen]\n", LISTEN));
    let (_agent, node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let tls = session::tls(&world.roots().await.0)?;
    let address = world.node_address();
    // What the first connections need and later ones use again is not theirs.
    drop(open(100, || Session::open(address, Arc::clone(&tls))).await?);

    tokio::time::sleep(SETTLE).await;
    let node = Measured { base: node.resident_bytes(), node };
    println!("the node alone: {:.1} MiB", node.base as f64 / 1_048_576.0);
    println!("{count} connections; KiB resident for each, and what the stage adds");
    let sockets = open(count, || async { Ok(TcpStream::connect(address).await?) }).await?;
    let accepted = node.at_rest("accepted, no byte yet", 0.0, count).await;
    drop(sockets);
    let parked = open(count, || handshaken(address, &tls)).await?;
    let shaken = node.at_rest("TLS handshake done, no request yet", accepted, count).await;
    drop(parked);
    let sessions = open(count, || Session::open(address, Arc::clone(&tls))).await?;
    let connected = node.at_rest("session: upgraded, connect answered", shaken, count).await;
    let answered = Arc::<AtomicU64>::default();
    let mut reading = JoinSet::new();
    for mut session in sessions {
        let answered = Arc::clone(&answered);
        reading.spawn(async move {
            let _subscribed = session.subscribe("news").await;
            answered.fetch_add(1, Ordering::Relaxed);
            // Answers pings until it is aborted.
            let _end = session.next().await;
        });
    }
    eventually("all are subscribed", Duration::from_mins(5), || async {
        (answered.load(Ordering::Relaxed) == count).then_some(())
    })
    .await;
    let subscribed = node.at_rest("session with one subscription", connected, count).await;
    tokio::time::sleep(PINGED).await;
    node.at_rest("the same after a ping and its answer", subscribed, count).await;
    ensure!(reading.try_join_next().is_none(), "a session ended");
    reading.abort_all();
    while reading.join_next().await.is_some() {}
    tokio::time::sleep(SETTLE).await;
    println!("all closed: {:.1} MiB", node.node.resident_bytes() as f64 / 1_048_576.0);
    Ok(())
}

async fn handshaken(address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    wire::tls(tcp, "node.test", Arc::clone(tls)).await
}

async fn open<T, F: Future<Output = Result<T>>>(count: u64, one: impl Fn() -> F) -> Result<Vec<T>> {
    stream::iter(0..count).map(|_| one()).buffer_unordered(OPENING).try_collect().await
}

/// The node, and what it holds without connections.
struct Measured {
    node: Process,
    base: u64,
}

impl Measured {
    /// KiB for each of the connections that are open now.
    async fn at_rest(&self, what: &str, before: f64, count: u64) -> f64 {
        tokio::time::sleep(SETTLE).await;
        let each = self.node.resident_bytes().saturating_sub(self.base) as f64 / 1024.0 / count as f64;
        println!("{each:8.2}  {:+8.2}  {what}", each - before);
        each
    }
}

/// Raises the soft limit of open files, which processes started from here inherit.
fn allow_descriptors(needed: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    ensure!(
        maximum.is_none_or(|most| most >= needed),
        "ulimit -Hn is too low: {needed} open files are needed"
    );
    if current.is_some_and(|now| now < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })?;
    }
    Ok(())
}
