//! Channels in NATS JetStream, with real servers: several nodes see one order, whatever happens to the servers.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use sealwire_tests::channels::{Acknowledged, check, log, publication, rules};
use sealwire_tests::eventually;
use sealwire_tests::nats::Nats;
use sealwire_tests::world::World;
use tokio::sync::mpsc;
use wss_node::broker::answer::{Append, From, Read};
use wss_node::broker::budget::Budget;
use wss_node::broker::follow::{Effect, Follower};
use wss_node::broker::jetstream::{ConnectError, JetStreamBroker, JetStreamPresence, Options};
use wss_node::broker::position::{Epoch, Position};
use wss_node::broker::presence::{Member, Presence};
use wss_node::broker::publication::{Expect, NewPublication, Publication};
use wss_node::broker::rules::{Kind, Rules};
use wss_node::broker::{Broker, Deliveries};

const PATIENCE: Duration = Duration::from_secs(60);

enum Told {
    Delivered(Epoch, Arc<Publication>),
    Gap,
}

/// The hub of a node: gives to the one subscriber of each channel what is delivered.
#[derive(Default)]
struct Hub(Mutex<HashMap<String, mpsc::UnboundedSender<Told>>>);

impl Hub {
    fn tell(&self, channel: &str, told: Told) {
        if let Some(subscriber) = self.0.lock().unwrap().get(channel) {
            let _ = subscriber.send(told);
        }
    }
}

impl Deliveries for Hub {
    fn delivered(&self, channel: &str, epoch: &Epoch, publication: &Arc<Publication>) {
        self.tell(channel, Told::Delivered(epoch.clone(), Arc::clone(publication)));
    }

    fn gap(&self, channel: &str) {
        self.tell(channel, Told::Gap);
    }
}

/// One node's part of the cluster.
struct Node {
    broker: JetStreamBroker,
    hub: Arc<Hub>,
}

fn options(nats: &Nats) -> Options {
    Options {
        servers: nats.urls(),
        partitions: 4,
        replicas: nats.servers.len(),
        history: 100_000,
        ..Options::default()
    }
}

async fn try_node(options: &Options) -> Result<Arc<Node>, ConnectError> {
    let hub = Arc::new(Hub::default());
    let budget = Arc::new(Budget::new(1 << 30));
    let deliveries = Arc::clone(&hub) as Arc<dyn Deliveries>;
    let broker = JetStreamBroker::connect(options, budget, deliveries, Arc::new(Timestamp::now)).await?;
    Ok(Arc::new(Node { broker, hub }))
}

/// A node, once the cluster has found its leaders.
async fn node(nats: &Nats) -> Arc<Node> {
    let options = options(nats);
    eventually("a node in the cluster", PATIENCE, || async {
        try_node(&options).await.inspect_err(|error| eprintln!("{error}")).ok()
    })
    .await
}

/// What a subscriber was sent.
#[derive(Debug, Default)]
struct Seen {
    publications: Vec<(String, u64, String)>,
    lost: usize,
}

/// Subscribes as a session does, and writes down what it would send, until it has nothing more to wait for.
fn subscribe(node: &Arc<Node>, channel: &str, rules: &Arc<Rules>, from: Position) -> Subscriber {
    let (tell, mut told) = mpsc::unbounded_channel();
    node.hub.0.lock().unwrap().insert(channel.to_owned(), tell);
    node.broker.subscribe(channel, rules);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (node, rules, channel) = (Arc::clone(node), Arc::clone(rules), channel.to_owned());
    let write = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let (mut follower, first) = Follower::after(from);
        let mut effects = std::collections::VecDeque::from([first]);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Forward(publication) => {
                        let epoch = follower.position().epoch.as_str().to_owned();
                        let payload = String::from_utf8_lossy(&publication.data).into_owned();
                        write.lock().unwrap().publications.push((epoch, publication.offset, payload));
                    }
                    Effect::Lost { .. } => write.lock().unwrap().lost += 1,
                    Effect::Read { from, number } => {
                        let read = node.broker.read(&channel, &rules, &from, 100).await;
                        if let Read::Unavailable(_) = &read {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        effects.extend(follower.read_back(number, read));
                    }
                }
            }
            match told.recv().await {
                Some(Told::Delivered(epoch, publication)) => {
                    effects.extend(follower.delivered(&epoch, &publication));
                }
                Some(Told::Gap) => effects.extend(follower.gap()),
                None => return,
            }
        }
    });
    Subscriber { seen, task }
}

struct Subscriber {
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn top(node: &Node, channel: &str, rules: &Arc<Rules>) -> Position {
    eventually("the top of a channel", PATIENCE, || async {
        match node.broker.read(channel, rules, &From::Newest, 0).await {
            Read::Page(page) => Some(page.top),
            other => {
                eprintln!("{channel}: {other:?}");
                None
            }
        }
    })
    .await
}

/// Publishes until told to stop, each publication until it is acknowledged, and writes down where it went.
fn publisher(
    node: &Arc<Node>,
    name: &str,
    channel: &str,
    kind: Kind,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Vec<Acknowledged>> {
    let (node, name, channel, stop) =
        (Arc::clone(node), name.to_owned(), channel.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let rules = rules(kind);
        let mut acknowledged = Vec::new();
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let position = loop {
                match node.broker.append(&channel, &rules, publication(kind, &name, n)).await {
                    Append::Appended(position) | Append::Duplicate(position) => break position,
                    Append::Unavailable(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => panic!("{other:?}"),
                }
            };
            acknowledged.push(Acknowledged {
                channel: channel.clone(),
                epoch: position.epoch.as_str().to_owned(),
                offset: position.offset,
                payload: format!("{name}.{n}"),
            });
            n += 1;
        }
        acknowledged
    })
}

const CHANNELS: [(&str, Kind); 3] = [("stream", Kind::Stream), ("map", Kind::Map), ("other", Kind::Stream)];

/// Publishers and subscribers on every node, while `faults` happen. Then: every log is what was acknowledged, all nodes
/// have the same, and every subscriber has seen all of it, once and in order.
async fn under<F: Future<Output = ()>>(nodes: &[Arc<Node>], faults: F) -> Vec<Acknowledged> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
    for (number, node) in nodes.iter().enumerate() {
        for (channel, kind) in CHANNELS {
            let from = top(node, channel, &rules(kind)).await;
            let begin = Position { offset: 0, ..from };
            subscribers.push((channel, subscribe(node, channel, &rules(kind), begin)));
            publishers.push(publisher(node, &format!("{number}"), channel, kind, &stop));
        }
    }
    faults.await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.unwrap());
    }
    for (channel, kind) in CHANNELS {
        let mut logs = BTreeMap::new();
        for (number, node) in nodes.iter().enumerate() {
            check(&node.broker, channel, &rules(kind), &acknowledged).await;
            let page = log(&node.broker, channel, &rules(kind)).await;
            let epoch = page.top.epoch.as_str().to_owned();
            let texts = page.publications.iter().map(|it| String::from_utf8_lossy(&it.data).into_owned());
            let texts: Vec<_> =
                texts.enumerate().map(|(n, text)| (epoch.clone(), n as u64 + 1, text)).collect();
            logs.insert(number, texts);
        }
        let expected = &logs[&0];
        assert!(logs.values().all(|log| log == expected), "{channel}: two nodes have two logs");
        for (_, subscriber) in subscribers.iter().filter(|(of, _)| *of == channel) {
            eventually("a subscriber has seen everything", PATIENCE, || async {
                (subscriber.seen.lock().unwrap().publications.len() >= expected.len()).then_some(())
            })
            .await;
            let seen = subscriber.seen.lock().unwrap();
            assert_eq!(seen.publications, *expected, "{channel}: a hole, a duplicate or another order");
            assert_eq!(seen.lost, 0, "{channel}: nothing was lost, and it was told otherwise");
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_see_one_order_and_a_third_that_comes_later_too() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let acknowledged = under(&nodes, tokio::time::sleep(Duration::from_secs(2))).await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let late = node(&nats).await;
    for (channel, kind) in CHANNELS {
        check(&late.broker, channel, &rules(kind), &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_rivals_on_two_nodes_one_wins_each_time() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let map = rules(Kind::Map);
    let rivals = (0..4).map(|rival| {
        let (node, map) = (Arc::clone(&nodes[rival % 2]), Arc::clone(&map));
        tokio::spawn(async move {
            let mut wins = Vec::new();
            let mut expect = Expect::Absent;
            while wins.len() < 25 {
                let key = Some("k".into());
                let new = NewPublication { key, expect: expect.clone(), ..NewPublication::default() };
                match node.broker.append("c", &map, new).await {
                    Append::Appended(position) => {
                        wins.push((expect, position.clone()));
                        expect = Expect::Position(position);
                    }
                    Append::Conflict { current: Some(current) } => expect = Expect::Position(current),
                    other => panic!("{other:?}"),
                }
            }
            wins
        })
    });
    let mut chain = BTreeMap::new();
    for rival in rivals.collect::<Vec<_>>() {
        for (expected, position) in rival.await.unwrap() {
            let before = match expected {
                Expect::Position(before) => before.offset,
                _ => 0,
            };
            assert_eq!(chain.insert(before, position.offset), None, "two writes over the same one");
        }
    }
    assert!(chain.into_iter().eq((0..100).map(|offset| (offset, offset + 1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_begins_a_new_epoch_and_nobody_is_told_that_it_recovered() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let stream = rules(Kind::Stream);
    let mut before = None;
    for n in 0..5 {
        let append = nodes[0].broker.append("c", &stream, publication(Kind::Stream, "p", n)).await;
        let Append::Appended(position) = append else { panic!("{append:?}") };
        before = Some(position);
    }
    let before = before.unwrap();
    let subscriber = subscribe(&nodes[1], "c", &stream, top(&nodes[1], "c", &stream).await);
    let client = async_nats::connect(nats.urls()).await.unwrap();
    for partition in 0..4 {
        let context = async_nats::jetstream::new(client.clone());
        let name = format!("SW_{partition:02}");
        context.get_stream(name).await.unwrap().purge().await.unwrap();
    }
    let append = nodes[0].broker.append("c", &stream, publication(Kind::Stream, "after", 0)).await;
    let Append::Appended(after) = append else { panic!("{append:?}") };
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    eventually("the subscriber is told", PATIENCE, || async {
        (subscriber.seen.lock().unwrap().lost > 0).then_some(())
    })
    .await;
    for node in &nodes {
        eventually("old positions are refused", PATIENCE, || async {
            let read = node.broker.read("c", &stream, &From::After(before.clone()), 10).await;
            matches!(read, Read::Unrecoverable { top } if top == after).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_the_stream_has_trimmed_is_not_recovered_and_state_is_whole() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let options = Options { history: 3, ..options(&nats) };
    let one = try_node(&options).await.unwrap();
    let map = rules(Kind::Map);
    let mut last = None;
    for n in 0..60 {
        let key = Some(format!("key{}", if n < 5 { n } else { 9 }).into());
        let new = NewPublication { key, ..NewPublication::default() };
        let append = one.broker.append("m", &map, new).await;
        let Append::Appended(position) = append else { panic!("{append:?}") };
        last = Some(position);
    }
    let last = last.unwrap();
    // A node that was not there reads what is left: 3 of "key9", and the others as they are.
    let other = try_node(&options).await.unwrap();
    let read = |offset| {
        let from = From::After(Position { offset, ..last.clone() });
        let (other, map) = (Arc::clone(&other), Arc::clone(&map));
        async move { other.broker.read("m", &map, &from, 10).await }
    };
    assert!(matches!(read(57).await, Read::Page(page) if page.publications.len() == 3));
    assert!(matches!(read(56).await, Read::Unrecoverable { .. }));
    let snapshot = other.broker.snapshot("m", &map, None, 100).await;
    let wss_node::broker::answer::Snapshot::Page(page) = snapshot else { panic!("{snapshot:?}") };
    assert_eq!(page.entries.len(), 6);
    assert_eq!(page.position, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_configured_otherwise_or_not_there_is_told() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "authorization { user: a, password: b }").await else { return };
    let refused = try_node(&options(&nats)).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains(&nats.urls()[0]), "{refused}");
    drop(nats);
    let other = World::new();
    let Some(nats) = Nats::start(&other, 1, "").await else { return };
    let _node = node(&nats).await;
    let otherwise = Options { partitions: 8, ..options(&nats) };
    let refused = try_node(&otherwise).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("SW_00") && refused.contains("made for 4 partitions"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_server_loses_nothing_that_was_acknowledged() {
    let world = World::new();
    let Some(mut nats) = Nats::start(&world, 3, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let leader = leader(&nats).await;
    let acknowledged = under(&nodes, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        nats.kill(leader);
        tokio::time::sleep(Duration::from_secs(8)).await;
        nats.run(leader);
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Another, while it does not answer but is there.
        let frozen = (leader + 1) % 3;
        nats.servers[frozen].as_ref().unwrap().freeze();
        tokio::time::sleep(Duration::from_secs(6)).await;
        nats.servers[frozen].as_ref().unwrap().go_on();
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    eprintln!("{} publications were acknowledged", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_does_not_answer_holds_up_no_other() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let node = node(&nats).await;
    let stream = rules(Kind::Stream);
    // Channels of every partition.
    let channels: Vec<_> = (0..40).map(|n| format!("channel{n}")).collect();
    for channel in &channels {
        let append = node.broker.append(channel, &stream, publication(Kind::Stream, "p", 0)).await;
        assert!(matches!(append, Append::Appended(_)), "{append:?}");
    }
    let client = async_nats::connect(nats.urls()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let mut stream_of = context.get_stream("SW_02").await.unwrap();
    let lost = stream_of.info().await.unwrap().state.messages as usize / 2;
    context.delete_stream("SW_02").await.unwrap();
    let began = std::time::Instant::now();
    let mut appends = tokio::task::JoinSet::new();
    for channel in channels.clone() {
        let (node, stream) = (Arc::clone(&node), Arc::clone(&stream));
        appends.spawn(async move {
            let append = node.broker.append(&channel, &stream, publication(Kind::Stream, "p", 1)).await;
            (channel, append)
        });
    }
    let mut refused = Vec::new();
    for n in 0..channels.len() {
        let (channel, append) = appends.join_next().await.unwrap().unwrap();
        if let Append::Unavailable(_) = append {
            refused.push(channel);
        } else {
            assert!(matches!(append, Append::Appended(_)), "{append:?}");
            assert!(refused.is_empty(), "{n}: others have waited");
            assert!(began.elapsed() < Duration::from_secs(8), "{channel} has waited");
        }
    }
    assert_eq!(refused.len(), lost, "those of the lost partition, and no others");
    assert!(lost > 0);
    // Readers have what they had.
    let page = log(&node.broker, &refused[0], &stream).await;
    assert_eq!(page.top.offset, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_acknowledgement_is_worth_is_asked_of_the_servers() {
    for (always, expected) in [(true, Some(true)), (false, Some(false))] {
        let world = World::new();
        let store = world.path("nats0");
        let sync = if always { "sync_interval: always" } else { "" };
        let lines = format!("jetstream {{ store_dir: \"{}\", {sync} }}", store.display());
        let Some(nats) = Nats::start(&world, 1, &lines).await else { return };
        let monitor = format!("http://{}:8222", world.address);
        let asked = Options { monitors: vec![monitor.clone()], ..options(&nats) };
        assert_eq!(try_node(&asked).await.unwrap().broker.survives_power_cut(), expected);
        let unasked = try_node(&options(&nats)).await.unwrap();
        assert_eq!(unasked.broker.survives_power_cut(), None);
        // One that does not say leaves it open, unless another says no.
        let one_silent = Options { monitors: vec![monitor, "http://127.0.0.1:1".into()], ..options(&nats) };
        let known = try_node(&one_silent).await.unwrap().broker.survives_power_cut();
        assert_eq!(known, if always { None } else { Some(false) });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_seen_on_other_nodes_and_ends_by_itself() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let one = JetStreamPresence::connect(&options(&nats)).await.unwrap();
    let other = JetStreamPresence::connect(&options(&nats)).await.unwrap();
    let member = |client: &str, user: &str| Member {
        client: client.into(),
        user: user.into(),
        info: bytes::Bytes::from_static(b"{}"),
    };
    let long = Duration::from_secs(60);
    for (client, user) in [("b", "ann"), ("a", "ann"), ("c", "")] {
        one.join("room", member(client, user), long).await.unwrap();
    }
    one.join("elsewhere", member("d", ""), long).await.unwrap();
    assert_eq!(other.members("room", 2).await.unwrap(), [member("a", "ann"), member("b", "ann")]);
    assert_eq!(other.count("room").await.unwrap(), (3, 2));
    other.leave("room", "b").await.unwrap();
    assert_eq!(one.count("room").await.unwrap(), (2, 2));
    one.join("room", member("a", "ann"), Duration::from_secs(1)).await.unwrap();
    eventually("a member ends by itself", PATIENCE, || async {
        (other.members("room", 9).await.unwrap() == [member("c", "")]).then_some(())
    })
    .await;
}

/// The server that leads the stream of the first channel.
async fn leader(nats: &Nats) -> usize {
    let client = async_nats::connect(nats.urls()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("SW_00").await.unwrap();
    let name = stream.cached_info().cluster.as_ref().unwrap().leader.clone().unwrap();
    name.trim_start_matches('s').parse().unwrap()
}
