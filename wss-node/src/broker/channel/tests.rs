#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::model::{Model, apply_all};
use super::*;

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn small(kind: Kind) -> Rules {
    Rules {
        kind,
        history: 12,
        history_ttl: Duration::from_secs(60),
        meta_ttl: Duration::from_secs(3600),
        retained_bytes: 4000,
        keys: 6,
        key_ttl: Some(Duration::from_secs(30)),
    }
}

#[derive(Clone, Debug)]
enum Condition {
    Any,
    /// The place of the publication that many before the top, or (of the key) what is there: at 0.
    Back(u64),
    OtherEpoch,
    Absent,
    Present,
}

#[derive(Clone, Debug)]
enum Step {
    Publish { key: Option<u8>, removed: bool, bytes: usize, id: Option<u8>, condition: Condition },
    Wait(Duration),
    Read { back: u64, limit: usize },
    ForgetHalf,
}

fn step(kind: Kind) -> impl Strategy<Value = Step> {
    let condition = prop_oneof![
        6 => Just(Condition::Any),
        2 => (0..3_u64).prop_map(Condition::Back),
        1 => Just(Condition::OtherEpoch),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
    ];
    let map = kind == Kind::Map;
    let key = prop::option::weighted(if map { 0.95 } else { 0.05 }, 0..8_u8);
    let publish = (
        key,
        any::<bool>(),
        prop_oneof![9 => 0..600_usize, 1 => 3000..5000_usize],
        prop::option::weighted(0.4, 0..6_u8),
        condition,
    )
        .prop_map(move |(key, removed, bytes, id, condition)| {
            let removed = removed && map;
            Step::Publish { key, removed, bytes, id, condition }
        });
    prop_oneof![
        8 => publish,
        1 => (0..200_u64).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
        3 => (0..16_u64, 0..20_usize).prop_map(|(back, limit)| Step::Read { back, limit }),
        1 => Just(Step::ForgetHalf),
    ]
}

fn kind_and_steps() -> impl Strategy<Value = (Kind, Vec<Step>)> {
    prop_oneof![Just(Kind::Stream), Just(Kind::Value), Just(Kind::Map)]
        .prop_flat_map(|kind| (Just(kind), prop::collection::vec(step(kind), 1..120)))
}

/// The publication of a step, each with a payload of its own.
fn publication(step: &Step, model: &Model, kind: Kind, serial: usize) -> Option<NewPublication> {
    let Step::Publish { key, removed, bytes, id, condition } = step else { return None };
    let key: Option<Box<str>> = key.map(|key| format!("key{key}").into());
    let expect = match condition {
        Condition::Any => Expect::Any,
        Condition::Absent => Expect::Absent,
        Condition::Present => Expect::Present,
        Condition::OtherEpoch => {
            Expect::Position(Position { epoch: Epoch::named("other"), offset: model.position.offset })
        }
        Condition::Back(back) => {
            let of_key = key.as_ref().map(|key| model.state(kind).get(key).map_or(0, |entry| entry.offset));
            let current = of_key.unwrap_or(model.position.offset);
            let epoch = model.position.epoch.clone();
            Expect::Position(Position { epoch, offset: current.saturating_sub(*back) })
        }
    };
    let mut data = serial.to_string().into_bytes();
    data.resize((*bytes).max(data.len()), b'.');
    Some(NewPublication {
        data: Bytes::from(data),
        key,
        removed: *removed,
        idempotency_key: id.map(|id| format!("id{id}").into()),
        expect,
        ..NewPublication::default()
    })
}

/// Both steps of appending at once.
fn append(
    channel: &mut Channel,
    rules: &Rules,
    new: &NewPublication,
    now: Timestamp,
) -> Result<u64, Declined> {
    let offset = channel.decide(&mut Draft::default(), rules, new, now)?;
    channel.apply(rules, &Arc::new(new.clone().at(offset, now)), new.idempotency_key.as_deref(), now);
    Ok(offset)
}

/// What the channel says it counts for, counted anew.
fn counted(channel: &Channel) -> usize {
    let log: usize = channel.log.iter().map(|publication| publication.cost_bytes()).sum();
    let first = channel.first();
    let state: usize = channel
        .state
        .publications()
        .filter(|publication| publication.offset < first)
        .map(|publication| publication.cost_bytes())
        .sum();
    CHANNEL_BYTES + log + state + channel.state.overhead_bytes() + channel.seen.bytes()
}

fn plain<'a>(publications: impl IntoIterator<Item = &'a Arc<Publication>>) -> Vec<Publication> {
    publications.into_iter().map(|publication| (**publication).clone()).collect()
}

fn state(channel: &Channel, kind: Kind) -> BTreeMap<Box<str>, Publication> {
    let mut state = BTreeMap::new();
    let all = plain(channel.state.publications());
    apply_all(&mut state, kind, all.iter());
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Order, density, retention, recovery, compare-and-set, duplicates, state and bytes: all as the model has it.
    #[test]
    fn a_channel_does_what_the_model_does((kind, steps) in kind_and_steps()) {
        let rules = small(kind);
        let mut now = start();
        let mut channel = Channel::new(kind, Epoch::named("e"), now);
        let mut model = Model::new(Epoch::named("e"));
        for (serial, step) in steps.iter().enumerate() {
            if let Some(new) = publication(step, &model, kind, serial) {
                let expected = model.append(&rules, &new, now);
                prop_assert_eq!(append(&mut channel, &rules, &new, now), expected);
            }
            match step {
                Step::Publish { .. } => {}
                Step::Wait(time) => {
                    now += *time;
                    channel.expire(&rules, now);
                }
                Step::ForgetHalf => {
                    let half = u64::midpoint(channel.first(), channel.top);
                    channel.forget_up_to(half);
                    model.forget_up_to(half);
                }
                Step::Read { back, limit } => {
                    // One past the top is a position that never was.
                    let offset = (model.position.offset + 1).saturating_sub(*back);
                    let position = Position { epoch: Epoch::named("e"), offset };
                    let read = channel.read(&From::After(position.clone()), *limit);
                    match model.after(&rules, &position, now) {
                        None => prop_assert_eq!(read, Read::Unrecoverable { top: channel.top() }),
                        Some(after) => {
                            let Read::Page(page) = read else { panic!("{read:?}, but {after:?} is there") };
                            prop_assert_eq!(plain(&page.publications), &after[..after.len().min(*limit)]);
                            prop_assert_eq!(page.top, channel.top());
                        }
                    }
                }
            }
            prop_assert_eq!(channel.top(), model.position.clone());
            prop_assert_eq!(plain(&channel.log), model.log(&rules, now));
            prop_assert_eq!(state(&channel, kind), model.state(kind));
            prop_assert_eq!(channel.bytes(), counted(&channel));
        }
    }

    /// Pages of a snapshot with publications in between, and then the log since: the state. Or it is said that the log
    /// does not reach back so far.
    #[test]
    fn a_snapshot_and_its_catch_up_make_the_state(
        before in prop::collection::vec(step(Kind::Map), 0..60),
        between in prop::collection::vec(prop::collection::vec(step(Kind::Map), 0..5), 1..12),
        limit in 1..4_usize,
    ) {
        let rules = small(Kind::Map);
        let mut channel = Channel::new(Kind::Map, Epoch::named("e"), start());
        let mut model = Model::new(Epoch::named("e"));
        let mut serial = 0;
        let mut publish = |channel: &mut Channel, steps: &[Step]| {
            for step in steps {
                serial += 1;
                let Some(new) = publication(step, &model, Kind::Map, serial) else { continue };
                let expected = model.append(&rules, &new, start());
                assert_eq!(append(channel, &rules, &new, start()), expected);
            }
        };
        publish(&mut channel, &before);
        let began = channel.top();
        let mut client = BTreeMap::new();
        let mut cursor = None;
        let mut pauses = between.iter();
        loop {
            let page = match channel.snapshot(cursor.as_ref(), limit) {
                Snapshot::Page(page) => page,
                Snapshot::Unrecoverable { top } => {
                    prop_assert_eq!(top, channel.top());
                    prop_assert!(channel.first() > began.offset + 1, "it could have gone on");
                    return Ok(());
                }
                Snapshot::Unavailable(why) => panic!("{why}"),
            };
            prop_assert_eq!(&page.position, &began);
            prop_assert!(page.entries.len() <= limit);
            apply_all(&mut client, Kind::Map, plain(&page.entries).iter());
            publish(&mut channel, pauses.next().map_or(&[][..], |steps| steps));
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        match channel.read(&From::After(began.clone()), usize::MAX) {
            Read::Page(page) => {
                apply_all(&mut client, Kind::Map, plain(&page.publications).iter());
                prop_assert_eq!(client, state(&channel, Kind::Map));
            }
            Read::Unrecoverable { .. } => prop_assert!(channel.first() > began.offset + 1),
            Read::Unavailable(why) => panic!("{why}"),
        }
    }

    /// Publications decided as one batch get what they get one by one.
    #[test]
    fn a_batch_decides_as_its_parts_do((kind, steps) in kind_and_steps(), size in 1..9_usize) {
        // The limit of keys is on the safe side within a batch: out of the way here.
        let rules = Rules { keys: 100, ..small(kind) };
        let now = start();
        let mut channel = Channel::new(kind, Epoch::named("e"), now);
        let mut model = Model::new(Epoch::named("e"));
        let mut serial = 0;
        for batch in steps.chunks(size) {
            let mut draft = Draft::default();
            let mut decided = Vec::new();
            for step in batch {
                serial += 1;
                let Some(new) = publication(step, &model, kind, serial) else { continue };
                let expected = model.append(&rules, &new, now);
                let offset = channel.decide(&mut draft, &rules, &new, now);
                prop_assert_eq!(&offset, &expected);
                decided.extend(offset.ok().map(|offset| (new.idempotency_key.clone(), new.at(offset, now))));
            }
            for (id, publication) in decided {
                channel.apply(&rules, &Arc::new(publication), id.as_deref(), now);
            }
            prop_assert_eq!(state(&channel, kind), model.state(kind));
        }
    }
}

fn keyed(key: &str, data: &'static str) -> NewPublication {
    NewPublication {
        data: Bytes::from_static(data.as_bytes()),
        key: Some(key.into()),
        ..NewPublication::default()
    }
}

#[test]
fn keys_whose_time_is_over_are_removed_oldest_first_unless_set_again() {
    let rules = small(Kind::Map);
    let mut channel = Channel::new(Kind::Map, Epoch::named("e"), start());
    for (second, key) in [(0, "b"), (1, "a"), (2, "c"), (3, "b")] {
        append(&mut channel, &rules, &keyed(key, "x"), start() + Duration::from_secs(second)).unwrap();
    }
    let overdue = |channel: &Channel, second, limit| {
        let now = start() + Duration::from_secs(second);
        channel.overdue_keys(&rules, now, limit)
    };
    assert_eq!(overdue(&channel, 30, 9).len(), 0);
    let removals = overdue(&channel, 32, 9);
    assert!(removals.iter().map(|removal| removal.key.as_deref()).eq([Some("a"), Some("c")]));
    assert_eq!(overdue(&channel, 32, 1).len(), 1);
    // Set again meanwhile: the removal does not count any more.
    let now = start() + Duration::from_secs(32);
    append(&mut channel, &rules, &keyed("a", "y"), now).unwrap();
    let results: Vec<_> =
        removals.iter().map(|removal| append(&mut channel, &rules, removal, now).is_ok()).collect();
    assert_eq!(results, [false, true]);
    let Snapshot::Page(page) = channel.snapshot(None, 9) else { panic!("no page") };
    assert!(page.entries.iter().map(|entry| entry.key.as_deref()).eq([Some("a"), Some("b")]));
}

#[test]
fn history_is_read_in_both_directions() {
    let rules = small(Kind::Stream);
    let mut channel = Channel::new(Kind::Stream, Epoch::named("e"), start());
    for _ in 0..20 {
        append(&mut channel, &rules, &NewPublication::default(), start()).unwrap();
    }
    let offsets = |from: From, limit| match channel.read(&from, limit) {
        Read::Page(page) => {
            Some(page.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>())
        }
        _ => None,
    };
    let at = |offset| Position { epoch: Epoch::named("e"), offset };
    assert_eq!(offsets(From::Oldest, 3), Some(vec![9, 10, 11]));
    assert_eq!(offsets(From::Newest, 3), Some(vec![20, 19, 18]));
    assert_eq!(offsets(From::Before(at(11)), 9), Some(vec![10, 9]));
    assert_eq!(offsets(From::Before(at(3)), 9), Some(vec![]));
    assert_eq!(offsets(From::Before(at(21)), 1), Some(vec![20]));
    assert_eq!(offsets(From::Before(at(22)), 1), None);
    assert_eq!(offsets(From::After(at(18)), 9), Some(vec![19, 20]));
    assert_eq!(offsets(From::After(at(8)), 1), Some(vec![9]));
    assert_eq!(offsets(From::After(at(7)), 1), None);
    assert_eq!(offsets(From::After(Position { epoch: Epoch::named("f"), offset: 20 }), 1), None);
}
