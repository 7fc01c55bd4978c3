//! A map with many keys: how fast they are set, and how long a client takes to have them all, or those that it missed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::asker::Asker;
use super::client::Target;
use super::payload;
use super::peers::Server;
use crate::cpu;
use crate::sample::Sample;

/// A namespace in which all changes stay in the log.
pub const NAMESPACES: &str = "[namespaces.board]\nkind = \"map\"\nkeys = 20000\nhistory = 40000\n\
                              retained_bytes = 67108864\nrecovery_limit = 1000\n";
const CHANNEL: &str = "board:bench";
/// Commands under way while keys are set.
const WINDOW: usize = 100;
/// Entries that a client asks for at once.
const PAGE: u64 = 1000;
/// What the protocol calls a map (`SubscribeRequest.type`, `PublishRequest.type`).
const MAP: u64 = 1;
/// Its phases.
const STREAM: u64 = 1;
const STATE: u64 = 2;

/// What was measured.
#[derive(Debug)]
pub struct Map {
    /// Keys set in a second by one client.
    pub sets_per_second: f64,
    /// From `connect` until a client had all keys.
    pub snapshot: Sample,
    /// Processor time of the server for one of these.
    pub snapshot_server: Duration,
    /// From `connect` until a client that comes back had all changes.
    pub catch_up: Sample,
    /// Processor time of the server for one of these.
    pub catch_up_server: Duration,
}

/// Sets `keys` keys, takes them all `times` times, and as often the changes of `changed` of them.
///
/// # Errors
/// A key is missing, or a command is refused.
pub async fn map(server: &Server, keys: usize, changed: usize, times: usize) -> Result<Map> {
    let (target, pid) = (&server.target, server.process().pid());
    let mut publisher = Asker::open(target).await?;
    let began = Instant::now();
    set(&mut publisher, 0..keys).await?;
    let sets_per_second = keys as f64 / began.elapsed().as_secs_f64();

    let (mut snapshot, mut place) = (Vec::new(), Value::Null);
    let before = cpu::of(pid)?;
    for _ in 0..times {
        let began = Instant::now();
        let (seen, end) = take(target, json!({ "phase": STATE })).await?;
        snapshot.push(began.elapsed());
        ensure!(seen.len() == keys, "{} of {keys} keys came", seen.len());
        place = end;
    }
    let snapshot_server = (cpu::of(pid)? - before).div_f64(times as f64);

    set(&mut publisher, 0..changed).await?;
    let recover =
        json!({ "phase": STREAM, "recover": true, "epoch": place["epoch"], "offset": place["offset"] });
    let mut catch_up = Vec::new();
    let before = cpu::of(pid)?;
    for _ in 0..times {
        let began = Instant::now();
        let (seen, _) = take(target, recover.clone()).await?;
        catch_up.push(began.elapsed());
        ensure!(seen.len() == changed, "{} of {changed} changes came", seen.len());
    }
    let catch_up_server = (cpu::of(pid)? - before).div_f64(times as f64);
    Ok(Map {
        sets_per_second,
        snapshot: snapshot.into_iter().collect(),
        snapshot_server,
        catch_up: catch_up.into_iter().collect(),
        catch_up_server,
    })
}

async fn set(publisher: &mut Asker, keys: std::ops::Range<usize>) -> Result<()> {
    let data: Value = serde_json::from_slice(&payload::write(Duration::ZERO, payload::BYTES))?;
    let keys: Vec<usize> = keys.collect();
    for window in keys.chunks(WINDOW) {
        let mut last = 0;
        for key in window {
            let publish =
                json!({ "channel": CHANNEL, "type": MAP, "key": format!("key{key}"), "data": data });
            last = publisher.say("publish", publish).await?;
        }
        // Replies come in the order of the commands.
        publisher.reply(last).await?;
    }
    Ok(())
}

/// Subscribes as an SDK does, from the first phase until it is live. Gives the keys that came, and the position.
async fn take(target: &Target, mut request: Value) -> Result<(BTreeSet<String>, Value)> {
    let mut asker = Asker::open(target).await?;
    let mut keys = BTreeSet::new();
    request["channel"] = CHANNEL.into();
    request["type"] = MAP.into();
    request["limit"] = PAGE.into();
    loop {
        let mut page = asker.ask("subscribe", request.clone()).await?;
        for field in ["state", "publications"] {
            for entry in page[field].as_array().into_iter().flatten() {
                keys.insert(entry["key"].as_str().context("an entry without a key")?.to_owned());
            }
        }
        let phase = page["phase"].as_u64().unwrap_or_default();
        if phase == 0 {
            return Ok((keys, json!({ "epoch": page["epoch"], "offset": page["offset"] })));
        }
        // The position of a snapshot is that of its first page; the stream moves on with each.
        if phase == STREAM || request.get("epoch").is_none() {
            request["epoch"] = page["epoch"].take();
            request["offset"] = page["offset"].take();
        }
        let cursor = page["cursor"].take();
        if phase == STATE && cursor.as_str().is_some_and(|cursor| !cursor.is_empty()) {
            request["cursor"] = cursor;
        } else {
            request["phase"] = STREAM.into();
            request["cursor"] = "".into();
        }
    }
}
