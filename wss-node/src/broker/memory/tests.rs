#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::broker::answer::{Page, Refusal};
use crate::broker::follow::{Effect, Follower};
use crate::broker::position::Epoch;
use crate::broker::publication::{Expect, Publication};
use crate::broker::rules::Kind;

/// Keeps what is delivered, and follows it as a hub would.
#[derive(Default)]
struct Sink {
    delivered: Mutex<Vec<(String, Position)>>,
}

impl Deliveries for Sink {
    fn delivered(&self, channel: &str, epoch: &Epoch, publication: &Arc<Publication>) {
        let position = Position { epoch: epoch.clone(), offset: publication.offset };
        self.delivered.lock().unwrap().push((channel.to_owned(), position));
    }

    fn gap(&self, channel: &str) {
        panic!("no gap in memory, but one in {channel}");
    }
}

impl Sink {
    fn offsets(&self, channel: &str) -> Vec<u64> {
        let delivered = self.delivered.lock().unwrap();
        delivered.iter().filter(|(of, _)| of == channel).map(|(_, position)| position.offset).collect()
    }
}

/// A broker with a clock that is set by hand.
struct World {
    broker: Arc<MemoryBroker>,
    budget: Arc<Budget>,
    sink: Arc<Sink>,
    seconds: Arc<AtomicI64>,
}

fn world(limit_bytes: usize) -> World {
    let (budget, sink) = (Arc::new(Budget::new(limit_bytes)), Arc::new(Sink::default()));
    let seconds = Arc::new(AtomicI64::new(1_800_000_000));
    let read = Arc::clone(&seconds);
    let clock: Clock = Arc::new(move || Timestamp::from_second(read.load(Ordering::Relaxed)).unwrap());
    let broker = MemoryBroker::new(Arc::clone(&budget), Arc::clone(&sink) as Arc<dyn Deliveries>, clock);
    World { broker: Arc::new(broker), budget, sink, seconds }
}

impl World {
    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn sweep(&self) {
        self.broker.sweep_some(0..64).await;
    }

    async fn publish(&self, channel: &str, rules: &Arc<Rules>, bytes: usize) -> Append {
        let data = Bytes::from(vec![b'x'; bytes]);
        self.broker.append(channel, rules, NewPublication { data, ..NewPublication::default() }).await
    }

    async fn page(&self, channel: &str, rules: &Arc<Rules>) -> Page {
        match self.broker.read(channel, rules, &From::Oldest, usize::MAX).await {
            Read::Page(page) => page,
            other => panic!("{other:?}"),
        }
    }
}

fn rules(kind: Kind) -> Arc<Rules> {
    Arc::new(Rules { kind, history: 1000, ..Rules::default() })
}

fn keyed(key: &str) -> NewPublication {
    NewPublication { key: Some(key.into()), ..NewPublication::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publishers_at_once_get_dense_offsets_and_deliveries_come_in_order() {
    let (world, stream) = (world(usize::MAX), rules(Kind::Stream));
    world.broker.subscribe("c", &stream);
    let publishers = (0..8).map(|_| {
        let (broker, stream) = (Arc::clone(&world.broker), Arc::clone(&stream));
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            for _ in 0..500 {
                match broker.append("c", &stream, NewPublication::default()).await {
                    Append::Appended(position) => offsets.push(position.offset),
                    other => panic!("{other:?}"),
                }
            }
            offsets
        })
    });
    let mut all = Vec::new();
    for publisher in publishers.collect::<Vec<_>>() {
        let offsets = publisher.await.unwrap();
        assert!(offsets.is_sorted(), "one publisher's publications keep their order");
        all.extend(offsets);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(1..=4000));
    assert!(world.sink.offsets("c").into_iter().eq(1..=4000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_expect_the_same_one_wins_each_time() {
    let (world, map) = (world(usize::MAX), rules(Kind::Map));
    let rivals = (0..8).map(|_| {
        let (broker, map) = (Arc::clone(&world.broker), Arc::clone(&map));
        tokio::spawn(async move {
            let mut wins = Vec::new();
            let mut expect = Expect::Absent;
            while wins.len() < 50 {
                let new = NewPublication { expect: expect.clone(), ..keyed("k") };
                match broker.append("c", &map, new).await {
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
    // Each write names the one before it: a chain without a fork.
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
    assert!(chain.into_iter().eq((0..400).map(|offset| (offset, offset + 1))));
}

#[tokio::test]
async fn only_what_is_subscribed_to_is_delivered() {
    let (world, stream) = (world(usize::MAX), rules(Kind::Stream));
    world.publish("c", &stream, 1).await;
    world.broker.subscribe("c", &stream);
    world.publish("c", &stream, 1).await;
    world.publish("other", &stream, 1).await;
    world.broker.unsubscribe("c");
    world.publish("c", &stream, 1).await;
    assert_eq!(world.sink.delivered.lock().unwrap().len(), 1);
    assert_eq!(world.sink.offsets("c"), [2]);
}

#[tokio::test]
async fn short_of_memory_the_oldest_history_goes_first_and_state_never() {
    let (world, stream, map) = (world(400_000), rules(Kind::Stream), rules(Kind::Map));
    for key in 0..100 {
        let new = NewPublication { data: Bytes::from(vec![b'm'; 500]), ..keyed(&key.to_string()) };
        assert!(matches!(world.broker.append("state", &map, new).await, Append::Appended(_)));
    }
    let mut written = HashMap::new();
    for n in 0..3000 {
        let channel = format!("c{}", n % 7);
        world.wait(i64::from(n % 10 == 0));
        assert!(matches!(world.publish(&channel, &stream, 500).await, Append::Appended(_)));
        *written.entry(channel).or_insert(0_u64) += 1;
        assert!(world.budget.used_bytes() <= world.budget.limit_bytes());
    }
    let usage = world.broker.usage();
    assert!(usage.given_up > 1000 && usage.refused == 0, "{usage:?}");
    // What is left is the end of each log, and the ends begin at about the same time.
    let mut begin = Vec::new();
    for (channel, written) in &written {
        let page = world.page(channel, &stream).await;
        assert_eq!(page.top.offset, *written);
        assert_eq!(page.publications.last().unwrap().offset, *written);
        begin.push(page.publications[0].at);
    }
    let spread = begin.iter().max().unwrap().duration_since(*begin.iter().min().unwrap());
    assert!(spread.as_secs() <= 1, "{spread:?}");
    let Snapshot::Page(page) = world.broker.snapshot("state", &map, None, 1000).await else { panic!() };
    assert_eq!(page.entries.len(), 100, "state stays");
    // The log of the map went: a client that has an old position is told so.
    let position = Position { offset: 5, ..page.position };
    let read = world.broker.read("state", &map, &From::After(position), 10).await;
    assert!(matches!(read, Read::Unrecoverable { .. }), "{read:?}");
}

#[tokio::test]
async fn without_history_to_give_up_publications_are_refused_for_now() {
    let (world, map) = (world(60_000), rules(Kind::Map));
    let mut refused = None;
    for key in 0..200 {
        let new = NewPublication { data: Bytes::from(vec![b'm'; 500]), ..keyed(&key.to_string()) };
        match world.broker.append("state", &map, new).await {
            Append::Appended(_) => {}
            Append::Unavailable(why) => {
                refused = Some((key, why));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let (key, why) = refused.expect("200 keys of 800 bytes do not fit");
    assert!((40..75).contains(&key), "{key}");
    assert!(why.reason.contains("of 60000 bytes: raise broker.memory_bytes"), "{why}");
    assert_eq!(world.broker.usage().refused, 1);
    // Readers and what is there go on; new channels do not come to be.
    let Snapshot::Page(page) = world.broker.snapshot("state", &map, None, 1000).await else { panic!() };
    assert_eq!(page.entries.len(), key);
    // Removing makes room.
    for key in 0..10 {
        world.wait(400);
        world.sweep().await;
        let removal = NewPublication { removed: true, ..keyed(&key.to_string()) };
        world.broker.append("state", &map, removal).await;
    }
    world.wait(400);
    world.sweep().await;
    assert!(matches!(world.broker.append("state", &map, keyed("new")).await, Append::Appended(_)));
}

#[tokio::test]
async fn idle_channels_are_forgotten_unless_somebody_listens_and_come_back_under_another_epoch() {
    let (world, stream) = (world(usize::MAX), rules(Kind::Stream));
    for channel in ["idle", "heard", "read"] {
        world.publish(channel, &stream, 10).await;
    }
    world.broker.subscribe("heard", &stream);
    let before = world.page("idle", &stream).await.top;
    let day = 24 * 3600;
    world.wait(20 * day);
    world.page("read", &stream).await;
    world.wait(11 * day);
    world.sweep().await;
    assert_eq!(world.broker.usage().channels, 2);
    let after = world.broker.read("idle", &stream, &From::After(before.clone()), 10).await;
    let Read::Unrecoverable { top } = after else { panic!("{after:?}") };
    assert_eq!(top.offset, 0);
    assert_ne!(top.epoch, before.epoch);
    world.broker.unsubscribe("heard");
    world.wait(31 * day);
    world.sweep().await;
    assert_eq!((world.broker.usage().channels, world.budget.used_bytes()), (0, 0));
}

#[tokio::test]
async fn keys_that_end_are_removed_in_the_log_for_all_to_see() {
    let map = Arc::new(Rules { key_ttl: Some(Duration::from_secs(30)), ..(*rules(Kind::Map)).clone() });
    let world = world(usize::MAX);
    world.broker.subscribe("c", &map);
    world.broker.append("c", &map, keyed("a")).await;
    world.wait(20);
    world.broker.append("c", &map, keyed("b")).await;
    world.wait(10);
    world.sweep().await;
    let page = world.page("c", &map).await;
    let last = page.publications.last().unwrap();
    assert_eq!((last.key.as_deref(), last.removed, page.top.offset), (Some("a"), true, 3));
    assert_eq!(world.sink.offsets("c"), [1, 2, 3]);
}

#[tokio::test]
async fn another_kind_is_another_channel() {
    let world = world(usize::MAX);
    let (stream, map) = (rules(Kind::Stream), rules(Kind::Map));
    world.publish("c", &stream, 1).await;
    let top = world.page("c", &stream).await.top;
    let refused = world.publish("c", &map, 1).await;
    assert_eq!(refused, Append::Refused(Refusal::KeyMissing));
    let read = world.broker.read("c", &map, &From::After(top.clone()), 1).await;
    assert!(matches!(read, Read::Unrecoverable { top: other } if other.epoch != top.epoch));
}

#[tokio::test]
async fn what_is_remembered_of_old_publications_is_bounded() {
    let value = Arc::new(Rules { kind: Kind::Value, history: 1, ..Rules::default() });
    let world = world(usize::MAX);
    for _ in 0..20_000 {
        world.publish("c", &value, 1).await;
    }
    let remembered: usize = world.broker.table.shards().map(|shard| shard.remembered()).sum();
    assert!(remembered <= 1024, "{remembered}");
}

#[tokio::test]
async fn a_follower_that_subscribes_amid_publications_gets_each_once() {
    let (world, stream) = (world(usize::MAX), rules(Kind::Stream));
    let start = world.page("c", &stream).await.top;
    for _ in 0..50 {
        world.publish("c", &stream, 1).await;
    }
    world.broker.subscribe("c", &stream);
    let (mut follower, mut effect) = Follower::after(start);
    for _ in 0..50 {
        world.publish("c", &stream, 1).await;
    }
    let mut got = Vec::new();
    for (_, position) in world.sink.delivered.lock().unwrap().iter() {
        let new = Arc::new(NewPublication::default().at(position.offset, Timestamp::UNIX_EPOCH));
        assert_eq!(follower.delivered(&position.epoch, &new), None);
    }
    while let Effect::Read { from, number } = effect {
        let read = world.broker.read("c", &stream, &from, 30).await;
        effect = Effect::Lost { top: follower.position().clone() };
        for next in follower.read_back(number, read) {
            match next {
                Effect::Forward(publication) => got.push(publication.offset),
                other => effect = other,
            }
        }
    }
    assert!(follower.is_live());
    assert!(got.into_iter().eq(1..=100));
}

#[tokio::test]
async fn a_channel_that_begins_anew_has_another_epoch_and_nothing_of_before() {
    let world = world(1_500_000);
    let once = || NewPublication { idempotency_key: Some("once".into()), ..NewPublication::default() };
    for kind in [Kind::Stream, Kind::Value] {
        let (channel, rules) = (format!("{kind:?}"), rules(kind));
        // Without a publication there is nothing to remove.
        let empty = world.page(&channel, &rules).await.top;
        world.broker.begin_anew(&channel, &rules).await.unwrap();
        assert_eq!(world.page(&channel, &rules).await.top, empty);
        for _ in 0..50 {
            world.publish(&channel, &rules, 1000).await;
        }
        assert!(matches!(world.broker.append(&channel, &rules, once()).await, Append::Appended(_)));
        let before = world.page(&channel, &rules).await.top;
        let used = world.budget.used_bytes();
        world.broker.begin_anew(&channel, &rules).await.unwrap();
        assert!(world.budget.used_bytes() + 50_000 < used);
        let page = world.page(&channel, &rules).await;
        assert_eq!((page.publications.len(), page.top.offset), (0, 0));
        assert_ne!(page.top.epoch, before.epoch);
        let read = world.broker.read(&channel, &rules, &From::After(before), 9).await;
        assert_eq!(read, Read::Unrecoverable { top: page.top.clone() });
        let state = world.broker.snapshot(&channel, &rules, None, 9).await;
        assert!(matches!(&state, Snapshot::Page(page) if page.entries.is_empty()), "{state:?}");
        let first = Append::Appended(Position { offset: 1, ..page.top });
        assert_eq!(world.broker.append(&channel, &rules, once()).await, first);
    }
    // What was given up for want of memory is the oldest that is there, not what has the place of something older.
    let stream = rules(Kind::Stream);
    for _ in 0..100 {
        world.publish("other", &stream, 1000).await;
    }
    world.broker.begin_anew("other", &stream).await.unwrap();
    world.wait(1);
    for _ in 0..100 {
        world.publish("older", &stream, 10_000).await;
    }
    world.wait(1);
    for _ in 0..100 {
        world.publish("other", &stream, 10_000).await;
    }
    assert!(world.page("older", &stream).await.publications.len() < 100, "something had to go");
    assert_eq!(world.page("other", &stream).await.publications.len(), 100);
}
