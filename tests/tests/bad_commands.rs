//! Commands that are wrong, or not allowed, or too many: each gets exactly its error, or ends the session with exactly its
//! code, in both framings, and what is not known is passed over (docs/wire.md).
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rustls::ClientConfig;
use sealwire_tests::client::{Link, LinkError};
use sealwire_tests::process::Process;
use sealwire_tests::session::tls;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::json;
use wss_node::wire::v1::{
    Command, ConnectRequest, FilterNode, HistoryRequest, PingRequest, PresenceRequest, PresenceStatsRequest,
    PublishRequest, RefreshRequest, RpcRequest, SendRequest, StreamPosition, SubRefreshRequest,
    SubscribeRequest, UnsubscribeRequest,
};
use wss_node::wire::{Answer, Event, Framing, Request};

const FRAMINGS: [Framing; 2] = [Framing::Json, Framing::Protobuf];
/// Four channels a session.
const CONFIG: &str = "\
[session]\nchannels = 4\n\
[namespaces.open]\nhistory = 10\n\
[namespaces.plain]\nhistory = 0\nrecovery = false\n\
[namespaces.closed]\nsubscribe = [\"closed:{user}\"]\npublish = []\n\
[namespaces.small]\npublication_bytes = 100\npublications_per_second = 1\npublications_burst = 2\n\
[namespaces.board]\nkind = \"map\"\n\
[namespaces.raw]\npayload = \"bytes\"\n";

struct Setting {
    world: World,
    _agent: Process,
    node: Process,
    tls: Arc<ClientConfig>,
}

impl Setting {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more lines before the others.
    async fn start_with(lines: &str) -> Self {
        let world = World::new();
        world.configure_agent(&AgentSettings::default());
        world.configure_node("node-1", 0, &world.delivery_socket(), &format!("{lines}{CONFIG}"));
        let (agent, node) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let tls = tls(&world.roots().await.0).unwrap();
        Self { world, _agent: agent, node, tls }
    }

    async fn upgraded(&self, framing: Framing) -> Link {
        Link::open(self.world.node_address(), Arc::clone(&self.tls), framing).await.unwrap()
    }

    async fn connected(&self, framing: Framing) -> Link {
        let mut link = self.upgraded(framing).await;
        assert!(matches!(answer(&mut link, 1, ConnectRequest::default()).await, Answer::Connect(_)));
        link
    }
}

/// The answer to a command; pushes before it are passed over.
async fn answer(link: &mut Link, id: u32, request: impl Into<Request>) -> Answer {
    link.send(id, request.into()).await.unwrap();
    answer_to(link, id).await
}

async fn answer_to(link: &mut Link, id: u32) -> Answer {
    loop {
        let reply = tokio::time::timeout(PATIENCE, link.next()).await.unwrap().unwrap();
        if reply.id == id {
            return reply.answer.unwrap();
        }
    }
}

/// The code of the error; 0: there is none.
fn code(answer: &Answer) -> u32 {
    if let Answer::Error(error) = answer { error.code } else { 0 }
}

/// The code with which the node closes.
async fn closed(link: &mut Link) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, link.next()).await.expect("an end") {
            Ok(_) => {}
            Err(LinkError::Closed { code, .. }) => return code,
            Err(error) => panic!("no close code: {error}"),
        }
    }
}

fn subscribe(channel: &str) -> SubscribeRequest {
    SubscribeRequest { channel: channel.to_owned(), ..Default::default() }
}

fn publish(channel: &str, data: &[u8]) -> PublishRequest {
    PublishRequest { channel: channel.to_owned(), data: Bytes::copy_from_slice(data), ..Default::default() }
}

fn history(channel: &str, limit: i32, epoch: &str) -> HistoryRequest {
    let since =
        Some(StreamPosition { offset: 1, epoch: epoch.to_owned() }).filter(|since| !since.epoch.is_empty());
    HistoryRequest { channel: channel.to_owned(), limit, since, reverse: false }
}

fn filter(cmp: &str) -> Option<FilterNode> {
    Some(FilterNode { key: "k".to_owned(), cmp: cmp.to_owned(), val: "v".to_owned(), ..Default::default() })
}

fn rpc(method: &str, data: &str) -> RpcRequest {
    RpcRequest { method: method.to_owned(), data: Bytes::copy_from_slice(data.as_bytes()) }
}

/// One after the other in one session, with the code of the error that each gets.
fn commands() -> Vec<(&'static str, Request, u32)> {
    let long = format!("open:{}", "x".repeat(251));
    let presence = |channel: &str| PresenceRequest { channel: channel.to_owned() };
    let large = json!("x".repeat(99)).to_string();
    vec![
        ("subscribe", subscribe("open:a").into(), 0),
        ("again", subscribe("open:a").into(), 105),
        ("no channel", subscribe("").into(), 107),
        ("256 bytes", subscribe(&long).into(), 106),
        ("no such namespace", subscribe("nowhere:a").into(), 102),
        ("a channel of nobody's", subscribe("closed:a").into(), 103),
        ("an unknown delta", SubscribeRequest { delta: "zip".into(), ..subscribe("open:b") }.into(), 107),
        ("a stream as a map", SubscribeRequest { r#type: 1, ..subscribe("open:b") }.into(), 107),
        ("a map as a stream", subscribe("board:b").into(), 107),
        ("a phase of a stream", SubscribeRequest { phase: 1, ..subscribe("open:b") }.into(), 107),
        ("a negative limit", SubscribeRequest { limit: -1, ..subscribe("open:b") }.into(), 107),
        ("a kind that is off", SubscribeRequest { r#type: 2, ..subscribe("open:b") }.into(), 108),
        ("a filter", SubscribeRequest { tf: filter("eq"), ..subscribe("open:b") }.into(), 108),
        ("a filter that is none", SubscribeRequest { tf: filter("is"), ..subscribe("open:b") }.into(), 107),
        (
            "a lost position, strictly",
            SubscribeRequest { recover: true, epoch: "x".into(), flag: 2, ..subscribe("open:b") }.into(),
            112,
        ),
        (
            "a lost position of a map",
            SubscribeRequest {
                r#type: 1,
                phase: 1,
                epoch: "x".into(),
                recover: true,
                ..subscribe("board:b")
            }
            .into(),
            112,
        ),
        (
            "a token that is none",
            SubscribeRequest { token: "none".into(), ..subscribe("open:b") }.into(),
            103,
        ),
        ("the second channel", subscribe("open:b").into(), 0),
        ("the third", subscribe("open:c").into(), 0),
        ("the fourth", subscribe("plain:d").into(), 0),
        ("one too many", subscribe("open:e").into(), 106),
        ("out of what one is not in", UnsubscribeRequest { channel: "open:z".into() }.into(), 0),
        ("out of no channel", UnsubscribeRequest::default().into(), 107),
        ("publish", publish("open:a", b"1").into(), 0),
        ("nothing", publish("open:a", b"").into(), 107),
        ("nowhere", publish("nowhere:a", b"1").into(), 102),
        ("where nobody may", publish("closed:a", b"1").into(), 103),
        ("too large", publish("small:a", large.as_bytes()).into(), 106),
        ("the first", publish("small:a", b"1").into(), 0),
        ("the second", publish("small:a", b"2").into(), 0),
        ("too many", publish("small:a", b"3").into(), 111),
        ("a map without a key", PublishRequest { r#type: 1, ..publish("board:a", b"1") }.into(), 107),
        (
            "a key of a stream",
            PublishRequest { r#type: 1, key: "k".into(), ..publish("open:a", b"1") }.into(),
            107,
        ),
        ("to remove nothing", PublishRequest { removed: true, ..publish("open:a", b"1") }.into(), 107),
        ("a type that is none", PublishRequest { r#type: 9, ..publish("open:a", b"1") }.into(), 107),
        ("history", history("open:a", -1, "").into(), 0),
        ("where there is none", history("plain:a", -1, "").into(), 108),
        ("a limit that is none", history("open:a", -2, "").into(), 107),
        ("another epoch", history("open:a", 1, "x").into(), 112),
        ("of others", history("closed:a", 1, "").into(), 103),
        ("presence where it is off", presence("open:a").into(), 108),
        ("its count", PresenceStatsRequest { channel: "open:a".into() }.into(), 108),
        ("of others", presence("closed:a").into(), 103),
        ("no such method", rpc("no.such", "{}").into(), 104),
        ("a method too long", rpc(&"x".repeat(256), "{}").into(), 106),
        ("another form", rpc("channel.publish", "[]").into(), 107),
        (
            "an unknown field of ours",
            rpc("channel.publish", r#"{"channel":"open:a","data":1,"fly":1}"#).into(),
            107,
        ),
        ("no data", rpc("channel.publish", r#"{"channel":"open:a"}"#).into(), 107),
        ("no token", RefreshRequest::default().into(), 107),
        ("a token of nobody", RefreshRequest { token: "x".into() }.into(), 107),
        (
            "no token for a channel",
            SubRefreshRequest { channel: "open:a".into(), ..Default::default() }.into(),
            107,
        ),
        ("ping", PingRequest {}.into(), 0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_command_gets_its_error_and_the_session_goes_on() {
    let setting = Setting::start().await;
    for framing in FRAMINGS {
        let mut link = setting.connected(framing).await;
        for (id, (what, request, expected)) in (2..).zip(commands()) {
            let answer = answer(&mut link, id, request).await;
            assert_eq!(code(&answer), expected, "{framing:?}: {what}: {answer:?}");
            assert!(code(&answer) != 111 || matches!(&answer, Answer::Error(error) if error.temporary));
        }
    }
    // What only Protobuf can send.
    let mut link = setting.connected(Framing::Protobuf).await;
    for data in [&b"nonsense"[..], b"{", b"\xff", b"1 2"] {
        assert_eq!(code(&answer(&mut link, 2, publish("open:a", data)).await), 107, "{data:?}");
    }
    assert_eq!(setting.node.count("panicked"), 0);
}

/// A command as a frame.
fn frame(framing: Framing, command: &Command) -> Vec<u8> {
    match framing {
        Framing::Json => serde_json::to_vec(command).unwrap(),
        Framing::Protobuf => command.encode_length_delimited_to_vec(),
    }
}

fn command(id: u32, request: impl Into<Request>) -> Command {
    Command { id, request: Some(request.into()) }
}

fn ping(framing: Framing, id: u32) -> Vec<u8> {
    let mut bytes = frame(framing, &command(id, PingRequest {}));
    if framing == Framing::Json {
        bytes.push(b'\n');
    }
    bytes
}

/// The same wrong frame in both framings, and the code.
fn frames(framing: Framing) -> Vec<(&'static str, Vec<u8>, u16)> {
    let own = |request: Request| frame(framing, &command(9, request));
    let mut all = vec![
        ("connect, again", own(ConnectRequest::default().into()), 3501),
        ("something for nobody", own(SendRequest::default().into()), 3508),
        ("nothing", Vec::new(), 3501),
        ("one that is right, and no more", [ping(framing, 5), vec![b'x']].concat(), 3501),
        ("a flood in one frame", ping(framing, 5).repeat(300), 3013),
        (
            "too large",
            own(publish("open:a", &json!("x".repeat(66_000)).to_string().into_bytes()).into()),
            1009,
        ),
    ];
    all.extend(match framing {
        Framing::Json => vec![
            ("no JSON", b"nonsense".to_vec(), 3501),
            ("an array", b"[]".to_vec(), 3501),
            ("a type that is another", br#"{"id":"5","ping":{}}"#.to_vec(), 3501),
            ("an id below 0", br#"{"id":-5,"ping":{}}"#.to_vec(), 3501),
            (
                "a field twice",
                br#"{"id":5,"history":{"channel":"open:a","channel":"open:b"}}"#.to_vec(),
                3501,
            ),
            ("two requests", br#"{"id":5,"ping":{},"history":{"channel":"open:a"}}"#.to_vec(), 3501),
            ("cut short", br#"{"id":5,"ping":{}"#.to_vec(), 3501),
            (
                "deep",
                format!("{{\"id\":5,\"rpc\":{{\"data\":{}1{}}}}}", "[".repeat(200), "]".repeat(200)).into(),
                3501,
            ),
        ],
        Framing::Protobuf => vec![
            ("no message", b"\xff\xff\xff\xff\xff\xff".to_vec(), 3501),
            ("a length that is not there", vec![40, 8, 5], 3501),
            ("two requests", vec![6, 8, 5, 0x5a, 0, 0x6a, 0], 3501),
            ("a type that is another", vec![3, 0x0d, 5, 0], 3501),
            ("a channel that is not UTF-8", vec![7, 8, 5, 0x2a, 3, 0x0a, 1, 0xff], 3501),
        ],
    });
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_frame_ends_the_session_with_its_code() {
    let setting = Setting::start().await;
    for framing in FRAMINGS {
        for (what, bytes, expected) in frames(framing) {
            let mut link = setting.connected(framing).await;
            link.frame(bytes).await.unwrap();
            assert_eq!(closed(&mut link).await, expected, "{framing:?}: {what}");
        }
        let mut link = setting.connected(framing).await;
        link.foreign("{}").await.unwrap();
        assert_eq!(closed(&mut link).await, 1003, "{framing:?}: the other type");
        for (what, bytes) in [
            ("ping first", ping(framing, 5)),
            ("connect without an id", frame(framing, &command(0, ConnectRequest::default()))),
            ("a pong first", framing.ping().to_vec()),
        ] {
            let mut link = setting.upgraded(framing).await;
            link.frame(bytes).await.unwrap();
            assert_eq!(closed(&mut link).await, 3501, "{framing:?}: {what}");
        }
        // Many frames instead of one.
        let mut link = setting.connected(framing).await;
        let flood = async {
            for _ in 0..400 {
                if link.frame(ping(framing, 5)).await.is_err() {
                    break;
                }
            }
            closed(&mut link).await
        };
        let flood = tokio::time::timeout(PATIENCE, flood);
        assert_eq!(flood.await.unwrap(), 3013, "{framing:?}: a flood");
    }
    assert_eq!(setting.node.count("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_passed_over() {
    let setting = Setting::start().await;
    for framing in FRAMINGS {
        let mut link = setting.connected(framing).await;
        let (known, unknown, none) = match framing {
            Framing::Json => (
                br#"{"id":5,"ping":{"soon":1},"later":{"x":[1]},"method":7}"#.to_vec(),
                br#"{"id":6,"fly":{}}"#.to_vec(),
                br#"{"id":7}"#.to_vec(),
            ),
            // Field 99 is a varint; field 77 is a message.
            Framing::Protobuf => {
                (vec![7, 8, 5, 0x5a, 0, 0x98, 0x06, 1], vec![5, 8, 6, 0xea, 0x04, 0], vec![2, 8, 7])
            }
        };
        link.frame(known).await.unwrap();
        assert!(matches!(answer_to(&mut link, 5).await, Answer::Ping(_)), "{framing:?}");
        for (id, frame) in [(6, unknown), (7, none)] {
            link.frame(frame).await.unwrap();
            assert_eq!(code(&answer_to(&mut link, id).await), 104, "{framing:?}: {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rate_the_commands_of_a_frame_are_counted() {
    let limits = "[limits]\naccepts_per_second_per_ip = 0\nmessages_per_second = 0\nmessages_burst = 1\n";
    let setting = Setting::start_with(limits).await;
    for framing in FRAMINGS {
        let mut link = setting.connected(framing).await;
        // Four channels, and 16.
        link.frame(ping(framing, 5).repeat(20)).await.unwrap();
        for _ in 0..20 {
            answer_to(&mut link, 5).await;
        }
        link.frame(ping(framing, 5).repeat(21)).await.unwrap();
        assert_eq!(closed(&mut link).await, 3501, "{framing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_end_a_session_that_can_carry_json_only() {
    let setting = Setting::start().await;
    let (mut json, mut protobuf) =
        (setting.connected(Framing::Json).await, setting.connected(Framing::Protobuf).await);
    for link in [&mut json, &mut protobuf] {
        assert!(matches!(answer(link, 2, subscribe("raw:a")).await, Answer::Subscribe(_)));
    }
    assert!(matches!(answer(&mut protobuf, 3, publish("raw:a", b"{\"fine\":1}")).await, Answer::Publish(_)));
    let reply = tokio::time::timeout(PATIENCE, json.next()).await.unwrap().unwrap();
    assert!(matches!(reply.answer, Some(Answer::Push(push)) if matches!(push.event, Some(Event::Pub(_)))));
    assert!(matches!(answer(&mut protobuf, 4, publish("raw:a", b"\xff\x00")).await, Answer::Publish(_)));
    assert_eq!(closed(&mut json).await, 3506);
    // The other one has both.
    let alive = answer(&mut protobuf, 5, PingRequest {}).await;
    assert!(matches!(alive, Answer::Ping(_)));
}
