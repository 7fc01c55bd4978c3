//! How publications and channels are written. Numbers are little-endian; texts and bytes have their length before them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::broker::position::{Epoch, Position};
use crate::broker::publication::Publication;
use crate::broker::rules::{Kind, Rules};

const HAS_KEY: u8 = 1;
const REMOVED: u8 = 2;

/// What the disk knows of a channel besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Names its content in the other tables.
    pub(super) id: u64,
    pub(super) top: Position,
    pub(super) used_at: Timestamp,
    pub(super) rules: Rules,
}

/// Nanoseconds since 1970; what lies beyond the years 1678 to 2262 is moved to their ends.
pub(super) fn nanoseconds(at: Timestamp) -> i64 {
    let nanoseconds = at.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(nanoseconds.into()).ok()
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    // What is larger than 4 GiB never comes so far: the protocol's limits are megabytes.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes);
}

/// A publication but for its offset, which is its key.
pub(super) fn publication(publication: &Publication) -> Vec<u8> {
    let mut to = Vec::with_capacity(publication.cost_bytes());
    to.extend_from_slice(&nanoseconds(publication.at).to_le_bytes());
    let has_key = if publication.key.is_some() { HAS_KEY } else { 0 };
    to.push(has_key | if publication.removed { REMOVED } else { 0 });
    if let Some(key) = &publication.key {
        put(&mut to, key.as_bytes());
    }
    let tags = u32::try_from(publication.tags.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&tags.to_le_bytes());
    for (name, value) in &publication.tags {
        put(&mut to, name.as_bytes());
        put(&mut to, value.as_bytes());
    }
    put(&mut to, &publication.info);
    put(&mut to, &publication.data);
    to
}

/// The inverse of [`publication`]; `None`: that is none.
pub(super) fn read_publication(offset: u64, bytes: &[u8]) -> Option<Publication> {
    let mut from = Reader(bytes);
    let at = timestamp(i64::from_le_bytes(from.array()?))?;
    let [flags] = from.array()?;
    let key = if flags & HAS_KEY != 0 { Some(from.text()?) } else { None };
    let tags = u32::from_le_bytes(from.array()?);
    let tags = (0..tags).map(|_| Some((from.text()?, from.text()?))).collect::<Option<_>>()?;
    let info = Bytes::copy_from_slice(from.bytes()?);
    let data = Bytes::copy_from_slice(from.bytes()?);
    let whole = Publication { offset, at, data, key, removed: flags & REMOVED != 0, tags, info };
    from.0.is_empty().then_some(whole)
}

/// A channel.
pub(super) fn row(row: &Row) -> Vec<u8> {
    let Row { id, top, used_at, rules } = row;
    let mut to = Vec::new();
    to.extend_from_slice(&id.to_le_bytes());
    put(&mut to, top.epoch.as_str().as_bytes());
    to.extend_from_slice(&top.offset.to_le_bytes());
    to.extend_from_slice(&nanoseconds(*used_at).to_le_bytes());
    let counts = [rules.history, rules.retained_bytes, rules.keys];
    let times = [rules.history_ttl, rules.meta_ttl, rules.key_ttl.unwrap_or(Duration::MAX)];
    for number in counts.map(|count| count as u64).into_iter().chain(times.map(milliseconds)) {
        to.extend_from_slice(&number.to_le_bytes());
    }
    to
}

/// The inverse of [`row`]; `None`: that is none.
pub(super) fn read_row(kind: Kind, bytes: &[u8]) -> Option<Row> {
    let mut from = Reader(bytes);
    let id = from.number()?;
    let epoch = Epoch::named(&from.text()?);
    let top = Position { epoch, offset: from.number()? };
    let used_at = timestamp(i64::from_le_bytes(from.array()?))?;
    let mut count = || usize::try_from(from.number()?).ok();
    let (history, retained_bytes, keys) = (count()?, count()?, count()?);
    let mut time = || Some(from.number().filter(|time| *time != u64::MAX).map(Duration::from_millis));
    let [history_ttl, meta_ttl, key_ttl] = [time()?, time()?, time()?];
    let rules = Rules {
        kind,
        history,
        history_ttl: history_ttl.unwrap_or(Duration::MAX),
        meta_ttl: meta_ttl.unwrap_or(Duration::MAX),
        retained_bytes,
        keys,
        key_ttl,
    };
    from.0.is_empty().then_some(Row { id, top, used_at, rules })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The key of a channel: its kind and its name.
pub(super) fn channel(kind: Kind, name: &str) -> String {
    let kind = match kind {
        Kind::Stream => 's',
        Kind::Value => 'v',
        Kind::Map => 'm',
    };
    format!("{kind}{name}")
}

/// The inverse of [`channel`].
pub(super) fn read_channel(key: &str) -> Option<(Kind, Arc<str>)> {
    let kind = match key.chars().next()? {
        's' => Kind::Stream,
        'v' => Kind::Value,
        'm' => Kind::Map,
        _ => return None,
    };
    Some((kind, key[1..].into()))
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        let (bytes, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Box<str>> {
        any::<String>().prop_map(Into::into)
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..50).prop_map(Into::into)
    }

    fn publications() -> impl Strategy<Value = Publication> {
        let tags = prop::collection::vec((text(), text()), 0..4).prop_map(Into::into);
        let at = any::<i64>().prop_map(|at| timestamp(at).unwrap());
        (any::<u64>(), at, bytes(), prop::option::of(text()), any::<bool>(), tags, bytes()).prop_map(
            |(offset, at, data, key, removed, tags, info)| Publication {
                offset,
                at,
                data,
                key,
                removed,
                tags,
                info,
            },
        )
    }

    proptest! {
        #[test]
        fn publications_are_read_as_they_were_written(written in publications(), cut in any::<prop::sample::Index>()) {
            let bytes = publication(&written);
            prop_assert_eq!(read_publication(written.offset, &bytes), Some(written));
            let cut = cut.index(bytes.len());
            prop_assert_eq!(read_publication(1, &bytes[..cut]), None);
        }

        #[test]
        fn channels_are_read_as_they_were_written(
            numbers in any::<[u32; 8]>(),
            epoch in text(),
            ends in any::<bool>(),
            name in any::<String>(),
        ) {
            let [id, offset, at, history, retained, keys, short, long] = numbers;
            let rules = Rules {
                kind: Kind::Map,
                history: history as usize,
                history_ttl: Duration::from_millis(short.into()),
                meta_ttl: Duration::from_millis(long.into()),
                retained_bytes: retained as usize,
                keys: keys as usize,
                key_ttl: ends.then_some(Duration::from_secs(9)),
            };
            let top = Position { epoch: Epoch::named(&epoch), offset: offset.into() };
            let used_at = timestamp(i64::from(at) * 1_000_000).unwrap();
            let written = Row { id: id.into(), top, used_at, rules };
            let bytes = row(&written);
            prop_assert_eq!(read_row(Kind::Map, &bytes), Some(written));
            prop_assert_eq!(read_row(Kind::Map, &bytes[1..]), None);
            for kind in [Kind::Stream, Kind::Value, Kind::Map] {
                prop_assert_eq!(read_channel(&channel(kind, &name)), Some((kind, name.as_str().into())));
            }
        }
    }
}
