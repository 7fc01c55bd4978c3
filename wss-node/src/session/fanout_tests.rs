//! What is published goes past the task of a session: still nothing is lost, torn or out of order, whoever writes.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::run;
use crate::counters::Counters;
use crate::registry::Filter;
use crate::service::Node;
use crate::service::tests::{admission, node, publish};

const PATIENCE: Duration = Duration::from_secs(60);
const CONFIG: &str = "[limits]\nsessions_per_ip = 0\nmessages_per_second = 0\n";

/// A subscriber of `c` behind a connection that holds so many bytes.
async fn subscriber(node: &Arc<Node>, holds: usize) -> WebSocketStream<DuplexStream> {
    let (ours, theirs) = tokio::io::duplex(holds);
    let running = Arc::clone(node);
    tokio::spawn(async move { run(&running, theirs, Bytes::new(), admission(&running)).await });
    let mut client = ClientBuilder::new().take_over(ours);
    for (id, command) in [(1, r#""connect":{}"#), (2, r#""subscribe":{"channel":"c"}"#)] {
        client.send(Message::text(format!("{{\"id\":{id},{command}}}"))).await.unwrap();
        let answer = client.next().await.unwrap().unwrap();
        assert!(answer.as_text().unwrap().starts_with(&format!("{{\"id\":{id},")), "{answer:?}");
    }
    client
}

/// Reads until `last` publications and `answers` have come; panics if a publication is not the next one.
async fn reads(mut client: WebSocketStream<DuplexStream>, last: u64, answers: u64) {
    let (mut published, mut answered) = (0, 0);
    while published < last || answered < answers {
        // Answers of the same session in between: its task writes as well.
        if published % 7 == 3 && answered < answers {
            let ask = format!(r#"{{"id":{},"ping":{{}}}}"#, answered + 3);
            client.send(Message::text(ask)).await.unwrap();
            answered += 1;
        }
        let message = tokio::time::timeout(PATIENCE, client.next()).await.expect("more").unwrap().unwrap();
        for line in message.as_text().unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(n) = line["push"]["pub"]["data"]["n"].as_u64() {
                assert_eq!(n, published, "out of order");
                published += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_gets_everything_in_order_whoever_writes() {
    const PUBLICATIONS: u64 = 500;
    let node = node(CONFIG);
    let mut readers = tokio::task::JoinSet::new();
    // Some connections hold less than a frame, so that most are torn.
    for holds in [16, 40, 64, 100, 1000, 4096, 100_000, 1_000_000].repeat(8) {
        let client = subscriber(&node, holds).await;
        // Who asks without reading needs room for its questions.
        readers.spawn(reads(client, PUBLICATIONS, if holds < 4096 { 0 } else { 50 }));
    }
    for n in 0..PUBLICATIONS {
        publish(&node, "c", format!("{{\"n\":{n},\"rest\":\"{}\"}}", "x".repeat(n as usize % 300))).await;
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
    assert_eq!(Counters::get(&node.counters.sessions_panicked), 0);
}

#[tokio::test]
async fn what_was_said_is_counted_whoever_said_it() {
    let node = node(CONFIG);
    let mut client = subscriber(&node, 4096).await;
    let of_session = || node.registry.page(&Filter::default(), None, 1).sessions[0].wire();
    let before = of_session();
    assert_eq!(before.synced_ms, 0);
    publish(&node, "c", "{}").await;
    let frame = client.next().await.unwrap().unwrap();
    // It is counted after it is written.
    let counted = async {
        while of_session().queued_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    let after = of_session();
    assert_eq!(after.messages_out, before.messages_out + 1);
    assert_eq!(after.bytes_out, before.bytes_out + frame.as_payload().len() as u64);
    assert!(after.synced_ms > 0);
    let messages = async {
        while Counters::get(&node.counters.messages_sent) < after.messages_out {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, messages).await.unwrap();
    assert_eq!(Counters::get(&node.counters.bytes_sent), after.bytes_out);
}
