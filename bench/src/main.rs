//! `make bench`: what a renewal costs, from the agent's push to the proof that it is served.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use anyhow::{Result, bail};
use sealwire_bench::sample::{Sample, millis};
use sealwire_proto::v1::StepKind;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::World;

const RENEWALS: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let mut admin = world.admin().await;
    let (mut push_to_proof, mut whole, mut checked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RENEWALS {
        let renewal = Renewal::follow(&mut admin, false).await?;
        let (Some(took), Some(done)) = (renewal.push_to_proof(), renewal.step(StepKind::Done)) else {
            bail!("a renewal failed: {:?}", renewal.steps.last());
        };
        push_to_proof.push(took);
        checked
            .extend(renewal.step(StepKind::Acked).map(|acked| Duration::from_micros(acked.validate_micros)));
        whole.push(Duration::from_micros(done.elapsed_micros));
    }
    println!(
        "{RENEWALS} renewals, internal issuer, one node, {} build",
        if cfg!(debug_assertions) { "debug" } else { "release" }
    );
    println!("{:<34} {:>10} {:>10} {:>10}", "", "median", "p99", "max");
    print("push to proof (ack, two handshakes)", push_to_proof);
    print("  of it the node's checks", checked);
    print("whole renewal (key, issue, fsyncs)", whole);
    Ok(())
}

fn print(what: &str, times: Vec<Duration>) {
    let times: Sample = times.into_iter().collect();
    let (median, p99, max) = (millis(times.median()), millis(times.p99()), millis(times.max()));
    println!("{what:<34} {median:>10} {p99:>10} {max:>10}");
}
