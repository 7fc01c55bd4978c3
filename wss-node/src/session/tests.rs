#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_websockets::{ClientBuilder, Message};

use super::*;
use crate::counters::Counters;
use crate::registry::Entry;
use crate::service::tests::{admission, node, publish};

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

/// A session of a node with this configuration, and the client's raw end.
fn session(node: &Arc<Node>) -> (tokio::task::JoinHandle<()>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let node = Arc::clone(node);
    let task = tokio::spawn(async move { run(&node, theirs, Bytes::new(), admission(&node)).await });
    (task, ours)
}

/// Runs a session to its end; the close code that the client sees.
async fn code_after(extra: &str, frames: &[&str]) -> u16 {
    let node = node(extra);
    let (task, stream) = session(&node);
    let mut client = ClientBuilder::new().take_over(stream);
    for frame in frames {
        client.send(Message::text((*frame).to_owned())).await.unwrap();
    }
    let code = loop {
        let message = client.next().await.unwrap().unwrap();
        if let Some((code, _)) = message.as_close() {
            break u16::from(code);
        }
    };
    client.close().await.unwrap();
    task.await.unwrap();
    assert_eq!(Counters::get(&node.counters.sessions), 0, "the session is no longer counted");
    assert_eq!(Arc::strong_count(&node.channels.hub), 2, "no subscription is left");
    code
}

#[tokio::test]
async fn each_end_has_its_code() {
    let subscribe = r#"{"id":2,"subscribe":{"channel":"c"}}"#;
    let stale = "[session]\nconnect_timeout = \"20ms\"";
    assert_eq!(code_after(stale, &[]).await, 3502);
    let silent = "[session]\nping_interval = \"20ms\"\npong_timeout = \"20ms\"";
    assert_eq!(code_after(silent, &[CONNECT, subscribe]).await, 3012);
    assert_eq!(code_after("", &["nonsense"]).await, 3501);
    assert_eq!(code_after("", &[CONNECT, subscribe, CONNECT]).await, 3501);
    let long = format!(r#"{{"id":2,"publish":{{"channel":"c","data":"{}"}}}}"#, "x".repeat(2000));
    assert_eq!(code_after("[session]\nmessage_bytes = 1024", &[CONNECT, &long]).await, 1009);
    let narrow = "[session]\noutbound_queue_bytes = 1024";
    assert_eq!(code_after(narrow, &[CONNECT, subscribe, &long]).await, 3008);
}

#[tokio::test]
async fn a_stopping_node_closes_with_3001() {
    let node = node("");
    let (task, stream) = session(&node);
    let mut client = ClientBuilder::new().take_over(stream);
    client.send(Message::text(CONNECT)).await.unwrap();
    assert!(client.next().await.unwrap().unwrap().is_text());
    node.stopping.cancel();
    let (code, _) = client.next().await.unwrap().unwrap().as_close().map(|(c, r)| (c, r.to_owned())).unwrap();
    assert_eq!(u16::from(code), 3001);
    client.close().await.unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn a_stopping_node_first_says_what_waits_and_closes_raw_clients_with_1012() {
    let (first, second) = (node(""), node(""));
    let (task, stream) = session(&first);
    let mut client = ClientBuilder::new().take_over(stream);
    client.send(Message::text(CONNECT)).await.unwrap();
    client.send(Message::text(r#"{"id":2,"subscribe":{"channel":"c"}}"#)).await.unwrap();
    for _ in 0..2 {
        assert!(client.next().await.unwrap().unwrap().is_text());
    }
    for number in 0..100 {
        publish(&first, "c", format!("{{\"n\":{number}}}")).await;
    }
    // Before the session has had a chance to write any.
    first.stopping.cancel();
    let mut seen = 0;
    let code = loop {
        let message = client.next().await.unwrap().unwrap();
        match message.as_close() {
            Some((code, _)) => break u16::from(code),
            None => seen += 1,
        }
    };
    assert_eq!((seen, code), (100, 3001));
    client.close().await.unwrap();
    task.await.unwrap();

    let (_task, stream) = session(&second);
    let mut raw = ClientBuilder::new().take_over(stream);
    second.stopping.cancel();
    let message = raw.next().await.unwrap().unwrap();
    assert_eq!(message.as_close().map(|(code, _)| u16::from(code)), Some(1012));
}

#[tokio::test]
async fn violations_of_websocket_get_the_codes_of_the_rfc() {
    // Unmasked text; masked text that is not UTF-8.
    let cases: [(&[u8], u16); 2] = [(b"\x81\x02{}", 1002), (b"\x81\x82\0\0\0\0\xff\xfe", 1007)];
    for (frame, expected) in cases {
        let (task, mut stream) = session(&node(""));
        stream.write_all(frame).await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!((head[0], u16::from_be_bytes([head[2], head[3]])), (0x88, expected));
        drop(stream);
        task.await.unwrap();
    }
}

/// Bytes of the futures that a connection is while its session is idle. What is in the session's, in bytes, is about:
/// the library's WebSocket 400 while there is one (else what is left of it), what waits for the node's word 300, commands,
/// work and admission 520, one timer 120, telemetry's tally and identifiers 100, the rest for the compiler's states.
#[tokio::test]
async fn an_idle_session_is_small() {
    let node = node("");
    let (_ours, theirs) = tokio::io::duplex(64);
    let session = run(&node, Box::new(theirs), Bytes::new(), admission(&node));
    let size = size_of_val(&session);
    assert!(size <= 3328, "the future of a session has {size} bytes");
    assert!(size_of::<Entry>() <= 320, "an entry of the registry has {} bytes", size_of::<Entry>());
    assert!(size_of::<Outbound>() <= 168, "a queue has {} bytes", size_of::<Outbound>());
}
