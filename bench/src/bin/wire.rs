//! `make bench-wire`: what the node's codecs cost for one message, in both framings.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use sealwire_bench::sample::Sample;
use wss_node::wire::v1::{Command, Publication, PublishRequest, PublishResult, Reply, SubscribeRequest};
use wss_node::wire::{Batch, Broadcast, Form, Framing, Kind, catch_up, commands, fossil};

const FRAMINGS: [Framing; 2] = [Framing::Json, Framing::Protobuf];
/// What is measured at once lasts about so long.
const STRETCH: Duration = Duration::from_millis(20);
/// And is measured so often.
const STRETCHES: usize = 25;

fn main() -> Result<()> {
    println!("nanoseconds of CPU for one message: median of {STRETCHES} stretches (lowest)\n");
    println!("{:<52} {:>20} {:>20}", "", "JSON", "Protobuf");
    reading()?;
    writing()?;
    deltas()
}

fn reading() -> Result<()> {
    for bytes in [128, 4096] {
        let publish =
            PublishRequest { channel: "news:latest".into(), data: payload(bytes), ..Default::default() };
        let command = Command { id: 7, request: Some(publish.into()) };
        let frames = FRAMINGS.map(|framing| frame(framing, std::slice::from_ref(&command)));
        row(&format!("read a publish of {bytes} bytes"), 1, |at| {
            black_box(commands(FRAMINGS[at], &frames[at], 1).next());
        });
    }
    let subscribes: Vec<_> = (1..=100)
        .map(|id| {
            let subscribe = SubscribeRequest {
                channel: format!("board:{id}"),
                recover: true,
                epoch: "Xy7f".into(),
                offset: 1000 + u64::from(id),
                ..Default::default()
            };
            Command { id, request: Some(subscribe.into()) }
        })
        .collect();
    let frames = FRAMINGS.map(|framing| frame(framing, &subscribes));
    for (framing, frame) in FRAMINGS.iter().zip(&frames) {
        let read = commands(*framing, frame, 100).filter(Result::is_ok).count();
        (read == subscribes.len())
            .then_some(())
            .with_context(|| format!("{framing:?}: {read} of 100 were read"))?;
    }
    row("read a subscribe, one of 100 in a frame", 100, |at| {
        black_box(commands(FRAMINGS[at], &frames[at], 100).count());
    });
    row("read a pong", 1, |at| {
        black_box(commands(FRAMINGS[at], &FRAMINGS[at].ping(), 1).next());
    });
    Ok(())
}

fn writing() -> Result<()> {
    for bytes in [128, 1024, 16_384] {
        let data = payload(bytes);
        row(&format!("encode a publication of {bytes} bytes"), 1, |at| {
            black_box(broadcast(&data, None).frame(FRAMINGS[at], Form::Plain).is_ok());
        });
    }
    let shared = broadcast(&payload(128), None);
    row("the frame of one that is encoded, for a subscriber", 1, |at| {
        black_box(shared.frame(FRAMINGS[at], Form::Plain).is_ok());
    });
    let reply = Reply::answer(7, PublishResult {});
    row("append the reply to a publish, 100 to a frame", 100, |at| {
        let mut batch = Batch::new(FRAMINGS[at], 16_384);
        for _ in 0..100 {
            black_box(batch.push(&reply).is_ok());
        }
        black_box(batch.take());
    });
    Ok(())
}

fn deltas() -> Result<()> {
    for bytes in [400, 16_384] {
        let (old, new) = (document(bytes, 100), document(bytes, 117));
        let delta = fossil::create(&old, &new).context("the two hardly differ")?;
        println!("{bytes} bytes with another number in the middle: a delta of {} bytes", delta.len());
        row("  encode it as a delta", 1, |at| {
            black_box(broadcast(&new, Some(&old)).frame(FRAMINGS[at], Form::Delta).is_ok());
        });
    }
    let missed: Vec<_> = (0..100)
        .map(|n| Publication { data: document(400, n), offset: n as u64, ..Default::default() })
        .collect();
    row("catch up by deltas, one of 100 of 400 bytes", 100, |at| {
        let mut missed = missed.clone();
        black_box(catch_up(FRAMINGS[at], Kind::Stream, &mut missed).is_ok());
    });
    let (one, other) = (noise(fossil::MAX_BYTES, 1), noise(fossil::MAX_BYTES, 2));
    let worst = measure(|| {
        black_box(fossil::create(&one, &other));
    });
    println!("{:<52} {:>20}", "compare two times 256 KiB without anything in common", told(&worst, 1));
    Ok(())
}

fn row(what: &str, messages: u128, run: impl Fn(usize)) {
    let [json, protobuf] = [0, 1].map(|at| told(&measure(|| run(at)), messages));
    println!("{what:<52} {json:>20} {protobuf:>20}");
}

fn told(sample: &Sample, messages: u128) -> String {
    format!("{} ({})", sample.at(0.5).as_nanos() / messages, sample.at(0.0).as_nanos() / messages)
}

/// Times of one call, each the mean of a stretch of calls.
fn measure(run: impl Fn()) -> Sample {
    let mut calls = 1u32;
    while stretch(calls, &run) < STRETCH && calls < 1 << 28 {
        calls *= 2;
    }
    (0..STRETCHES).map(|_| stretch(calls, &run) / calls).collect()
}

/// CPU time of this thread: others on the machine do not count.
fn stretch(calls: u32, run: &impl Fn()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let start = now();
    for _ in 0..calls {
        run();
    }
    now() - start
}

fn broadcast(data: &Bytes, before: Option<&Bytes>) -> Broadcast {
    let publication = Publication { data: data.clone(), offset: 1234, ..Default::default() };
    Broadcast::new("news:latest", publication, before.cloned())
}

fn frame(framing: Framing, commands: &[Command]) -> Vec<u8> {
    match framing {
        Framing::Json => {
            let lines: Vec<_> =
                commands.iter().filter_map(|command| serde_json::to_string(command).ok()).collect();
            lines.join("\n").into_bytes()
        }
        Framing::Protobuf => commands.iter().flat_map(Message::encode_length_delimited_to_vec).collect(),
    }
}

/// JSON of about this size.
fn payload(bytes: usize) -> Bytes {
    let item = r#"{"x":1234,"y":-56.75,"name":"Ada \"L\"","on":true},"#;
    let items = item.repeat(bytes.div_ceil(item.len()));
    format!("[{}]", items.trim_end_matches(',')).into()
}

/// A state that is the same but for a number in the middle.
fn document(bytes: usize, number: usize) -> Bytes {
    let part = |from: usize| -> String {
        (0..bytes / 40).map(|n| format!(r#""field{}":{},"#, from + n, (from + n) * 7919)).collect()
    };
    format!(r#"{{{}"number":{number},{}"end":true}}"#, part(0), part(1000)).into()
}

fn noise(bytes: usize, mut state: u64) -> Vec<u8> {
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
