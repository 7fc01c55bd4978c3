//! `make bench`: what a renewal costs, from the agent's push to the proof that it is served.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use anyhow::{Result, bail};
use sealwire_proto::v1::StepKind;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::World;

const RENEWALS: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let mut admin = world.admin().await;
    let (mut push_to_proof, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..RENEWALS {
        let renewal = Renewal::follow(&mut admin, false).await?;
        let (Some(took), Some(done)) = (renewal.push_to_proof(), renewal.step(StepKind::Done)) else {
            bail!("a renewal failed: {:?}", renewal.steps.last());
        };
        push_to_proof.push(took);
        whole.push(Duration::from_micros(done.elapsed_micros));
    }
    println!(
        "{RENEWALS} renewals, internal issuer, one node, {} build",
        if cfg!(debug_assertions) { "debug" } else { "release" }
    );
    println!("{:<34} {:>10} {:>10} {:>10}", "", "median", "p99", "max");
    print("push to proof (ack, two handshakes)", push_to_proof);
    print("whole renewal (key, issue, fsyncs)", whole);
    Ok(())
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() as f64 * part).ceil() as usize).clamp(1, times.len()) - 1];
    let show = |took: Duration| format!("{:.2} ms", took.as_secs_f64() * 1000.0);
    println!("{what:<34} {:>10} {:>10} {:>10}", show(at(0.5)), show(at(0.99)), show(at(1.0)));
}
