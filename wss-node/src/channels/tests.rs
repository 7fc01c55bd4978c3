//! Subscribers of channels in memory: what they get, in which form, and that everything is given back.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::broker::Deliveries;
use crate::broker::follow::{BUFFERED, BUFFERED_BYTES};
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::Publication;
use crate::outbound::tests::texts;
use crate::outbound::{Order, Outbound};
use crate::wire::v1::ClientInfo;
use crate::wire::{Framing, ReplyError, fossil, replies};

struct World {
    channels: Arc<Channels>,
    seconds: Arc<AtomicI64>,
}

impl World {
    fn new(namespaces: &str) -> Self {
        let text = format!("server_names = [\"a\"]\n[token]\nanonymous = true\n{namespaces}");
        let config = Config::from_text("n.toml".as_ref(), &text).unwrap();
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let told = Arc::clone(&seconds);
        let clock: Clock = Arc::new(move || Timestamp::from_second(told.load(Ordering::Relaxed)).unwrap());
        Self { channels: Channels::new(&config, &Arc::default(), clock), seconds }
    }

    async fn append(&self, channel: &str, new: NewPublication) -> Position {
        let channel = self.channels.find(channel).unwrap();
        match self.channels.publish(&channel, new).await {
            Append::Appended(position) => position,
            other => panic!("{other:?}"),
        }
    }

    async fn publish(&self, channel: &str, data: &str) -> Position {
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.append(channel, NewPublication { data, ..NewPublication::default() }).await
    }

    async fn set(&self, channel: &str, key: &str, data: &str) -> Position {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let key = Some(key.into());
        self.append(channel, NewPublication { data, key, ..NewPublication::default() }).await
    }
}

struct Client {
    outbound: Arc<Outbound>,
    framing: Framing,
    delta: bool,
}

impl Client {
    fn new() -> Self {
        Self { outbound: Arc::new(Outbound::new(100_000)), framing: Framing::Json, delta: false }
    }

    fn newcomer(&self, called: &str) -> Newcomer {
        Newcomer {
            outbound: Arc::clone(&self.outbound),
            called: called.into(),
            framing: self.framing,
            delta: self.delta,
            hears_members: true,
        }
    }

    fn join(&self, called: &str, since: Since) -> Join {
        Join { newcomer: self.newcomer(called), since, strict: false }
    }

    /// The data of the publications in its queue.
    fn heard(&self) -> Vec<Value> {
        if self.outbound.queued_bytes() == 0 {
            return Vec::new();
        }
        let texts = texts(&self.outbound);
        texts.iter().map(|text| serde_json::from_slice::<Value>(text).unwrap()["push"].take()).collect()
    }

    fn heard_data(&self) -> Vec<Value> {
        self.heard().iter().map(|push| push["pub"]["data"].clone()).collect()
    }
}

fn data(publications: &[Arc<Publication>]) -> Vec<&[u8]> {
    publications.iter().map(|publication| &*publication.data).collect()
}

#[tokio::test]
async fn what_was_missed_comes_with_the_answer_and_the_rest_after_it() {
    let world = World::new("");
    let channel = world.channels.find("c").unwrap();
    let client = Client::new();
    let joined = world.channels.join_stream(&channel, client.join("c", Since::Now)).await.unwrap();
    assert_eq!((joined.recovered, joined.position.offset), (None, 0));
    // Held back until the answer is in the queue.
    world.publish("c", "1").await;
    assert!(client.heard().is_empty());
    joined.place.room.open(joined.place.seat);
    world.publish("c", "2").await;
    let heard = client.heard();
    assert_eq!(heard[0]["pub"], json!({"data": 1, "offset": 1}));
    assert_eq!(heard[1]["pub"]["offset"], 2);
    drop(joined);
    assert_eq!(world.channels.hub.channels(), 0);

    let had = Position { epoch: world.publish("c", "3").await.epoch, offset: 2 };
    world.publish("c", "4").await;
    let joined = world.channels.join_stream(&channel, client.join("c", Since::Position(had))).await.unwrap();
    assert_eq!((joined.recovered, joined.position.offset), (Some(true), 4));
    assert_eq!(data(&joined.publications), [b"3", b"4"]);
    assert_eq!(Counters::get(&world.channels.counters.recovered), 1);
}

#[tokio::test]
async fn what_cannot_be_recovered_is_said() {
    let world = World::new("[namespaces.default]\nhistory = 3\nrecovery_limit = 2\n");
    let channel = world.channels.find("c").unwrap();
    let client = Client::new();
    let epoch = world.publish("c", "1").await.epoch;
    for n in 2..=6 {
        world.publish("c", &n.to_string()).await;
    }
    let at = |offset| Since::Position(Position { epoch: epoch.clone(), offset });
    let other = Since::Position(Position { epoch: Epoch::named("other"), offset: 5 });
    // Out of the log; more than is given at once; another log.
    for since in [at(1), at(3), other, at(7)] {
        let joined = world.channels.join_stream(&channel, client.join("c", since.clone())).await.unwrap();
        assert_eq!((joined.recovered, joined.position.offset), (Some(false), 6), "{since:?}");
        assert!(joined.publications.is_empty());
        joined.place.room.open(joined.place.seat);
        drop(joined);
        let strict = Join { strict: true, ..client.join("c", since) };
        let refused = world.channels.join_stream(&channel, strict).await.unwrap_err();
        assert_eq!(refused, ReplyError::UNRECOVERABLE_POSITION);
    }
    let joined = world.channels.join_stream(&channel, client.join("c", at(4))).await.unwrap();
    assert_eq!((joined.recovered, data(&joined.publications)), (Some(true), vec![&b"5"[..], b"6"]));
    assert_eq!(Counters::get(&world.channels.counters.unrecovered), 8);
}

#[tokio::test]
async fn all_get_the_same_bytes_and_each_what_it_calls_the_channel() {
    let world = World::new("");
    let channel = world.channels.find("t.c").unwrap();
    let clients = [Client::new(), Client::new(), Client::new()];
    let mut joined = Vec::new();
    for (client, called) in clients.iter().zip(["t.c", "t.c", "c"]) {
        let one = world.channels.join_stream(&channel, client.join(called, Since::Now)).await.unwrap();
        one.place.room.open(one.place.seat);
        joined.push(one);
    }
    assert_eq!(world.channels.hub.subscribers("t.c"), 3);
    world.publish("t.c", "1").await;
    let [one, two, three] = clients.each_ref().map(|client| texts(&client.outbound).remove(0));
    assert_eq!(one.as_ptr(), two.as_ptr(), "shared, not copied");
    assert_eq!(serde_json::from_slice::<Value>(&three).unwrap()["push"]["channel"], "c");
    drop(joined.remove(1));
    world.publish("t.c", "2").await;
    assert_eq!(clients.each_ref().map(|client| client.heard().len()), [1, 0, 1]);
    assert_eq!(Counters::get(&world.channels.counters.deliveries), 5);
}

#[tokio::test]
async fn a_value_comes_at_once_and_only_the_newest() {
    let world = World::new("[namespaces.default]\nkind = \"value\"\nhistory = 1\ndelta = true\n");
    let channel = world.channels.find("v").unwrap();
    let mut client = Client::new();
    client.delta = true;
    let joined = world.channels.join_value(&channel, client.join("v", Since::Now)).await.unwrap();
    assert!(joined.publications.is_empty() && joined.recovered.is_none());
    drop(joined);
    let long = |n: u32| format!("{{\"text\":\"{}\",\"n\":{n}}}", "the same each time ".repeat(10));
    let epoch = world.publish("v", &long(1)).await.epoch;
    world.publish("v", &long(2)).await;
    let joined = world.channels.join_value(&channel, client.join("v", Since::Now)).await.unwrap();
    assert_eq!(data(&joined.publications), [long(2).as_bytes()]);
    joined.place.room.open(joined.place.seat);
    // The first is whole, in a string; then differences.
    for n in 3..=5 {
        world.publish("v", &long(n)).await;
    }
    let heard = client.heard();
    assert_eq!(heard[0]["pub"]["data"].as_str(), Some(long(3).as_str()));
    for (push, n) in heard[1..].iter().zip(4..) {
        let delta = push["pub"]["data"].as_str().unwrap();
        assert!(push["pub"]["delta"] == true && delta.len() < 80, "{push}");
        assert_eq!(
            fossil::apply(long(n - 1).as_bytes(), delta.as_bytes(), 10_000).unwrap(),
            long(n).as_bytes()
        );
    }
    drop(joined);
    // Who has the newest already is not given it again; who was away for any time gets it.
    for (offset, expected) in [(5, 0), (1, 1)] {
        let since = Since::Position(Position { epoch: epoch.clone(), offset });
        let joined = world.channels.join_value(&channel, client.join("v", since)).await.unwrap();
        assert_eq!((joined.recovered, joined.publications.len()), (Some(true), expected));
    }
}

#[tokio::test]
async fn a_map_in_pages_and_then_its_changes_is_the_map() {
    let world = World::new("[namespaces.default]\nkind = \"map\"\n");
    let channel = world.channels.find("m").unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        world.set("m", key, "1").await;
    }
    let client = Client::new();
    let first = world.channels.state(&channel, None, 2).await.unwrap();
    world.set("m", "a", "2").await;
    world
        .append("m", NewPublication { key: Some("e".into()), removed: true, ..NewPublication::default() })
        .await;
    let second = world.channels.state(&channel, first.next.as_ref(), 2).await.unwrap();
    assert_eq!((second.next, &second.position), (None, &first.position));
    let joined =
        world.channels.join_map(&channel, client.newcomer("m"), second.position.clone()).await.unwrap();
    let mut state: std::collections::BTreeMap<_, _> = std::collections::BTreeMap::new();
    let entries = first.entries.iter().chain(&second.entries);
    for entry in entries.chain(&joined.publications) {
        if entry.removed {
            state.remove(&entry.key);
        } else {
            state.insert(entry.key.clone(), entry.data.clone());
        }
    }
    let state: Vec<_> = state.iter().map(|(key, data)| (key.as_deref().unwrap(), &data[..])).collect();
    assert_eq!(state, [("a", &b"2"[..]), ("b", b"1"), ("c", b"1"), ("d", b"1")]);
    joined.place.room.open(joined.place.seat);
    world.set("m", "f", "3").await;
    let heard = client.heard();
    assert_eq!((&heard[0]["pub"]["key"], &heard[0]["pub"]["data"]), (&json!("f"), &json!(3)));
    drop(joined);
    let gone = Position { epoch: Epoch::named("gone"), offset: 1 };
    let refused = world.channels.join_map(&channel, client.newcomer("m"), gone).await.unwrap_err();
    assert_eq!(refused, ReplyError::UNRECOVERABLE_POSITION);
}

#[tokio::test]
async fn a_hole_is_filled_from_the_log_or_the_subscription_ends() {
    let world = World::new("[namespaces.default]\nhistory = 3\n[namespaces.loose]\nhistory = 0\n");
    let _tasks = world.channels.start();
    let channel = world.channels.find("c").unwrap();
    let client = Client::new();
    let joined = world.channels.join_stream(&channel, client.join("c", Since::Now)).await.unwrap();
    joined.place.room.open(joined.place.seat);
    let epoch = world.publish("c", "1").await.epoch;
    // The broker lets the hub miss two.
    world.channels.memory.unsubscribe("c");
    world.publish("c", "2").await;
    world.publish("c", "3").await;
    world.channels.memory.subscribe("c", &channel.namespace.rules);
    world.publish("c", "4").await;
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.extend(client.heard_data());
        tokio::task::yield_now().await;
    }
    assert_eq!(heard, [1, 2, 3, 4]);
    world.channels.memory.unsubscribe("c");
    for n in 5..=9 {
        world.publish("c", &n.to_string()).await;
    }
    world.channels.hub.gap("c");
    assert_eq!(ordered(&client).await, Order::Lost("c".into()));
    // Nothing more comes to it.
    let late = Publication { offset: 10, data: Bytes::from_static(b"10"), ..Publication::default() };
    world.channels.hub.delivered("c", &epoch, &Arc::new(late));
    assert!(client.heard().is_empty());

    // Where nothing is kept, nothing is promised.
    let channel = world.channels.find("loose:c").unwrap();
    let joined = world.channels.join_stream(&channel, client.join("loose:c", Since::Now)).await.unwrap();
    joined.place.room.open(joined.place.seat);
    world.channels.memory.unsubscribe("loose:c");
    world.publish("loose:c", "1").await;
    world.channels.memory.subscribe("loose:c", &channel.namespace.rules);
    world.channels.hub.gap("loose:c");
    let mut heard = Vec::new();
    for n in 2.. {
        world.publish("loose:c", &n.to_string()).await;
        tokio::task::yield_now().await;
        heard.extend(client.heard());
        if !heard.is_empty() {
            break;
        }
        assert!(n < 1000);
    }
    assert!(heard[0]["pub"].get("offset").is_none(), "an offset that nobody can come back to");
}

#[tokio::test]
async fn a_reader_in_json_of_a_channel_of_bytes_is_sent_away() {
    let world = World::new("[namespaces.default]\npayload = \"bytes\"\n");
    let channel = world.channels.find("b").unwrap();
    let (json, mut protobuf) = (Client::new(), Client::new());
    protobuf.framing = Framing::Protobuf;
    let mut places = Vec::new();
    for client in [&json, &protobuf] {
        let joined = world.channels.join_stream(&channel, client.join("b", Since::Now)).await.unwrap();
        joined.place.room.open(joined.place.seat);
        places.push(joined.place);
    }
    let data = Bytes::from_static(&[0xff, 0]);
    world.append("b", NewPublication { data: data.clone(), ..NewPublication::default() }).await;
    let frame = texts(&protobuf.outbound).remove(0);
    let reply = replies(Framing::Protobuf, &frame).unwrap().remove(0);
    assert!(format!("{reply:?}").contains("\\xff\\0"), "{reply:?}");
    let waker = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(crate::outbound::Next::Close(close)) = json.outbound.poll_next(&waker, false)
    else {
        panic!("it stays")
    };
    assert_eq!(close.code(), 3506);
}

#[tokio::test]
async fn those_who_asked_are_told_who_comes_and_a_full_channel_takes_nobody() {
    let world = World::new("[namespaces.default]\nsubscribers = 1\n");
    let channel = world.channels.find("c").unwrap();
    let client = Client::new();
    let joined = world.channels.join_stream(&channel, client.join("c", Since::Now)).await.unwrap();
    let refused = world.channels.join_stream(&channel, client.join("c", Since::Now)).await.unwrap_err();
    assert_eq!(refused, ReplyError::LIMIT_EXCEEDED);
    let info = Some(ClientInfo { user: "ann".into(), client: "1".into(), ..ClientInfo::default() });
    let event = crate::wire::v1::Join { info }.into();
    joined.place.room.announce(&event);
    assert!(client.heard().is_empty(), "before the answer nothing is said");
    joined.place.room.open(joined.place.seat);
    joined.place.room.announce(&event);
    assert_eq!(client.heard()[0]["join"]["info"], json!({"user": "ann", "client": "1"}));
    let channel = world.channels.find("keys").unwrap();
    let member = |client: &str| Member { client: client.into(), user: "ann".into(), info: Bytes::new() };
    world.channels.present(&channel, member("1"), Duration::from_secs(10)).await.unwrap();
    world.channels.present(&channel, member("2"), Duration::from_secs(90)).await.unwrap();
    assert_eq!(world.channels.member_count(&channel).await.unwrap(), (2, 1));
    world.seconds.fetch_add(30, Ordering::Relaxed);
    assert_eq!(world.channels.members(&channel, 10).await.unwrap(), [member("2")]);
}

#[tokio::test]
async fn subscribers_of_a_removed_history_begin_anew() {
    let world = World::new("");
    let _tasks = world.channels.start();
    let channel = world.channels.find("c").unwrap();
    let client = Client::new();
    let before = world.publish("c", "1").await;
    let joined = world.channels.join_stream(&channel, client.join("c", Since::Now)).await.unwrap();
    joined.place.room.open(joined.place.seat);
    world.channels.begin_anew(&channel).await.unwrap();
    assert_eq!(ordered(&client).await, Order::Lost("c".into()));
    drop(joined);
    let since = Since::Position(before.clone());
    let joined = world.channels.join_stream(&channel, client.join("c", since)).await.unwrap();
    assert_eq!((joined.recovered, joined.position.offset), (Some(false), 0));
    assert_ne!(joined.position.epoch, before.epoch);
    joined.place.room.open(joined.place.seat);
    assert_eq!(world.publish("c", "2").await.offset, 1);
    assert_eq!(client.heard_data(), [2]);
}

/// What a session is told to do next.
async fn ordered(client: &Client) -> Order {
    loop {
        let waker = std::task::Context::from_waker(std::task::Waker::noop());
        match client.outbound.poll_next(&waker, false) {
            std::task::Poll::Ready(crate::outbound::Next::Order(order)) => return order,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// A subscriber whose answer is not in its queue yet holds back a bounded amount; past it it has lost its place, is told
/// so after the answer, and gets nothing more.
#[tokio::test]
async fn what_is_held_back_for_a_subscriber_is_bounded() {
    let new = |bytes: usize| NewPublication {
        data: format!("\"{}\"", "x".repeat(bytes)).into(),
        ..NewPublication::default()
    };
    // Limited by their number, and by their bytes.
    for bytes in [1, 65_000] {
        let most = (16 * BUFFERED).min(4 * BUFFERED_BYTES / new(bytes).cost_bytes());
        for (publications, is_lost) in [(most, false), (most + 1, true)] {
            held_back(&new(bytes), publications, is_lost).await;
        }
    }
}

async fn held_back(new: &NewPublication, publications: usize, is_lost: bool) {
    let what = format!("{publications} of {} bytes", new.cost_bytes());
    let world = World::new(
        "[namespaces.default]\nhistory = 100000\nretained_bytes = 100000000\nrecovery_limit = 100000\n",
    );
    let channel = world.channels.find("c").unwrap();
    let client = Client { outbound: Arc::new(Outbound::new(usize::MAX)), ..Client::new() };
    let joined = world.channels.join_stream(&channel, client.join("c", Since::Now)).await.unwrap();
    for _ in 0..publications {
        world.append("c", new.clone()).await;
    }
    assert!(client.heard().is_empty(), "before the answer nothing is said");
    // One is the log's, one this test's, and one is held back.
    let Read::Page(page) = world.channels.read(&channel, &From::Oldest, 1).await else { panic!() };
    let holders = Arc::strong_count(&page.publications[0]);
    assert_eq!(holders, if is_lost { 2 } else { 3 }, "{what}: what is too much is given back");
    joined.place.room.open(joined.place.seat);
    if is_lost {
        assert_eq!(ordered(&client).await, Order::Lost("c".into()), "{what}");
        world.publish("c", "1").await;
        assert!(client.heard().is_empty(), "{what}: after a loss nothing more comes");
    } else {
        assert_eq!(client.heard().len(), publications, "{what}");
        world.publish("c", "1").await;
        assert_eq!(client.heard_data(), [1], "{what}");
    }
}
