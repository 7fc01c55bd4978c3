//! `make bench-swap`: swaps under load. One node, thousands of open sessions, full handshakes at full rate: what
//! twenty renewals do to handshakes, sessions and publications, next to the same run without them.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sealwire_bench::descriptors;
use sealwire_bench::prober::{Handshakes, Prober, Seen};
use sealwire_bench::sample::{Sample, millis, ratio};
use sealwire_bench::sessions::{GROUP, Sessions};
use sealwire_bench::windows::{Window, begun_in, ratio_of_neighbours, under_way_in};
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use sealwire_tests::load::Summary;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::World;
use tonic::transport::Channel;

const SWAPS: usize = 20;
/// With a swap at its beginning, and without: one after the other.
const WINDOW: Duration = Duration::from_millis(1500);
/// Handshakes before the first window: both sides get warm.
const WARM_UP: Duration = Duration::from_secs(3);
/// Descriptors of the node besides those of sessions.
const SPARE_DESCRIPTORS: u64 = 500;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let sessions = number("SEALWIRE_SESSIONS", 5000)?;
    let loops = usize::try_from(number("SEALWIRE_LOOPS", 4)?)?;
    descriptors::allow(sessions + sessions / GROUP + SPARE_DESCRIPTORS)?;
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let (anchors, roots) = world.roots().await;
    let prober = Prober::new(world.node_address(), "node.test", &anchors)?;
    let mut admin = world.admin().await;

    let started = Instant::now();
    let open = Sessions::open(world.node_address(), &roots, sessions);
    println!(
        "{sessions} sessions in groups of {GROUP} opened in {:.1} s; {loops} loops of full handshakes",
        started.elapsed().as_secs_f64()
    );
    let (handshakes, mut seen) = Handshakes::start(&prober, loops);
    tokio::time::sleep(WARM_UP).await;
    let run = run(&mut admin).await?;
    handshakes.stop().await;
    let mut all = Vec::new();
    while let Some(one) = seen.recv().await {
        all.push(one);
    }
    let node = world.status().await.context("the agent does not answer")?.nodes.pop();
    let node = node.context("the node is not paired")?;
    let summary = open.close()?;

    print_handshakes(&run, &all);
    Ok(print_losses(&run, &all, summary, sessions, node.handshake_failures))
}

/// What was done, and when.
#[derive(Default)]
struct Run {
    with: Vec<Window>,
    without: Vec<Window>,
    /// From the order to the last proof.
    renewals: Vec<Window>,
    proven: usize,
}

async fn run(admin: &mut AdminServiceClient<Channel>) -> Result<Run> {
    let mut run = Run::default();
    for _ in 0..SWAPS {
        let from = Instant::now();
        tokio::time::sleep(WINDOW).await;
        let middle = Instant::now();
        let renewal = Renewal::follow(admin, false).await?;
        run.proven += usize::from(renewal.is_done());
        tokio::time::sleep_until((middle + WINDOW).into()).await;
        run.without.push(Window { from, to: middle });
        run.renewals.push(Window { from: middle, to: renewal.ended });
        run.with.push(Window { from: middle, to: Instant::now() });
    }
    Ok(run)
}

fn print_handshakes(run: &Run, all: &[Seen]) {
    println!("{:<38} {:>9} {:>9} {:>10} {:>10} {:>10}", "handshakes", "number", "per s", "p50", "p99", "max");
    let seconds = |windows: &[Window]| -> f64 {
        windows.iter().map(|window| (window.to - window.from).as_secs_f64()).sum()
    };
    let print = |what: &str, sample: &Sample, seconds: f64| {
        println!(
            "{what:<38} {:>9} {:>9.0} {:>10} {:>10} {:>10}",
            sample.len(),
            sample.len() as f64 / seconds,
            millis(sample.median()),
            millis(sample.p99()),
            millis(sample.max())
        );
    };
    let (without, with) = (begun_in(&run.without, all), begun_in(&run.with, all));
    print("without swaps", &without, seconds(&run.without));
    print(&format!("with a swap every {WINDOW:?}"), &with, seconds(&run.with));
    print("of these, while the renewal ran", &under_way_in(&run.renewals, all), seconds(&run.renewals));
    let neighbours = |part| ratio_of_neighbours(&run.with, &run.without, all, part);
    println!(
        "with over without: p50 {:.2}, p99 {:.2} (goal: at most 1.2); of neighbouring windows: p50 {:.2}, p99 {:.2}",
        ratio(with.median(), without.median()),
        ratio(with.p99(), without.p99()),
        neighbours(0.5),
        neighbours(0.99)
    );
}

/// What must be zero, and whether it is.
fn print_losses(run: &Run, all: &[Seen], sum: Summary, sessions: u64, node_failures: u64) -> ExitCode {
    let failures: Vec<&String> = all.iter().filter_map(|seen| seen.leaf.as_ref().err()).collect();
    let leaves: HashSet<_> = all.iter().filter_map(|seen| seen.leaf.as_ref().ok()).collect();
    println!("swaps proven         {:>8}   of {SWAPS}; leaves seen: {}", run.proven, leaves.len());
    println!(
        "failed handshakes    {:>8}   of {}; by the node's count: {node_failures}",
        failures.len(),
        all.len()
    );
    println!("lost sessions        {:>8}   of {sessions}", sessions - sum.kept);
    println!(
        "lost publications    {:>8}   of {} to {GROUP} sessions each; out of order: {}",
        sum.lost, sum.published, sum.disordered
    );
    if let Some(first) = failures.first() {
        println!("the first failure: {first}");
    }
    let good = run.proven == SWAPS
        && leaves.len() == SWAPS + 1
        && failures.is_empty()
        && node_failures == 0
        && sum == Summary { kept: sessions, published: sum.published, lost: 0, disordered: 0 };
    println!("{}", if good { "Nothing was lost." } else { "SOMETHING WAS LOST: see above." });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(default),
    }
}
