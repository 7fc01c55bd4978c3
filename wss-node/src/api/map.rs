//! Looking into maps, and clearing them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt, stream};

use super::fault::Fault;
use super::v1::{
    MapClearRequest, MapClearResult, MapReadStateRequest, MapReadStateResult, MapReadStreamRequest,
    MapReadStreamResult, MapStatsRequest, MapStatsResult, StreamPosition,
};
use super::{Api, Caller, count, payload};
use crate::broker::answer::{Cursor, Snapshot, StatePage, Unplaced};
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::{Expect, NewPublication};
use crate::channels::Channel;

/// Entries of one page, at most.
const PAGE: usize = 1000;
/// Keys that are removed at the same time.
const AT_ONCE: usize = 64;
/// Between the parts of a cursor; an epoch holds none.
const SEPARATOR: char = '\n';

impl Api {
    /// A page of the state, or one entry of it.
    pub(super) async fn map_read_state(
        &self,
        caller: &Caller,
        request: MapReadStateRequest,
    ) -> Result<MapReadStateResult, Fault> {
        let channel = self.map(&request.channel)?;
        let cursor = match request.cursor.as_str() {
            "" => None,
            text => Some(
                read_cursor(text).ok_or_else(|| Fault::bad("cursor: expected that of the page before"))?,
            ),
        };
        let page = if !request.key.is_empty() {
            self.entry(&channel, &request.key).await?
        } else if request.limit == 0 {
            let position = self.log(&channel, None, true, 0).await?.top;
            StatePage { entries: Vec::new(), position, next: None }
        } else {
            let limit = usize::try_from(request.limit).map_or(PAGE, |limit| limit.min(PAGE));
            self.page(&channel, cursor.as_ref(), limit).await?
        };
        let position = &page.position;
        if !request.revision_epoch.is_empty() && request.revision_epoch != position.epoch.as_str() {
            return Err(Fault::unrecoverable(position));
        }
        Ok(MapReadStateResult {
            entries: page.entries.iter().map(|one| payload::entry(caller, one)).collect(),
            offset: position.offset,
            epoch: position.epoch.as_str().to_owned(),
            cursor: page.next.as_ref().map(write_cursor).unwrap_or_default(),
        })
    }

    /// A part of the log.
    pub(super) async fn map_read_stream(
        &self,
        caller: &Caller,
        request: MapReadStreamRequest,
    ) -> Result<MapReadStreamResult, Fault> {
        let channel = self.map(&request.channel)?;
        let is_since = request.since_offset > 0 || !request.since_epoch.is_empty();
        let since =
            is_since.then_some(StreamPosition { offset: request.since_offset, epoch: request.since_epoch });
        let page = self.log(&channel, since, request.reverse, request.limit).await?;
        Ok(MapReadStreamResult {
            entries: page.publications.iter().map(|one| payload::entry(caller, one)).collect(),
            offset: page.top.offset,
            epoch: page.top.epoch.as_str().to_owned(),
        })
    }

    /// How many keys there are.
    pub(super) async fn map_stats(
        &self,
        _: &Caller,
        request: MapStatsRequest,
    ) -> Result<MapStatsResult, Fault> {
        let channel = self.map(&request.channel)?;
        let (mut keys, mut cursor) = (0, None);
        loop {
            let page = self.page(&channel, cursor.as_ref(), PAGE).await?;
            keys += page.entries.len();
            cursor = page.next;
            if cursor.is_none() {
                return Ok(MapStatsResult { num_keys: i32::try_from(keys).unwrap_or(i32::MAX) });
            }
        }
    }

    /// Removes all keys, each by a publication that subscribers see.
    pub(super) async fn map_clear(
        &self,
        _: &Caller,
        request: MapClearRequest,
    ) -> Result<MapClearResult, Fault> {
        let channel = self.map(&request.channel)?;
        let mut removed = 0;
        // What is removed is gone from the first page; somebody may set keys meanwhile.
        let rounds = channel.namespace.config.keys / PAGE + 3;
        for _ in 0..rounds {
            let entries = self.page(&channel, None, PAGE).await?.entries;
            let keys: Vec<Box<str>> = entries.iter().filter_map(|entry| entry.key.clone()).collect();
            if keys.is_empty() {
                return Ok(MapClearResult { num_keys: count(removed) });
            }
            let removals = keys.into_iter().map(|key| {
                let new = NewPublication {
                    key: Some(key),
                    removed: true,
                    expect: Expect::Present,
                    ..NewPublication::default()
                };
                Box::pin(self.append(&channel, new))
            });
            let mut appending = stream::iter(removals).buffer_unordered(AT_ONCE);
            while let Some(append) = appending.next().await {
                match append?.placed() {
                    Ok(_) => removed += 1,
                    // Somebody else was faster.
                    Err(Unplaced::Conflict { .. }) => {}
                    Err(unplaced) => return Err(unplaced.into()),
                }
            }
        }
        Err(Fault::conflict(None))
    }

    /// One entry: the state is walked through in the order of its keys.
    async fn entry(&self, channel: &Channel, key: &str) -> Result<StatePage, Fault> {
        let mut cursor = None;
        loop {
            let mut page = self.page(channel, cursor.as_ref(), PAGE).await?;
            page.entries.retain(|entry| entry.key.as_deref() == Some(key));
            let is_past = page.next.as_ref().is_none_or(|next| &*next.after >= key);
            if is_past || !page.entries.is_empty() {
                return Ok(StatePage { next: None, ..page });
            }
            cursor = page.next;
        }
    }

    async fn page(
        &self,
        channel: &Channel,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<StatePage, Fault> {
        match self.node.channels.snapshot(channel, cursor, limit).await {
            Snapshot::Page(page) => Ok(page),
            Snapshot::Unrecoverable { top } => Err(Fault::unrecoverable(&top)),
            Snapshot::Unavailable(unavailable) => Err(unavailable.into()),
        }
    }
}

fn write_cursor(cursor: &Cursor) -> String {
    let Cursor { position: Position { offset, epoch }, after } = cursor;
    URL_SAFE_NO_PAD.encode(format!("{offset}{SEPARATOR}{}{SEPARATOR}{after}", epoch.as_str()))
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let mut parts = text.splitn(3, SEPARATOR);
    let (offset, epoch, after) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    Some(Cursor { position: Position { epoch: Epoch::named(epoch), offset }, after: after.into() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for after in ["k", "", "a\nb", "\u{1f98a}"] {
            let position = Position { epoch: Epoch::named("1-7"), offset: u64::MAX };
            let cursor = Cursor { position, after: after.into() };
            assert_eq!(read_cursor(&write_cursor(&cursor)), Some(cursor), "{after}");
        }
        for wrong in ["%", "YQ", "MQo", "eAplCms"] {
            assert_eq!(read_cursor(wrong), None, "{wrong}");
        }
    }
}
