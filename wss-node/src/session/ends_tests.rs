//! Every way in which a session can end, and that all it had is given back each time: its place among the client's
//! sessions, its subscriptions, its line in the registry, its queue, its count.

#![allow(clippy::unwrap_used)]

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio_websockets::{ClientBuilder, CloseCode, Message, WebSocketStream};

use super::run;
use crate::close::Close;
use crate::counters::Counters;
use crate::outbound::Outbound;
use crate::registry::{Entry, Filter};
use crate::service::Node;
use crate::service::tests::{admission, node, publish};
use crate::wire::Disconnect;

const PATIENCE: Duration = Duration::from_secs(20);
/// One session for each client: the next can only begin when the place of the one before was given back.
const CONFIG: &str = "[limits]\nsessions_per_ip = 1\nmessages_per_second = 100\nmessages_burst = 10\n\
     [session]\nconnect_timeout = \"100ms\"\nping_interval = \"200ms\"\npong_timeout = \"100ms\"\n\
     write_timeout = \"100ms\"\nmessage_timeout = \"100ms\"\nmessage_bytes = 4096\noutbound_queue_bytes = 4096\n";

const SOUND: u8 = 0;
const RESET: u8 = 1;
const PANIC: u8 = 2;

/// A stream that fails when it is told to.
struct Spoilt {
    stream: DuplexStream,
    fault: Arc<AtomicU8>,
}

impl AsyncRead for Spoilt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.fault.load(Ordering::Relaxed) {
            RESET => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            PANIC => panic!("a fault of ours, made by a test"),
            _ => Pin::new(&mut self.stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Spoilt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A session with a subscription, and its client.
struct Running {
    node: Arc<Node>,
    task: JoinHandle<()>,
    client: WebSocketStream<DuplexStream>,
    fault: Arc<AtomicU8>,
    entry: Weak<Entry>,
    outbound: Weak<Outbound>,
}

impl Running {
    async fn start(node: &Arc<Node>) -> Self {
        let (ours, stream) = tokio::io::duplex(4096);
        let fault = Arc::new(AtomicU8::new(SOUND));
        let spoilt = Spoilt { stream, fault: Arc::clone(&fault) };
        // Panics if there is no place, which is what would be left of the session before.
        let admission = admission(node);
        let running = Arc::clone(node);
        let task = tokio::spawn(async move { run(&running, spoilt, Bytes::new(), admission).await });
        let mut client = ClientBuilder::new().take_over(ours);
        client.send(Message::text(r#"{"id":1,"connect":{"name":"test"}}"#)).await.unwrap();
        client.send(Message::text(r#"{"id":2,"subscribe":{"channel":"c"}}"#)).await.unwrap();
        for _ in 0..2 {
            assert!(client.next().await.unwrap().unwrap().is_text());
        }
        let page = node.registry.page(&Filter::default(), None, 10);
        assert_eq!((page.total, node.channels.hub.channels()), (1, 1));
        let entry = &page.sessions[0];
        let (outbound, entry) = (Arc::downgrade(entry.outbound()), Arc::downgrade(entry));
        Self { node: Arc::clone(node), task, client, fault, entry, outbound }
    }

    /// The close code that the client sees; `None` when it sees none.
    async fn code(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.client.next()).await.expect("an end") {
                Some(Ok(message)) => {
                    if let Some((code, _)) = message.as_close() {
                        return Some(code.into());
                    }
                }
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Waits until nothing waits to be written.
    async fn written(&self) {
        let outbound = self.outbound.upgrade().unwrap();
        let written = async {
            while outbound.queued_bytes() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.unwrap();
    }

    async fn raw(&mut self, bytes: &[u8]) {
        self.client.get_mut().write_all(bytes).await.unwrap();
    }

    /// Everything is as it was before the session, once the client is gone.
    async fn ended(self, how: &str) {
        let Self { node, task, client, entry, outbound, .. } = self;
        drop(client);
        given_back(how, &node, task, &entry, &outbound).await;
    }

    /// The same with a client that stays and reads nothing.
    async fn stalled(self, how: &str) {
        let Self { node, task, client, entry, outbound, .. } = self;
        given_back(how, &node, task, &entry, &outbound).await;
        drop(client);
    }
}

async fn given_back(
    how: &str,
    node: &Arc<Node>,
    task: JoinHandle<()>,
    entry: &Weak<Entry>,
    outbound: &Weak<Outbound>,
) {
    tokio::time::timeout(PATIENCE, task).await.expect(how).expect("the task does not panic");
    assert_eq!(node.registry.len(), 0, "{how}: the registry");
    assert_eq!(node.channels.hub.channels(), 0, "{how}: subscriptions");
    // The broker has it, and the node.
    assert_eq!(Arc::strong_count(&node.channels.hub), 2, "{how}: places in the hub");
    assert_eq!(Counters::get(&node.counters.sessions), 0, "{how}: the count");
    assert_eq!((entry.strong_count(), outbound.strong_count()), (0, 0), "{how}: entry and queue");
    assert_eq!(Arc::strong_count(node), 2, "{how}: only the test has the node");
}

async fn publication(node: &Node, bytes: usize) {
    publish(node, "c", format!("\"{}\"", "x".repeat(bytes))).await;
}

/// A masked frame of a client, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn whatever_way_it_ends_all_is_given_back() {
    let node = node(CONFIG);

    let mut session = Running::start(&node).await;
    session.client.send(Message::close(Some(CloseCode::NORMAL_CLOSURE), "bye")).await.unwrap();
    assert_eq!(session.code().await, Some(1000), "the echo");
    session.ended("closed by the client").await;

    let session = Running::start(&node).await;
    session.ended("cut").await;

    let session = Running::start(&node).await;
    session.fault.store(RESET, Ordering::Relaxed);
    publication(&node, 1).await;
    session.ended("reset").await;

    let mut session = Running::start(&node).await;
    assert_eq!(session.code().await, Some(3012));
    session.ended("no pong").await;

    let mut session = Running::start(&node).await;
    session.raw(&frame(0x01, b"{")).await;
    assert_eq!(session.code().await, Some(1008));
    session.ended("a message that does not end").await;

    let mut session = Running::start(&node).await;
    publication(&node, 5000).await;
    assert_eq!(session.code().await, Some(3008));
    session.ended("a publication that is too long for the queue").await;

    let session = Running::start(&node).await;
    for _ in 0..3 {
        publication(&node, 1200).await;
        session.written().await;
    }
    // Nobody reads, so nobody sees the code either.
    publication(&node, 1200).await;
    session.stalled("a reader that takes nothing").await;

    let mut session = Running::start(&node).await;
    session.raw(b"\x81\x02{}").await;
    assert_eq!(session.code().await, Some(1002));
    session.ended("an unmasked frame").await;

    let mut session = Running::start(&node).await;
    for _ in 0..70 {
        session.raw(&frame(0x01, b"")).await;
        session.raw(&frame(0x00, b"")).await;
    }
    assert_eq!(session.code().await, Some(1002), "a message within a message");
    session.ended("fragments of two messages").await;

    let mut session = Running::start(&node).await;
    session.raw(&frame(0x01, b"{")).await;
    for _ in 0..64 {
        session.raw(&frame(0x00, b"")).await;
    }
    assert_eq!(session.code().await, Some(1008));
    session.ended("too many fragments").await;

    let mut session = Running::start(&node).await;
    for _ in 0..11 {
        session.raw(&frame(0x8a, b"")).await;
    }
    assert_eq!(session.code().await, Some(1008));
    session.ended("too many pongs").await;

    let mut session = Running::start(&node).await;
    session.raw(&frame(0x82, b"binary")).await;
    assert_eq!(session.code().await, Some(1003));
    session.ended("a binary message").await;

    let mut session = Running::start(&node).await;
    session.client.send(Message::text("{}\n".repeat(11))).await.unwrap();
    assert_eq!(session.code().await, Some(3013));
    session.ended("too many messages").await;

    let mut session = Running::start(&node).await;
    session.client.send(Message::text("nonsense")).await.unwrap();
    assert_eq!(session.code().await, Some(3501));
    session.ended("not the protocol").await;

    let mut session = Running::start(&node).await;
    session.client.send(Message::text("x".repeat(4097))).await.unwrap();
    assert_eq!(session.code().await, Some(1009));
    session.ended("a message that is too long").await;

    let mut session = Running::start(&node).await;
    publication(&node, 100).await;
    let close = Close::told(4000, "by an operator".to_owned()).unwrap();
    assert_eq!(node.registry.close(&Filter::default(), &close).len(), 1);
    assert!(session.client.next().await.unwrap().unwrap().is_text(), "first what waited");
    assert_eq!(session.code().await, Some(4000));
    session.ended("by an operator").await;

    let mut session = Running::start(&node).await;
    session.fault.store(PANIC, Ordering::Relaxed);
    publication(&node, 1).await;
    assert_eq!(session.code().await, Some(Disconnect::SERVER_ERROR.code));
    session.ended("a fault of ours").await;
    assert_eq!(Counters::get(&node.counters.sessions_panicked), 1);

    let mut session = Running::start(&node).await;
    node.stopping.cancel();
    assert_eq!(session.code().await, Some(3001));
    session.ended("the node stops").await;
}

#[tokio::test]
async fn a_reader_that_takes_little_all_the_time_is_not_stalled() {
    let node = node("[session]\nwrite_timeout = \"1s\"\n");
    let mut session = Running::start(&node).await;
    publication(&node, 20_000).await;
    // As over a narrow line: each part in time, all of it in twice that.
    let (mut part, mut taken) = ([0; 2000], 0);
    while taken < 20_000 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let read = session.client.get_mut().read(&mut part).await.unwrap();
        assert!(read > 0, "closed after {taken} bytes");
        taken += read;
    }
    // And then nothing any more.
    publication(&node, 20_000).await;
    session.stalled("a reader that takes nothing").await;
}

/// Everything that a client is sent over a line that takes 500 bytes every 10 ms, until `text` comes.
async fn narrow_line(session: &mut Running, text: &str) -> String {
    let (mut part, mut heard) = ([0; 500], Vec::new());
    let all = async {
        while !String::from_utf8_lossy(&heard).contains(text) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let read = session.client.get_mut().read(&mut part).await.unwrap();
            let end = String::from_utf8_lossy(&heard[heard.len().saturating_sub(1100)..]).replace("xx", "");
            assert!(read > 0, "closed after {} bytes: {end:?}", heard.len());
            heard.extend_from_slice(&part[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect(text);
    String::from_utf8_lossy(&heard).into_owned()
}

/// 200,000 bytes take four seconds at least.
const SLOW: &str = "[session]\nping_interval = \"500ms\"\npong_timeout = \"2s\"\nmessage_timeout = \"2s\"\n\
     write_timeout = \"10s\"\n";

#[tokio::test]
async fn during_a_long_write_pings_go_between_messages_and_nobody_is_late() {
    let node = node(SLOW);
    let mut session = Running::start(&node).await;
    // A message of the client's has begun, and cannot be heard to its end before all is written.
    let message = frame(0x81, br#"{"id":3,"rpc":{"method":"server.time","data":{}}}"#);
    session.raw(&message[..20]).await;
    for n in 1..=200 {
        publish(&node, "c", format!("\"{n}.{}\"", "x".repeat(1000))).await;
    }
    let heard = narrow_line(&mut session, "\"200.").await;
    // One each 500 ms; on a busy machine the line is narrower still, and there are more.
    let pings = heard.matches("{}").count();
    assert!((4..=200).contains(&pings), "{pings} pings");
    for n in 1..=200 {
        assert_eq!(heard.matches(&format!("\"{n}.")).count(), 1, "{n}");
    }
    // The rest of its message and its pong come after the write, and in time.
    session.raw(&message[20..]).await;
    session.raw(&frame(0x81, b"{}")).await;
    let heard = narrow_line(&mut session, r#""time":"#).await;
    assert!(heard.contains(r#""id":3"#), "{heard}");

    // Who does not answer is late once it could have been heard.
    publication(&node, 1000).await;
    assert_eq!(session.code().await, Some(Disconnect::NO_PONG.code));
    session.ended("no pong after a long write").await;
}
