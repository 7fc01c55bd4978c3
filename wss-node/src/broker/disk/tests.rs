#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::broker::answer::Page;
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::{Expect, Publication};
use crate::broker::rules::Kind;

/// Keeps what the hub would be told.
#[derive(Default)]
struct Sink(Mutex<Vec<(String, u64)>>);

impl Deliveries for Sink {
    fn delivered(&self, channel: &str, _: &Epoch, publication: &Arc<Publication>) {
        self.0.lock().unwrap().push((channel.to_owned(), publication.offset));
    }

    fn gap(&self, channel: &str) {
        self.0.lock().unwrap().push((channel.to_owned(), 0));
    }
}

/// A directory, and a broker on it that can be restarted.
struct World {
    directory: tempfile::TempDir,
    sink: Arc<Sink>,
    seconds: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, sink: Arc::default(), seconds: Arc::new(AtomicI64::new(1_800_000_000)) }
    }

    fn try_open(&self) -> Result<DiskBroker, OpenError> {
        let seconds = Arc::clone(&self.seconds);
        let clock: Clock = Arc::new(move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap());
        let budget = Arc::new(Budget::new(1 << 30));
        DiskBroker::open(self.directory.path(), budget, Arc::clone(&self.sink) as Arc<dyn Deliveries>, clock)
    }

    fn open(&self) -> DiskBroker {
        self.try_open().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// What the file has: channels, publications, state, idempotency keys.
    fn rows(&self) -> [u64; 4] {
        Store::open(&self.file(), true).unwrap().rows()
    }
}

fn rules(kind: Kind) -> Arc<Rules> {
    Arc::new(Rules { kind, history: 50, ..Rules::default() })
}

fn keyed(key: &str, data: String) -> NewPublication {
    NewPublication { key: Some(key.into()), data: Bytes::from(data), ..NewPublication::default() }
}

fn page(broker: &DiskBroker, channel: &str, rules: &Arc<Rules>) -> Page {
    match broker.table.read(channel, rules, &From::Oldest, usize::MAX) {
        Read::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn state(broker: &DiskBroker, channel: &str, rules: &Arc<Rules>) -> BTreeMap<String, Publication> {
    let Snapshot::Page(page) = broker.table.snapshot(channel, rules, None, usize::MAX) else { panic!() };
    let entries = page.entries.iter();
    entries.map(|entry| (entry.key.as_deref().unwrap_or_default().to_owned(), (**entry).clone())).collect()
}

async fn appended(broker: &DiskBroker, channel: &str, rules: &Arc<Rules>, new: NewPublication) -> Position {
    match broker.append(channel, rules, new).await {
        Append::Appended(position) => position,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_restart_keeps_logs_epochs_offsets_keys_values_and_maps() {
    let world = World::new();
    let (stream, value, map) = (rules(Kind::Stream), rules(Kind::Value), rules(Kind::Map));
    let once = NewPublication { idempotency_key: Some("once".into()), ..NewPublication::default() };
    let tags: crate::broker::publication::Tags = Box::new([("a".into(), "b".into())]);
    let (mut top, mut logs, mut entries) = (None, None, None);
    for restart in 0..4 {
        let broker = world.open();
        if let (Some(top), Some(logs), Some(entries)) = (&top, &logs, &entries) {
            assert_eq!(page(&broker, "s", &stream).top, *top);
            let now = ["s", "v"]
                .map(|channel| page(&broker, channel, if channel == "s" { &stream } else { &value }));
            assert_eq!(now, *logs);
            assert_eq!([state(&broker, "v", &value), state(&broker, "m", &map)], *entries);
            let again = broker.append("s", &stream, once.clone()).await;
            let first = Position { epoch: page(&broker, "s", &stream).top.epoch, offset: 1 };
            assert_eq!(again, Append::Duplicate(first));
        } else {
            appended(&broker, "s", &stream, once.clone()).await;
        }
        for n in 0..30 {
            let data = Bytes::from(format!("{restart}.{n}"));
            let new = NewPublication {
                data,
                tags: tags.clone(),
                info: Bytes::from_static(b"me"),
                ..NewPublication::default()
            };
            let entry = keyed(&format!("k{}", n % 12), format!("{restart}.{n}"));
            let (position, _, _) = tokio::join!(
                appended(&broker, "s", &stream, new.clone()),
                appended(&broker, "v", &value, new),
                appended(&broker, "m", &map, entry)
            );
            top = Some(position);
            if n % 5 == 0 {
                let removal =
                    NewPublication { removed: true, ..keyed(&format!("k{}", n % 7), String::new()) };
                appended(&broker, "m", &map, removal).await;
            }
        }
        // Keys that were set long before the log begins.
        appended(&broker, "m", &map, keyed(&format!("old{restart}"), "x".into())).await;
        logs = Some([page(&broker, "s", &stream), page(&broker, "v", &value)]);
        entries = Some([state(&broker, "v", &value), state(&broker, "m", &map)]);
    }
    assert!(entries.unwrap()[1].contains_key("old0"));
    assert_eq!(top.unwrap().offset, 121);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_publishers_share_flushes_and_are_delivered_in_order() {
    let world = World::new();
    let broker = Arc::new(world.open());
    let stream = rules(Kind::Stream);
    broker.subscribe("c", &stream);
    let publishers = (0..100).map(|publisher| {
        let (broker, stream) = (Arc::clone(&broker), Arc::clone(&stream));
        tokio::spawn(async move {
            let mut last = 0;
            for n in 0..10 {
                let key = Some(format!("{publisher}.{n}").into());
                let new = NewPublication { idempotency_key: key, ..NewPublication::default() };
                // A retry that overtakes the answer, in the same batch or the next.
                let (one, other) =
                    tokio::join!(broker.append("c", &stream, new.clone()), broker.append("c", &stream, new));
                let (Append::Appended(first), Append::Duplicate(second)) = (&one, &other) else {
                    panic!("{one:?} {other:?}")
                };
                assert_eq!(first, second);
                assert!(first.offset > last);
                last = first.offset;
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    drop(broker);
    let delivered = world.sink.0.lock().unwrap().clone();
    assert!(delivered.into_iter().eq((1..=1000).map(|offset| ("c".to_owned(), offset))));
    let commits = Store::open(&world.file(), true).unwrap().commits();
    assert!(commits < 300, "{commits} flushes for 1000 publications");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_one_batch_one_of_those_who_expect_the_same_wins() {
    let world = World::new();
    let broker = Arc::new(world.open());
    let map = rules(Kind::Map);
    for round in 0..20 {
        let key = format!("k{round}");
        let rivals = (0..16).map(|rival| {
            let (broker, map, key) = (Arc::clone(&broker), Arc::clone(&map), key.clone());
            tokio::spawn(async move {
                let new = NewPublication { expect: Expect::Absent, ..keyed(&key, rival.to_string()) };
                broker.append("c", &map, new).await
            })
        });
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for rival in rivals.collect::<Vec<_>>() {
            match rival.await.unwrap() {
                Append::Appended(position) => won.push(Some(position)),
                Append::Conflict { current } => lost.push(current),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((won.len(), lost.len()), (1, 15));
        assert!(lost.iter().all(|current| *current == won[0]), "told who won");
    }
}

#[tokio::test]
async fn what_is_past_its_limits_and_its_time_leaves_the_file() {
    let world = World::new();
    let (stream, map) = (rules(Kind::Stream), rules(Kind::Map));
    let broker = world.open();
    for n in 0..100 {
        let key = Some(n.to_string().into());
        let new = NewPublication { idempotency_key: key, ..NewPublication::default() };
        tokio::join!(
            appended(&broker, "s", &stream, new),
            appended(&broker, "m", &map, keyed("k", n.to_string()))
        );
    }
    drop(broker);
    let [channels, log, state, used] = world.rows();
    // The last batch may leave as much as it brought.
    assert_eq!((channels, state, used), (2, 1, 100));
    assert!((100..=102).contains(&log), "{log}");
    // Time: histories after 5 minutes, keys of idempotency too, channels after 30 days.
    let broker = world.open();
    world.wait(301);
    broker.sweep_some(0..64).await;
    appended(&broker, "s", &stream, NewPublication::default()).await;
    drop(broker);
    assert_eq!(world.rows(), [2, 1, 1, 0]);
    let broker = world.open();
    assert_eq!(self::state(&broker, "m", &map)["k"].data, "99");
    let before = page(&broker, "s", &stream).top;
    world.wait(31 * 24 * 3600);
    broker.sweep_some(0..64).await;
    // The same name anew, perhaps in the same transaction.
    let after = appended(&broker, "s", &stream, NewPublication::default()).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    drop(broker);
    assert_eq!(world.rows(), [1, 1, 0, 0]);
    assert_eq!(page(&world.open(), "s", &stream).top, after);
}

#[tokio::test]
async fn keys_end_also_if_they_were_set_before_a_restart() {
    let world = World::new();
    let map = Arc::new(Rules { key_ttl: Some(Duration::from_secs(30)), ..(*rules(Kind::Map)).clone() });
    let broker = world.open();
    appended(&broker, "m", &map, keyed("a", String::new())).await;
    world.wait(10);
    appended(&broker, "m", &map, keyed("b", String::new())).await;
    drop(broker);
    world.wait(20);
    let broker = world.open();
    broker.sweep_some(0..1).await;
    assert!(state(&broker, "m", &map).into_keys().eq(["b"]));
    drop(broker);
    assert!(state(&world.open(), "m", &map).into_keys().eq(["b"]));
}

#[test]
fn two_brokers_cannot_have_one_directory() {
    let world = World::new();
    let broker = world.open();
    let refused = world.try_open().map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    assert!(refused.to_string().starts_with(&format!("{} is in use", world.file().display())), "{refused}");
    drop(broker);
    world.open();
}

#[test]
fn the_file_is_for_the_node_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    drop(world.open());
    for path in [world.file(), witness::witness_path(&world.file())] {
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
    }
}

/// A directory with content, and what was acknowledged.
async fn written(world: &World) -> Page {
    let broker = world.open();
    let stream = rules(Kind::Stream);
    for n in 0..40 {
        let new = NewPublication { data: Bytes::from(vec![n; 3000]), ..NewPublication::default() };
        appended(&broker, "c", &stream, new).await;
    }
    page(&broker, "c", &stream)
}

#[tokio::test]
async fn a_damaged_file_is_told_by_name_or_has_everything() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new();
    let before = written(&world).await;
    let good = std::fs::read(world.file()).unwrap();
    let mut refused = 0;
    for round in 0..60 {
        let mut bad = good.clone();
        let what = match round % 3 {
            0 => {
                let at = random.usize(0..bad.len());
                bad[at] ^= 1 << random.u8(0..8);
                format!("one bit of byte {at}")
            }
            1 => {
                let keep = random.usize(0..bad.len());
                bad.truncate(keep);
                format!("cut to {keep}")
            }
            _ => {
                let at = random.usize(0..bad.len() / 4096) * 4096;
                bad[at..at + 4096].fill(0);
                format!("the page at {at} is empty")
            }
        };
        std::fs::write(world.file(), &bad).unwrap();
        match world.try_open() {
            Ok(broker) => assert_eq!(page(&broker, "c", &rules(Kind::Stream)), before, "seed {seed}: {what}"),
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.contains(&*world.file().to_string_lossy()), "seed {seed}: {what}: {text}");
            }
        }
    }
    assert!(refused > 10, "seed {seed}: {refused} of 60");
    std::fs::write(world.file(), &good).unwrap();
    assert_eq!(page(&world.open(), "c", &rules(Kind::Stream)), before);
}

#[tokio::test]
async fn an_older_file_than_was_acknowledged_is_told() {
    let world = World::new();
    drop(written(&world).await);
    let older = std::fs::read(world.file()).unwrap();
    drop(written(&world).await);
    std::fs::write(world.file(), &older).unwrap();
    let error = world.try_open().map(drop).unwrap_err().to_string();
    assert!(
        error.contains("is damaged") && error.contains("transactions that were acknowledged are missing"),
        "{error}"
    );
    assert!(error.contains("channels.commits away"), "says what to do: {error}");
    // What the message says helps.
    std::fs::remove_file(world.file()).unwrap();
    std::fs::remove_file(witness::witness_path(&world.file())).unwrap();
    world.open();
}

#[test]
fn something_else_than_a_database_is_left_alone() {
    let world = World::new();
    std::fs::write(world.file(), "not ours").unwrap();
    let error = world.try_open().map(drop).unwrap_err();
    assert!(error.to_string().contains("channels.redb is damaged"), "{error}");
    assert_eq!(std::fs::read(world.file()).unwrap(), b"not ours");
}

#[tokio::test]
async fn a_channel_that_begins_anew_leaves_nothing_in_the_file() {
    let world = World::new();
    let (stream, value) = (rules(Kind::Stream), rules(Kind::Value));
    let once = || NewPublication { idempotency_key: Some("once".into()), ..NewPublication::default() };
    let broker = world.open();
    broker.subscribe("c", &stream);
    let kept = appended(&broker, "kept", &stream, once()).await;
    let before = appended(&broker, "c", &stream, once()).await;
    appended(&broker, "v", &value, once()).await;
    // Publications that are asked for together with it are before it or after it, and nothing between.
    let (first, removed, second) = tokio::join!(
        broker.append("c", &stream, NewPublication::default()),
        broker.begin_anew("c", &stream),
        { broker.append("c", &stream, once()) }
    );
    removed.unwrap();
    assert_eq!(first, Append::Appended(Position { offset: 2, ..before.clone() }));
    let Append::Appended(anew) = second else { panic!("{second:?}") };
    assert_eq!(anew.offset, 1, "and a key of before is no duplicate");
    assert_ne!(anew.epoch, before.epoch);
    broker.begin_anew("v", &value).await.unwrap();
    assert!(state(&broker, "v", &value).is_empty());
    let read = broker.read("c", &stream, &From::After(before), 9).await;
    assert_eq!(read, Read::Unrecoverable { top: anew.clone() });
    drop(broker);
    let told: Vec<_> = world.sink.0.lock().unwrap().iter().map(|(_, offset)| *offset).collect();
    assert_eq!(told, [1, 2, 0, 1], "a gap, between what was and what is");
    // Of "kept" and of "c": a row, a publication, no state, a key each.
    assert_eq!(world.rows(), [2, 2, 0, 2]);
    let broker = world.open();
    assert_eq!(page(&broker, "c", &stream).top, anew);
    assert_eq!(page(&broker, "kept", &stream).top, kept);
    broker.begin_anew("c", &stream).await.unwrap();
    drop(broker);
    assert_eq!(world.rows(), [1, 1, 0, 1]);
    let broker = world.open();
    let top = page(&broker, "c", &stream).top;
    assert!(top.offset == 0 && top.epoch != anew.epoch, "{top:?}");
}
