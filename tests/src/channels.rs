//! What publishers were told, and whether the log has it: for brokers under faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use wss_node::broker::answer::{Append, From, Page, Read, Snapshot};
use wss_node::broker::budget::Budget;
use wss_node::broker::disk::{DiskBroker, OpenError};
use wss_node::broker::position::{Epoch, Position};
use wss_node::broker::publication::{NewPublication, Publication};
use wss_node::broker::rules::{Kind, Rules};
use wss_node::broker::{Broker, Deliveries};

/// Nobody is subscribed.
#[derive(Debug)]
pub struct Nobody;

impl Deliveries for Nobody {
    fn delivered(&self, _: &str, _: &Epoch, _: &Arc<Publication>) {}

    fn gap(&self, _: &str) {}
}

/// The broker of a directory.
///
/// # Errors
/// As [`DiskBroker::open`] does.
pub fn open(directory: &Path) -> Result<DiskBroker, OpenError> {
    DiskBroker::open(directory, Arc::new(Budget::new(1 << 30)), Arc::new(Nobody), Arc::new(Timestamp::now))
}

/// Rules that keep everything a test writes.
#[must_use]
pub fn rules(kind: Kind) -> Arc<Rules> {
    Arc::new(Rules {
        kind,
        history: usize::MAX,
        history_ttl: std::time::Duration::from_secs(3600),
        retained_bytes: 1 << 29,
        ..Rules::default()
    })
}

/// The `n`th publication of a publisher: its payload is its idempotency key, and (of a map) it sets one of a few keys.
#[must_use]
pub fn publication(kind: Kind, publisher: &str, n: u64) -> NewPublication {
    let payload = format!("{publisher}.{n}");
    NewPublication {
        data: Bytes::from(payload.clone()),
        key: (kind == Kind::Map).then(|| format!("key{}", n % 17).into()),
        removed: kind == Kind::Map && n % 5 == 4,
        idempotency_key: Some(payload.into()),
        ..NewPublication::default()
    }
}

/// A publication that was acknowledged, as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Which channel.
    pub channel: String,
    /// Its epoch.
    pub epoch: String,
    /// Its offset.
    pub offset: u64,
    /// What was published there.
    pub payload: String,
}

impl Acknowledged {
    /// The inverse of its text; `None`: it is something else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("acknowledged ")?.split(' ').map(str::to_owned);
        let (channel, epoch) = (words.next()?, words.next()?);
        let offset = words.next()?.parse().ok()?;
        let payload = words.next()?;
        // A line that was cut short by a kill has no end.
        (words.next()? == ";").then_some(Self { channel, epoch, offset, payload })
    }
}

impl std::fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channel, epoch, offset, payload } = self;
        write!(f, "acknowledged {channel} {epoch} {offset} {payload} ;")
    }
}

/// The whole log of a channel.
///
/// # Panics
/// When it cannot be read.
pub async fn log(broker: &impl Broker, channel: &str, rules: &Arc<Rules>) -> Page {
    match broker.read(channel, rules, &From::Oldest, usize::MAX).await {
        Read::Page(page) => page,
        other => panic!("{channel}: {other:?}"),
    }
}

/// Compares a channel with what was acknowledged: all of it is there, where it was said to be, once; offsets are dense;
/// a retry is told the first place; and the state is what the log makes.
///
/// # Panics
/// When something is not so.
pub async fn check(broker: &impl Broker, channel: &str, rules: &Arc<Rules>, acknowledged: &[Acknowledged]) {
    let ours = || acknowledged.iter().filter(|told| told.channel == channel);
    if let Some(newest) = ours().max_by_key(|told| told.offset) {
        // Another broker may have told of it: this one must know it too, once it is asked for it.
        let position = Position { epoch: Epoch::named(&newest.epoch), offset: newest.offset };
        match broker.read(channel, rules, &From::After(position), 0).await {
            Read::Page(_) => {}
            other => panic!("{newest}: {other:?}"),
        }
    }
    let page = log(broker, channel, rules).await;
    let offsets = page.publications.iter().map(|publication| publication.offset);
    assert!(offsets.eq(1..=page.top.offset), "{channel}: the log has holes");
    let mut places = BTreeMap::new();
    for publication in &page.publications {
        let twice = places.insert(publication.data.clone(), publication.offset);
        assert_eq!(twice, None, "{channel}: {publication:?} is there twice");
    }
    for told in ours() {
        assert_eq!(told.epoch, page.top.epoch.as_str(), "{told}: another epoch");
        let place = places.get(told.payload.as_bytes());
        assert_eq!(place, Some(&told.offset), "{told}: it is not there");
    }
    if let Some(last) = acknowledged.iter().rfind(|told| told.channel == channel) {
        let (publisher, n) = last.payload.rsplit_once('.').unwrap_or_default();
        let new = publication(rules.kind, publisher, n.parse().unwrap_or_default());
        match broker.append(channel, rules, new).await {
            Append::Duplicate(place) => assert_eq!(place.offset, last.offset, "{last}"),
            other => panic!("{last} is tried again: {other:?}"),
        }
    }
    let Snapshot::Page(state) = broker.snapshot(channel, rules, None, usize::MAX).await else {
        panic!("{channel}: no state")
    };
    let mut expected = BTreeMap::new();
    for publication in page.publications.iter().filter(|_| rules.kind == Kind::Map) {
        if publication.removed {
            expected.remove(&publication.key);
        } else {
            expected.insert(publication.key.clone(), Arc::clone(publication));
        }
    }
    assert!(state.entries.iter().eq(expected.values()), "{channel}: the state is not what the log makes");
}
