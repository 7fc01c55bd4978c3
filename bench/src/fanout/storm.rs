//! Thousands of clients lose their connections, miss publications and come back at the same moment, as after the loss of a
//! load balancer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::task::JoinSet;

use super::asker::Asker;
use super::client::Target;
use super::payload;
use super::peers::Server;
use crate::cpu;
use crate::sample::Sample;

const CHANNEL: &str = "storm";
/// Connections that are opened at the same time before the storm.
const OPENING: usize = 32;
/// For the server to see that they have gone.
const CALM: Duration = Duration::from_secs(2);
/// Who is not let in tries again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// For all to be back.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a storm was like.
#[derive(Debug)]
pub struct Storm {
    /// From its beginning until a client had all that it missed.
    pub back: Sample,
    /// Tries that failed.
    pub failed: usize,
    /// Processor time of the server for each client.
    pub server: Duration,
    /// Processor time of this process for each client.
    pub loader: Duration,
}

/// One storm of `clients` that miss `missed` publications each. For servers of the Centrifuge protocol.
///
/// # Errors
/// A client did not get what it missed, or is not back in time.
pub async fn storm(server: &Server, clients: usize, missed: u64) -> Result<Storm> {
    let target = &server.target;
    let opening = stream::iter(0..clients).map(|_| async move {
        let mut asker = Asker::open(target).await?;
        let place = asker.ask("subscribe", json!({ "channel": CHANNEL })).await?;
        anyhow::Ok((asker, place))
    });
    let mut open: Vec<_> = opening.buffer_unordered(OPENING).try_collect().await?;
    let (_, place) = open.pop().context("no clients")?;
    let recover = json!({
        "channel": CHANNEL,
        "recover": true,
        "epoch": place["epoch"],
        "offset": place["offset"].as_u64().unwrap_or_default(),
    });
    drop(open);
    let mut publisher = Asker::open(target).await?;
    for _ in 0..missed {
        let data: serde_json::Value =
            serde_json::from_slice(&payload::write(Duration::ZERO, payload::BYTES))?;
        publisher.ask("publish", json!({ "channel": CHANNEL, "data": data })).await?;
    }
    tokio::time::sleep(CALM).await;

    let pid = server.process().pid();
    let before = [cpu::of(pid)?, cpu::of(std::process::id())?];
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (target, recover) = (target.clone(), recover.clone());
        tasks.spawn(async move {
            let mut failed = 0;
            loop {
                match back(&target, &recover, missed).await {
                    Ok(asker) => return Ok((asker, began.elapsed(), failed)),
                    Err(error) if began.elapsed() > PATIENCE => return Err(error),
                    Err(_) => failed += 1,
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    let (mut open, mut times, mut failed) = (Vec::new(), Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (asker, time, tries): (Asker, Duration, usize) = ended?.context("a client is not back")?;
        open.push(asker);
        times.push(time);
        failed += tries;
    }
    let each = |now: Duration, before: Duration| (now - before).div_f64(clients as f64);
    Ok(Storm {
        back: times.into_iter().collect(),
        failed,
        server: each(cpu::of(pid)?, before[0]),
        loader: each(cpu::of(std::process::id())?, before[1]),
    })
}

async fn back(target: &Target, recover: &serde_json::Value, missed: u64) -> Result<Asker> {
    let mut asker = Asker::open(target).await?;
    let place = asker.ask("subscribe", recover.clone()).await?;
    let came = place["publications"].as_array().map_or(0, Vec::len);
    ensure!(place["recovered"] == true && came as u64 == missed, "{came} of {missed} came: {place}");
    Ok(asker)
}
