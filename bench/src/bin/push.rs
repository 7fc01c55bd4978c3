//! `make bench-push`: from the hand-over of a new certificate to the first handshake that sees it: our agent and
//! node, HAProxy's runtime API, Envoy by SDS and a reload of nginx, by turns in one run, watched by one prober.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealwire_bench::push::{Envoy, Haproxy, Nginx, Peer, Sealwire, Took, measure};
use sealwire_bench::sample::{Sample, millis, ratio};

/// Pushes to each server that count, unless `SEALWIRE_PUSHES` says otherwise.
const ROUNDS: usize = 100;
/// Before them: caches, and servers that have never had a push.
const WARM_UP: usize = 2;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    sealwire_proto::install_crypto_provider();
    tokio::select! {
        ran = run() => ran,
        // What was started is ended by being dropped.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn run() -> Result<ExitCode> {
    let rounds = match std::env::var("SEALWIRE_PUSHES") {
        Ok(text) => text.parse().context("SEALWIRE_PUSHES")?,
        Err(_) => ROUNDS,
    };
    ensure!(rounds > 0, "SEALWIRE_PUSHES=0 measures nothing");
    let mut missing = Vec::new();
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Sealwire::start().await?)];
    match Haproxy::start().await? {
        Some(haproxy) => peers.push(Box::new(haproxy)),
        None => missing.push(("HAProxy", Haproxy::INSTALL)),
    }
    match Envoy::start().await? {
        Some(envoy) => peers.push(Box::new(envoy)),
        None => missing.push(("Envoy", Envoy::INSTALL)),
    }
    match Nginx::start().await? {
        Some(nginx) => peers.push(Box::new(nginx)),
        None => missing.push(("nginx", Nginx::INSTALL)),
    }
    let mut took: Vec<Vec<Took>> = vec![Vec::new(); peers.len()];
    for round in 0..WARM_UP + rounds {
        for (peer, took) in peers.iter_mut().zip(&mut took) {
            let one = measure(&mut **peer).await.with_context(|| peer.name())?;
            if round >= WARM_UP {
                took.push(one);
            }
        }
    }
    for peer in &peers {
        println!("{:<26} {}", peer.name(), peer.prober().negotiated().await.with_context(|| peer.name())?);
    }
    println!(
        "{rounds} pushes each, by turns; from the hand-over to the end of the first handshake with the new leaf"
    );
    println!(
        "{:<26} {:>10} {:>10} {:>10} {:>9} {:>9} {:>11} {:>12} {:>7}",
        "", "median", "p99", "max", "median x", "p99 x", "last old", "probed each", "failed"
    );
    for (peer, all) in peers.iter().zip(&took) {
        print(peer.name(), all, &took[0]);
    }
    let ready = sample(&took[0], |took| took.from_ready);
    println!(
        "Sealwire, from when the generation lay on disk: median {}, p99 {}",
        millis(ready.median()),
        millis(ready.p99())
    );
    for (name, install) in missing {
        println!("*** {name} NOT MEASURED: it is not installed: {install} ***");
    }
    // A handshake that fails while our own node swaps is a defect, not a result.
    let failed: usize = took[0].iter().map(|took| took.failed).sum();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sample(all: &[Took], of: impl Fn(&Took) -> Duration) -> Sample {
    all.iter().map(of).collect()
}

fn print(name: &str, all: &[Took], ours: &[Took]) {
    let (first, own) = (sample(all, |took| took.to_first), sample(ours, |took| took.to_first));
    let (last_old, period) = (sample(all, |took| took.to_last_old), sample(all, |took| took.period));
    println!(
        "{name:<26} {:>10} {:>10} {:>10} {:>9.2} {:>9.2} {:>11} {:>12} {:>7}",
        millis(first.median()),
        millis(first.p99()),
        millis(first.max()),
        ratio(first.median(), own.median()),
        ratio(first.p99(), own.p99()),
        millis(last_old.median()),
        millis(period.median()),
        all.iter().map(|took| took.failed).sum::<usize>()
    );
}
