//! `make bench-rest`: what an agent with ten thousand certificates costs while nothing is due, and how long
//! its plan for a year takes.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sealwire_tests::world::World;

/// How long rest is measured.
const REST: Duration = Duration::from_secs(60);
/// How long it may take to make them all.
const MAKING: Duration = Duration::from_mins(20);

#[tokio::main]
async fn main() -> Result<()> {
    let count: usize = match std::env::var("SEALWIRE_CERTIFICATES") {
        Ok(text) => text.parse().context("SEALWIRE_CERTIFICATES")?,
        Err(_) => 10_000,
    };
    let world = World::new();
    configure(&world, count);
    let started = Instant::now();
    let agent = world.start_agent();
    wait_for(&world, count).await?;
    println!("{count} certificates made by the embedded CA in {:.1} s", started.elapsed().as_secs_f64());
    drop(agent);

    let started = Instant::now();
    let agent = world.start_agent();
    wait_for(&world, count).await?;
    println!("started again with {count} certificates in {:.1} s", started.elapsed().as_secs_f64());
    // What the status was made from is given back by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cpu(agent.pid())?;
    tokio::time::sleep(REST).await;
    let used = cpu(agent.pid())? - before;
    println!(
        "at rest: {:.1} MiB resident, {:.3} % of one core over {} s",
        resident(agent.pid())? as f64 / 1024.0,
        used / REST.as_secs_f64() * 100.0,
        REST.as_secs()
    );

    let started = Instant::now();
    let ran = world.run(["plan", "--days", "365", "--json"]);
    let orders = ran.out.lines().count();
    println!(
        "plan --days 365: {orders} orders in {:.2} s (exit {})",
        started.elapsed().as_secs_f64(),
        ran.code
    );
    Ok(())
}

fn configure(world: &World, count: usize) {
    let dir = world.path("");
    let mut text = format!(
        "state_dir = \"{0}state\"\n[delivery]\nsocket = \"{0}run/delivery.sock\"\n[admin]\nsocket = \"{0}run/admin.sock\"\n\
         [log]\nlevel = \"warn\"\n[internal.pki]\nleaf_lifetime = \"1080h\"\n",
        dir.display()
    );
    for index in 0..count {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[[certificate]]\nname = \"c{index}\"\nidentifiers = [\"host-{index}.svc.example\"]\nnodes = []\n"
        );
    }
    world.write("agent.toml", &text);
}

async fn wait_for(world: &World, count: usize) -> Result<()> {
    let end = Instant::now() + MAKING;
    loop {
        if let Some(status) = world.status().await {
            let stored =
                status.certificates.iter().filter(|certificate| certificate.state == "stored").count();
            if stored == count {
                return Ok(());
            }
        }
        anyhow::ensure!(Instant::now() < end, "not all certificates within {MAKING:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Seconds of processor time so far (proc(5): utime and stime are the 14th and 15th field, in ticks).
fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident memory in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("VmRSS")?.parse().context("VmRSS")
}
