//! `make bench-fanout`: publications to many subscribers over TLS: our node, npm's `ws`, Bun, Centrifugo and NATS, by turns
//! in one run, on the same cores.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sealwire_bench::descriptors;
use sealwire_bench::fanout::{MAP_NAMESPACES, Peer, Shape, Stage, Storm, Table, map, storm};
use sealwire_bench::sample::{Sample, millis, ratio};

/// One publication to all.
const THOUSAND: Shape = Shape { channels: 1, subscribers: 1000 };
const TEN_THOUSAND: Shape = Shape { channels: 1, subscribers: 10_000 };
const MANY_CHANNELS: Shape = Shape { channels: 1000, subscribers: 10 };
/// Deliveries in a second that every server can do.
const COMMON: f64 = 50_000.0;
/// Under way at once, in publications to a thousand.
const FEW: u64 = 4;
const MANY: u64 = 64;
/// Clients of a storm, and publications that each missed.
const STORM: usize = 5000;
const MISSED: u64 = 20;
/// Of a map, and those that change while a client is away.
const KEYS: usize = 10_000;
const CHANGED: usize = 1000;
/// Of this process and of each server, besides those of subscribers.
const SPARE_DESCRIPTORS: u64 = 500;

#[tokio::main]
async fn main() -> Result<()> {
    sealwire_proto::install_crypto_provider();
    tokio::select! {
        ran = run() => ran,
        // What was started is ended by being dropped.
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// What is measured, and for how long.
struct Plan {
    peers: Vec<Peer>,
    rounds: u64,
    stretch: Duration,
    parts: Vec<String>,
    missing: BTreeSet<Peer>,
}

impl Plan {
    fn read() -> Result<Self> {
        let named = std::env::var("SEALWIRE_PEERS").unwrap_or_default().to_lowercase();
        let is_named = |peer: &Peer| named.is_empty() || peer.name().to_lowercase().contains(&named);
        let peers: Vec<Peer> = Peer::ALL.into_iter().filter(is_named).collect();
        ensure!(!peers.is_empty(), "SEALWIRE_PEERS names none of {:?}", Peer::ALL);
        let parts = std::env::var("SEALWIRE_FANOUT").unwrap_or_default();
        Ok(Self {
            peers,
            rounds: number("SEALWIRE_ROUNDS", 3)?,
            stretch: Duration::from_secs(number("SEALWIRE_SECONDS", 4)?),
            parts: parts.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            missing: BTreeSet::new(),
        })
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// A server with its subscribers; `None`, and remembered, if it is not installed.
    async fn stage(&mut self, peer: Peer, shape: Shape) -> Result<Option<Stage>> {
        match peer.start("").await.with_context(|| peer.name())? {
            Some(server) => Stage::open(server, shape).await.with_context(|| peer.name()).map(Some),
            None => {
                self.missing.insert(peer);
                Ok(None)
            }
        }
    }
}

async fn run() -> Result<()> {
    let mut plan = Plan::read()?;
    descriptors::allow(TEN_THOUSAND.all() as u64 + SPARE_DESCRIPTORS)?;
    println!("{} rounds by turns, {:?} for each number; medians", plan.rounds, plan.stretch);
    if plan.wants("thousand") {
        thousand(&mut plan).await?;
    }
    if plan.wants("channels") {
        crowded(&mut plan, MANY_CHANNELS, "1,000 channels with 10 subscribers each").await?;
    }
    if plan.wants("ten-thousand") {
        crowded(&mut plan, TEN_THOUSAND, "one channel with 10,000 subscribers").await?;
    }
    if plan.wants("slow") {
        slow(&mut plan).await?;
    }
    if plan.wants("storm") {
        recovery(&mut plan).await?;
    }
    if plan.wants("map") {
        keys(&plan).await?;
    }
    for peer in &plan.missing {
        println!("*** {} NOT MEASURED: it is not installed: {} ***", peer.name(), peer.install());
    }
    Ok(())
}

async fn thousand(plan: &mut Plan) -> Result<()> {
    let [mut few, mut many, mut half, mut common] = [(); 4].map(|()| Table::default());
    for _ in 0..plan.rounds {
        for peer in plan.peers.clone() {
            let Some(mut stage) = plan.stage(peer, THOUSAND).await? else { continue };
            let run = stage.saturated(FEW, plan.stretch).await.with_context(|| peer.name())?;
            few.add(peer, run);
            many.add(peer, stage.saturated(MANY, plan.stretch).await.with_context(|| peer.name())?);
            half.add(
                peer,
                stage.paced(run.per_second / 2.0, plan.stretch).await.with_context(|| peer.name())?,
            );
            common.add(peer, stage.paced(COMMON, plan.stretch).await.with_context(|| peer.name())?);
        }
    }
    println!("\n1 publisher, 1,000 subscribers, {FEW} publications under way\n{few}");
    println!("the same with {MANY} under way\n{many}");
    println!("the same at half of the rate that each reached with {FEW}\n{half}");
    println!("the same at {COMMON} deliveries in a second\n{common}");
    Ok(())
}

async fn crowded(plan: &mut Plan, shape: Shape, what: &str) -> Result<()> {
    let [mut few, mut common] = [(); 2].map(|()| Table::default());
    for _ in 0..plan.rounds {
        for peer in plan.peers.clone() {
            let Some(mut stage) = plan.stage(peer, shape).await? else { continue };
            let thousands = FEW * (shape.subscribers as u64).div_ceil(1000);
            few.add(peer, stage.saturated(thousands, plan.stretch).await.with_context(|| peer.name())?);
            common.add(peer, stage.paced(COMMON, plan.stretch).await.with_context(|| peer.name())?);
        }
    }
    println!("\n{what}, {} deliveries under way\n{few}", shape.subscribers.max(1000) as u64 * FEW);
    println!("the same at {COMMON} deliveries in a second\n{common}");
    Ok(())
}

async fn slow(plan: &mut Plan) -> Result<()> {
    let [mut without, mut with] = [(); 2].map(|()| Table::default());
    // Long enough for two guests.
    let stretch = plan.stretch.max(Duration::from_secs(8));
    for _ in 0..plan.rounds {
        for peer in plan.peers.clone() {
            let Some(mut stage) = plan.stage(peer, THOUSAND).await? else { continue };
            let run = stage.beside_guest(true, COMMON, stretch).await.with_context(|| peer.name())?;
            without.add(peer, run);
            let before = stage.resident_bytes();
            let run = stage.beside_guest(false, COMMON, stretch).await.with_context(|| peer.name())?;
            with.add(peer, run);
            let grown = stage.resident_bytes().saturating_sub(before) / 1024 / 1024;
            println!("{}: {grown} MiB more after the guest that does not read", peer.name());
        }
    }
    println!(
        "\n1,000 fast subscribers at {COMMON} deliveries in a second, beside one on another channel with 3.2 MB/s, which reads\n{without}"
    );
    println!("the same, and it does not read\n{with}");
    for peer in &plan.peers {
        if let (Some(with), Some(without)) = (with.of(*peer), without.of(*peer)) {
            println!("{:<20} p99 {:.2} times", peer.name(), ratio(with.p99, without.p99));
        }
    }
    Ok(())
}

async fn recovery(plan: &mut Plan) -> Result<()> {
    println!("\n{STORM} clients come back at once, each to {MISSED} publications that it missed");
    println!(
        "{:<20} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7}",
        "", "server us", "loader us", "p50", "p99", "last", "failed"
    );
    for _ in 0..plan.rounds {
        for peer in [Peer::Sealwire, Peer::Centrifugo].into_iter().filter(|peer| plan.peers.contains(peer)) {
            let Some(server) = peer.start("").await? else {
                plan.missing.insert(peer);
                continue;
            };
            let Storm { back, failed, server, loader } =
                storm(&server, STORM, MISSED).await.with_context(|| peer.name())?;
            let [server, loader] = [server, loader].map(|time| time.as_secs_f64() * 1e6);
            let [p50, p99, last] = [back.median(), back.p99(), back.max()].map(millis);
            println!(
                "{:<20} {server:>10.0} {loader:>10.0} {p50:>10} {p99:>10} {last:>10} {failed:>7}",
                peer.name()
            );
        }
    }
    Ok(())
}

async fn keys(plan: &Plan) -> Result<()> {
    let Some(server) = Peer::Sealwire.start(MAP_NAMESPACES).await? else { return Ok(()) };
    let times = usize::try_from(plan.rounds * 10)?;
    let measured = map(&server, KEYS, CHANGED, times).await?;
    println!(
        "\na map of {KEYS} keys with 128 bytes each: set at {:.0} in a second",
        measured.sets_per_second
    );
    let print = |what: &str, sample: &Sample, server: Duration| {
        let [p50, p99, server] = [sample.median(), sample.p99(), server].map(millis);
        println!("{what:<44} p50 {p50}, p99 {p99}, {server} of the server's processor time");
    };
    print("all of them, from connect to live", &measured.snapshot, measured.snapshot_server);
    let what = format!("{CHANGED} missed changes, from connect to live");
    print(&what, &measured.catch_up, measured.catch_up_server);
    Ok(())
}

fn number<N: FromStr<Err: std::fmt::Display>>(name: &str, or: N) -> Result<N> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| anyhow!("{name}: {error}")),
        Err(_) => Ok(or),
    }
}
