//! `make bench-idle`: what a connection costs the node in memory while nothing happens, stage by stage.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use rustls::ClientConfig;
use sealwire_bench::{descriptors, token};
use sealwire_tests::process::Process;
use sealwire_tests::session::{self, Session};
use sealwire_tests::wire;
use sealwire_tests::world::{AgentSettings, World};
use serde_json::json;
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
    descriptors::allow(count + SPARE_DESCRIPTORS)?;
    println!("{count} connections; KiB resident for each, and what the stage adds");
    let node = Measured::start().await?;
    let sockets = open(count, || async { Ok(TcpStream::connect(node.address).await?) }).await?;
    let accepted = node.at_rest("accepted, no byte yet", 0.0, count).await;
    drop((sockets, node));
    let node = Measured::start().await?;
    let parked = open(count, || handshaken(node.address, &node.tls)).await?;
    let shaken = node.at_rest("TLS handshake done, no request yet", accepted, count).await;
    drop((parked, node));
    let node = Measured::start().await?;
    let sessions = Sessions::open(&node, count, "").await?;
    let connected = node.at_rest("session: upgraded, connect with a token answered", shaken, count).await;
    drop((sessions, node));
    let node = Measured::start().await?;
    let mut sessions = Sessions::open(&node, count, "news").await?;
    let subscribed = node.at_rest("session with one subscription", connected, count).await;
    tokio::time::sleep(PINGED).await;
    node.at_rest("the same after a ping and its answer", subscribed, count).await;
    sessions.all_are_open()?;
    drop(sessions);
    tokio::time::sleep(SETTLE).await;
    println!("that node once all are closed: {:.1} MiB", mib(node.process.resident_bytes()));
    Ok(())
}

/// Sessions that answer pings until they are dropped.
struct Sessions(JoinSet<Result<()>>);

impl Sessions {
    /// `channel` empty: without a subscription.
    async fn open(node: &Measured, count: u64, channel: &'static str) -> Result<Self> {
        let (ready, mut all_ready) = tokio::sync::mpsc::unbounded_channel();
        let one = || async {
            let mut session =
                Session::upgraded(node.address, Arc::clone(&node.tls), "/connection/websocket").await?;
            session.call("connect", json!({ "token": node.token })).await?;
            let ready = ready.clone();
            anyhow::Ok(async move {
                if !channel.is_empty() {
                    session.subscribe(channel).await?;
                }
                let _ = ready.send(());
                let pushed = session.next().await?;
                bail!("nothing was published, and {pushed} came");
            })
        };
        let mut tasks = JoinSet::new();
        let mut opening = stream::iter(0..count).map(|_| one()).buffer_unordered(OPENING);
        while let Some(session) = opening.try_next().await? {
            tasks.spawn(session);
        }
        for _ in 0..count {
            tokio::time::timeout(Duration::from_mins(1), all_ready.recv()).await.context("a subscription")?;
        }
        Ok(Self(tasks))
    }

    fn all_are_open(&mut self) -> Result<()> {
        self.0.try_join_next().transpose()?.transpose()?;
        Ok(())
    }
}

async fn handshaken(address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    wire::tls(tcp, "node.test", Arc::clone(tls)).await
}

async fn open<T, F: Future<Output = Result<T>>>(count: u64, one: impl Fn() -> F) -> Result<Vec<T>> {
    stream::iter(0..count).map(|_| one()).buffer_unordered(OPENING).try_collect().await
}

/// A fresh node: what the allocator keeps of one stage is not to be counted in the next.
struct Measured {
    process: Process,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
    /// What it holds without connections.
    base: u64,
    _agent: Process,
    _world: World,
}

impl Measured {
    async fn start() -> Result<Self> {
        let world = World::new();
        world.configure_agent(&AgentSettings::default());
        let (tokens, token) = token::required(&world)?;
        world.configure_node("node-1", 0, &world.delivery_socket(), &(tokens + CONFIG));
        let config = std::fs::read_to_string(world.path("node-1.toml"))?;
        world.write("node-1.toml", &config.replace("[listen]\n", LISTEN));
        let (agent, process) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let (address, tls) = (world.node_address(), session::tls(&world.roots().await.0)?);
        // What the first connections need and later ones use again is not theirs.
        drop(open(100, || handshaken(address, &tls)).await?);
        tokio::time::sleep(SETTLE).await;
        let base = process.resident_bytes();
        Ok(Self { process, address, tls, token, base, _agent: agent, _world: world })
    }

    /// KiB for each of the connections that are open now.
    async fn at_rest(&self, what: &str, before: f64, count: u64) -> f64 {
        tokio::time::sleep(SETTLE).await;
        let each = self.process.resident_bytes().saturating_sub(self.base) as f64 / 1024.0 / count as f64;
        println!("{each:8.2}  {:+8.2}  {what}", each - before);
        each
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
