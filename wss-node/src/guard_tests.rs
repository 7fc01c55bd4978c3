#![allow(clippy::unwrap_used)]

use futures_util::SinkExt;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::agent_message::Body;
use sealwire_proto::v1::{Bundle, Halt, Resume, Revoked};
use sealwire_proto::validate::sha256;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::*;
use crate::certs::pairing::tests::Stream;
use crate::certs::validate::tests::{Authority, authority, bundle_of};
use crate::service::Node;
use crate::service::tests::{Listening, admission, listening, listening_for, publish as publish_to};
use crate::session;

const PATIENCE: Duration = Duration::from_secs(20);
/// Closes again as soon as it may.
const QUICK: &str = "[breaker]\nsettle = \"1ms\"\n";

/// Waits until something of the node is so.
async fn until(what: &str, ready: impl Fn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !ready() {
        assert!(std::time::Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn halt() -> Body {
    Body::Halt(Halt { by: "ops".into(), reason: "incident 7".into() })
}

fn resume() -> Body {
    Body::Resume(Resume { by: "ops".into() })
}

/// A client of a session without TLS.
struct Client(WebSocketStream<DuplexStream>);

impl Client {
    async fn connected(node: &Arc<Node>) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let node = Arc::clone(node);
        tokio::spawn(async move { session::run(&node, theirs, bytes::Bytes::new(), admission(&node)).await });
        let mut client = Self(ClientBuilder::new().take_over(ours));
        client.say(r#"{"id":1,"connect":{}}"#).await;
        client.say(r#"{"id":2,"subscribe":{"channel":"c"}}"#).await;
        assert!(client.next().await.contains(r#""connect""#));
        assert_eq!(client.next().await, r#"{"id":2,"subscribe":{}}"#);
        client
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text.to_owned())).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message").unwrap().unwrap()
    }

    async fn next(&mut self) -> String {
        self.message().await.as_text().unwrap().to_owned()
    }
}

const OPEN: &str = r#"{"push":{"message":{"data":{"breaker":"open"}}}}"#;
const CLOSED: &str = r#"{"push":{"message":{"data":{"breaker":"closed"}}}}"#;

fn publish(id: u32) -> String {
    format!(r#"{{"id":{id},"publish":{{"channel":"c","data":{id}}}}}"#)
}

fn published(id: u32) -> String {
    format!(r#"{{"push":{{"channel":"c","pub":{{"data":{id}}}}}}}"#)
}

#[tokio::test]
async fn while_open_publications_are_refused_and_what_was_acknowledged_comes_later() {
    let mut listening = listening(QUICK);
    let node = Arc::clone(&listening.node);
    let mut stream = Stream::of(&mut listening);
    let ca = authority();
    stream.serve(&bundle_of(&ca, "web", 1, &["a.example"])).await;
    let (mut publisher, mut subscriber) = (Client::connected(&node).await, Client::connected(&node).await);
    publisher.say(&publish(3)).await;
    assert_eq!(
        (publisher.next().await, publisher.next().await),
        (published(3), r#"{"id":3,"publish":{}}"#.into())
    );
    assert_eq!(subscriber.next().await, published(3));

    stream.say(halt()).await;
    assert_eq!((publisher.next().await, subscriber.next().await), (OPEN.to_owned(), OPEN.to_owned()));
    // Acknowledged at the last moment: it is in the queues, and stays there.
    publish_to(&node, "c", "4").await;
    publisher.say(&publish(5)).await;
    let refusal = publisher.next().await;
    let refusal: serde_json::Value = serde_json::from_str(&refusal).unwrap();
    assert_eq!(
        (refusal["error"]["code"].as_u64(), refusal["error"]["temporary"].as_bool()),
        (Some(100), Some(true))
    );
    assert_eq!(Counters::get(&node.counters.publications_refused), 1);
    // Everything else goes on.
    subscriber.say(r#"{"id":6,"subscribe":{"channel":"d"}}"#).await;
    assert_eq!(subscriber.next().await, r#"{"id":6,"subscribe":{}}"#);
    assert_eq!(node.readiness.obstacle().as_deref(), Some("breaker open: halted by ops: incident 7"));
    let report = node.guard.report();
    assert_eq!((report.state(), report.causes), (v1::BreakerState::Open, vec!["halted".to_owned()]));

    stream.say(resume()).await;
    assert_eq!((subscriber.next().await, subscriber.next().await), (published(4), CLOSED.to_owned()));
    assert_eq!((publisher.next().await, publisher.next().await), (published(4), CLOSED.to_owned()));
    publisher.say(&publish(7)).await;
    assert_eq!(subscriber.next().await, published(7), "and nothing was lost or doubled");
    assert_eq!(node.readiness.obstacle(), None);
    assert_eq!(node.guard.report().state(), v1::BreakerState::Closed);
}

#[tokio::test]
async fn after_the_hold_sessions_are_closed_with_1013() {
    let mut listening = listening("[breaker]\nhold = \"50ms\"\n");
    let node = Arc::clone(&listening.node);
    let mut stream = Stream::of(&mut listening);
    stream.serve(&bundle_of(&authority(), "web", 1, &["a.example"])).await;
    let mut client = Client::connected(&node).await;
    stream.say(halt()).await;
    assert_eq!(client.next().await, OPEN);
    let message = client.message().await;
    assert_eq!(message.as_close().map(|(code, _)| u16::from(code)), Some(1013));
    // One whose upgrade was under way is not left behind.
    let (ours, theirs) = tokio::io::duplex(1024);
    let late = Arc::clone(&node);
    tokio::spawn(async move { session::run(&late, theirs, bytes::Bytes::new(), admission(&late)).await });
    let message = Client(ClientBuilder::new().take_over(ours)).message().await;
    assert_eq!(message.as_close().map(|(code, _)| u16::from(code)), Some(1013));
    drop(client);
    until("all is given back", || {
        node.registry.len() == 0
            && Counters::get(&node.counters.sessions) == 0
            && node.channels.hub.channels() == 0
    })
    .await;
}

/// A bundle whose leaf ends in so many seconds.
fn ending(ca: &Authority, generation: u64, seconds: i64) -> Bundle {
    let mut bundle = bundle_of(ca, "web", generation, &["a.example"]);
    let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - time::Duration::HOUR;
    params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let key = KeyPair::generate().unwrap();
    bundle.chain = vec![params.signed_by(&key, ca).unwrap().der().to_vec()];
    bundle.key = key.serialize_der();
    bundle
}

#[tokio::test]
async fn it_opens_by_its_own_clock_and_closes_only_after_a_proof_of_another_leaf() {
    let mut listening = listening(QUICK);
    let node = Arc::clone(&listening.node);
    let address = listening.address.to_string();
    let ca = authority();
    let mut stream = Stream::of(&mut listening);
    let short = ending(&ca, 1, 2);
    stream.serve(&short).await;
    assert!(!node.guard.is_open());
    // Nobody says anything from here on: the agent is dead.
    drop(stream);
    until("it is open", || node.guard.is_open()).await;
    let report = node.guard.report();
    assert_eq!(report.causes, ["expired"]);
    assert!(report.detail.starts_with("certificate web generation 1 expired at "), "{}", report.detail);
    let seen = sealwire_proto::probe::handshake(&address, "a.example", PATIENCE).await.unwrap();
    assert_eq!(seen.leaf_sha256, sha256(&short.chain[0]), "TLS is answered with the last one");

    let mut stream = Stream::of(&mut listening);
    stream.serve(&bundle_of(&ca, "web", 2, &["a.example"])).await;
    until("it is closed", || !node.guard.is_open()).await;
    assert_eq!(Counters::get(&node.counters.breaker_opened), 1);
    assert_eq!(Counters::get(&node.counters.breaker_closed), 1);
}

#[tokio::test]
async fn a_name_that_is_no_longer_covered_opens_it() {
    let mut listening = listening_for(&["a.example", "b.example"], QUICK);
    let node = Arc::clone(&listening.node);
    let mut stream = Stream::of(&mut listening);
    let ca = authority();
    // What was never covered is for readiness to say: another certificate may be on its way.
    stream.serve(&bundle_of(&ca, "web", 1, &["a.example"])).await;
    assert!(!node.guard.is_open() && node.readiness.obstacle().is_some());
    stream.serve(&bundle_of(&ca, "web", 2, &["a.example", "b.example"])).await;
    assert!(!node.guard.is_open() && node.readiness.obstacle().is_none());
    stream.serve(&bundle_of(&ca, "web", 3, &["a.example"])).await;
    let report = node.guard.report();
    assert_eq!((report.state(), report.causes), (v1::BreakerState::Open, vec!["name_mismatch".to_owned()]));
    assert_eq!(report.detail, "nothing served is for b.example");
    // Whatever certificate it comes with.
    stream.serve(&bundle_of(&ca, "other", 1, &["b.example"])).await;
    until("it is closed", || !node.guard.is_open()).await;
}

/// A client that keeps tickets, and what it sees.
struct Resuming {
    config: Arc<ClientConfig>,
    address: String,
}

impl Resuming {
    fn new(ca: &Authority, listening: &Listening) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        Self { config: Arc::new(config), address: listening.address.to_string() }
    }

    /// One request, so that the tickets behind the handshake are read: how the handshake went, and the leaf.
    async fn connect(&self) -> (HandshakeKind, CertificateDer<'static>) {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        let name = "a.example".try_into().unwrap();
        let mut stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let connection = stream.get_ref().1;
        let leaf = connection.peer_certificates().unwrap()[0].clone();
        (connection.handshake_kind().unwrap(), leaf)
    }
}

#[tokio::test]
async fn a_revoked_leaf_takes_its_session_tickets_with_it() {
    let mut listening = listening("");
    let node = Arc::clone(&listening.node);
    let ca = authority();
    let client = Resuming::new(&ca, &listening);
    let mut stream = Stream::of(&mut listening);
    let (one, two) = (bundle_of(&ca, "web", 1, &["a.example"]), bundle_of(&ca, "web", 2, &["a.example"]));
    stream.serve(&one).await;
    assert_eq!(client.connect().await.0, HandshakeKind::Full);
    assert_eq!(client.connect().await.0, HandshakeKind::Resumed, "or the test shows nothing");
    let leaf = sha256(&one.chain[0]);
    let revoked = |halt| {
        Body::Revoked(Revoked {
            certificate: "web".into(),
            generation: 1,
            leaf_sha256: leaf.to_vec(),
            reason: "keyCompromise, says OCSP".into(),
            halt,
        })
    };
    stream.say(revoked(false)).await;
    assert!(!node.guard.is_open(), "the agent did not say that it halts");
    assert_eq!(node.guard.report().causes, ["revoked"]);
    assert_eq!(client.connect().await.0, HandshakeKind::Full, "at once");
    assert_eq!(client.connect().await.0, HandshakeKind::Resumed);

    stream.serve(&two).await;
    let (kind, leaf) = client.connect().await;
    assert_eq!((kind, sha256(&leaf)), (HandshakeKind::Full, sha256(&two.chain[0])));
    assert!(node.guard.report().causes.is_empty());
    // An ordinary swap leaves tickets alone.
    stream.serve(&bundle_of(&ca, "web", 3, &["a.example"])).await;
    assert_eq!(client.connect().await.0, HandshakeKind::Resumed);

    // Said again, as on every new stream, it costs no more tickets.
    stream.say(revoked(false)).await;
    assert_eq!(client.connect().await.0, HandshakeKind::Resumed);

    // There is no way back to it.
    let back = v1::Rollback { bundle: Some(one.clone()) };
    stream.say(Body::Rollback(back)).await;
    let answer = stream.answer().await;
    assert!(
        matches!(&answer, v1::node_message::Body::Nack(nack) if nack.reason() == v1::NackReason::Revoked)
    );
    // But a node that has just been started, and hears of the revocation first, has nothing better.
    let mut empty = listening_for(&["a.example"], "");
    let mut stream = Stream::of(&mut empty);
    stream.say(revoked(false)).await;
    assert_eq!(stream.serve(&one).await.error, "");
}

#[tokio::test]
async fn a_revocation_that_halts_opens_it_until_the_leaf_is_replaced() {
    let mut listening = listening(QUICK);
    let node = Arc::clone(&listening.node);
    let mut stream = Stream::of(&mut listening);
    let ca = authority();
    let one = bundle_of(&ca, "web", 1, &["a.example"]);
    stream.serve(&one).await;
    let mut revoked = Revoked { certificate: "web".into(), halt: true, ..Revoked::default() };
    stream.say(Body::Revoked(revoked.clone())).await;
    assert!(!node.guard.is_open(), "it names no leaf");
    revoked.leaf_sha256 = sha256(&one.chain[0]).to_vec();
    stream.say(Body::Revoked(revoked)).await;
    assert!(node.guard.is_open());
    // Proofs of the revoked one do not help, nor does the same bundle again.
    stream.serve(&one).await;
    assert!(node.guard.is_open());
    stream.serve(&bundle_of(&ca, "web", 2, &["a.example"])).await;
    until("it is closed", || !node.guard.is_open()).await;
}
