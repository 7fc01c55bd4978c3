//! `make bench-handshake`: TLS handshakes in a second on one processor: our node, a bare accept loop of the same library,
//! Envoy, nginx, HAProxy and Node.js, by turns in one run. With `burst`: ten thousand connections at once. Further
//! arguments are parts of names: only those servers are measured.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sealwire_bench::handshake::{Kind, LOADER_CORE, Measured, OURS, Target, burst, measure, targets};
use sealwire_bench::sample::{millis, ratio};
use sealwire_bench::{cpu, descriptors};

/// Turns of each server, unless `SEALWIRE_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
/// Of each turn.
const TURN: Duration = Duration::from_secs(2);
/// Connections of a burst, unless `SEALWIRE_SESSIONS` says otherwise.
const BURST: usize = 10_000;
/// What a process needs besides.
const SPARE_DESCRIPTORS: u64 = 500;
/// From here on the loader may have been what was measured.
const SATURATED: f64 = 0.95;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    sealwire_proto::install_crypto_provider();
    cpu::stay_on(LOADER_CORE)?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let bursting = arguments.first().is_some_and(|first| first == "burst");
    let only = &arguments[usize::from(bursting)..];
    tokio::select! {
        ran = run(bursting, only) => ran,
        // What was started is ended by being dropped.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// `only`: of servers whose names hold one of these, if there are any.
async fn run(bursting: bool, only: &[String]) -> Result<ExitCode> {
    let count = number("SEALWIRE_SESSIONS", BURST)?;
    if bursting {
        descriptors::allow(count as u64 + SPARE_DESCRIPTORS)?;
    }
    let (mut targets, missing) = targets().await?;
    targets.retain(|target| only.is_empty() || only.iter().any(|part| target.name.contains(part)));
    if targets.is_empty() {
        bail!("no server is called like {only:?}");
    }
    for target in &targets {
        println!("{:<22} {}", target.name, target.negotiated);
    }
    let code = if bursting { all_at_once(&targets, count).await? } else { by_turns(&targets).await? };
    for (name, install) in missing {
        println!("*** {name} NOT MEASURED: it is not installed: {install} ***");
    }
    Ok(code)
}

async fn by_turns(targets: &[Target]) -> Result<ExitCode> {
    let (rounds, mut sound) = (number("SEALWIRE_ROUNDS", ROUNDS)?, true);
    for (kind, title) in [
        (Kind::Full, "full handshakes"),
        (Kind::Resumed, "resumed handshakes (TLS 1.3 ticket, X25519)"),
        (Kind::Upgraded, "full handshakes with the upgrade to a session; ours checks an ES256 token"),
    ] {
        let targets: Vec<_> =
            targets.iter().filter(|target| kind != Kind::Upgraded || target.upgrade.is_some()).collect();
        let mut all = vec![Measured::default(); targets.len()];
        for _ in 0..rounds {
            for (target, measured) in targets.iter().zip(&mut all) {
                measured.add(measure(target, kind, TURN).await?);
            }
        }
        println!("\n{title}; {rounds} turns of {TURN:?} each");
        println!(
            "{:<22} {:>9} {:>10} {:>9} {:>10} {:>10} {:>8} {:>7}",
            "", "each s", "ours x", "server us", "p50", "p99", "CPU x", "loader"
        );
        for (target, measured) in targets.iter().zip(&all) {
            print(target.name, measured, &all[0]);
        }
        // A ticket of ours that is not taken is a defect, not a result.
        sound &=
            targets.iter().zip(&all).all(|(target, measured)| target.name != OURS || measured.others == 0);
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(name: &str, measured: &Measured, ours: &Measured) {
    let sample = measured.sample();
    let busy = measured.loader_busy();
    println!(
        "{name:<22} {:>9.0} {:>10.2} {:>9.1} {:>10} {:>10} {:>8.2} {:>6.0}%{}",
        measured.rate(),
        ours.rate() / measured.rate(),
        measured.each().as_secs_f64() * 1e6,
        millis(sample.median()),
        millis(sample.p99()),
        ratio(measured.each(), ours.each()),
        busy * 100.0,
        if busy > SATURATED { " saturated: go by the server's time" } else { "" }
    );
    if measured.others > 0 {
        println!("  {} of these were full: no ticket came, or none was taken", measured.others);
    }
}

async fn all_at_once(targets: &[Target], count: usize) -> Result<ExitCode> {
    println!("\n{count} connections begun at once, each held until all are done; from the start of all");
    println!("{:<22} {:>9} {:>7} {:>10} {:>10} {:>10}", "", "accepted", "failed", "p50", "p99", "last");
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        let burst = burst(target, count).await.context(target.name)?;
        let took = &burst.took;
        let (p50, p99, last) = (millis(took.median()), millis(took.p99()), millis(took.max()));
        println!(
            "{:<22} {:>9} {:>7} {p50:>10} {p99:>10} {last:>10}",
            target.name,
            took.len(),
            burst.failed.len()
        );
        if let Some(error) = burst.failed.first() {
            println!("  the first that failed: {error}");
            if target.name == OURS {
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn number(variable: &str, default: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => bail!("{variable}={text}: a number above zero is needed"),
        },
        Err(_) => Ok(default),
    }
}
