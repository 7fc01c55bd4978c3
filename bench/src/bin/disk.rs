//! Publications in a second that are acknowledged after a flush to the disk, by how many publishers wait at once; beside
//! the same number of plain appends to a file, each with a flush of its own.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;
use wss_node::broker::answer::Append;
use wss_node::broker::budget::Budget;
use wss_node::broker::disk::DiskBroker;
use wss_node::broker::position::Epoch;
use wss_node::broker::publication::{NewPublication, Publication};
use wss_node::broker::rules::Rules;
use wss_node::broker::{Broker, Deliveries};

const PAYLOAD_BYTES: usize = 128;
const CHANNELS: usize = 100;
const TIME: Duration = Duration::from_secs(5);

struct Nobody;

impl Deliveries for Nobody {
    fn delivered(&self, _: &str, _: &Epoch, _: &Arc<Publication>) {}

    fn gap(&self, _: &str) {}
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Not in memory: /tmp often is.
    let directory = tempfile::tempdir_in(std::env::var_os("SEALWIRE_DISK").unwrap_or_else(|| ".".into()))?;
    println!(
        "{PAYLOAD_BYTES}-byte publications to {CHANNELS} channels, {TIME:?} each, on {}",
        directory.path().display()
    );
    println!("publishers  per second  p50 ms  p99 ms");
    for publishers in [1, 10, 100, 1000] {
        let directory = directory.path().join(publishers.to_string());
        std::fs::create_dir(&directory)?;
        let mut times = measure(&directory, publishers).await?;
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        let rate = times.len() as f64 / TIME.as_secs_f64();
        println!("{publishers:10}  {rate:10.0}  {:6.2}  {:6.2}", at(0.5), at(0.99));
    }
    let flushes = plain(&directory.path().join("plain"))?;
    println!("a file, each line flushed: {flushes:.0} per second");
    Ok(())
}

/// How long each publication took.
async fn measure(directory: &Path, publishers: usize) -> anyhow::Result<Vec<Duration>> {
    let budget = Arc::new(Budget::new(1 << 30));
    let broker = Arc::new(DiskBroker::open(directory, budget, Arc::new(Nobody), Arc::new(Timestamp::now))?);
    let rules = Arc::new(Rules::default());
    let end = Instant::now() + TIME;
    let publishers = (0..publishers).map(|publisher| {
        let (broker, rules) = (Arc::clone(&broker), Arc::clone(&rules));
        tokio::spawn(async move {
            let channel = format!("channel{}", publisher % CHANNELS);
            let data = bytes::Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
            let mut times = Vec::new();
            while Instant::now() < end {
                let new = NewPublication { data: data.clone(), ..NewPublication::default() };
                let began = Instant::now();
                let append = broker.append(&channel, &rules, new).await;
                let Append::Appended(_) = append else { bail!("{append:?}") };
                times.push(began.elapsed());
            }
            Ok(times)
        })
    });
    let mut all = Vec::new();
    for publisher in publishers.collect::<Vec<_>>() {
        all.extend(publisher.await??);
    }
    Ok(all)
}

/// What this disk can do: lines in a second.
fn plain(path: &Path) -> anyhow::Result<f64> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    let mut lines = 0;
    while began.elapsed() < TIME {
        file.write_all(&[b'x'; PAYLOAD_BYTES])?;
        file.sync_data()?;
        lines += 1;
    }
    Ok(f64::from(lines) / began.elapsed().as_secs_f64())
}
