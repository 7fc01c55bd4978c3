//! Publishing to streams, values and maps.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::fault::Fault;
use super::v1::{
    BroadcastRequest, BroadcastResult, MapPublishRequest, MapPublishResult, MapRemoveRequest,
    MapRemoveResult, PublishRequest, PublishResponse, PublishResult,
};
use super::{Api, Caller, expect, payload};
use crate::broker::answer::{Append, Placed, Unplaced};
use crate::broker::publication::{Expect, NewPublication, Tags};
use crate::broker::rules::Kind;
use crate::channels::Channel;
use crate::counters::Counters;

/// Channels of one broadcast.
const MAX_CHANNELS: usize = 10_000;
/// Of those, published to at the same time.
const AT_ONCE: usize = 64;
/// Longest key of a map or of idempotency, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// A breaker is seldom open for less.
const HALTED_FOR: Duration = Duration::from_secs(5);

/// Why nothing was done to a map.
const IDEMPOTENCY: &str = "idempotency";

impl Api {
    /// Gives a publication its place in a channel.
    pub(super) async fn publish(&self, _: &Caller, request: PublishRequest) -> Result<PublishResult, Fault> {
        let channel = self.channel(&request.channel)?;
        versionless(request.version, &request.version_epoch)?;
        kept(&channel, request.skip_history)?;
        let is_map = channel.namespace.kind() == Kind::Map;
        if is_map && request.key.is_empty() {
            return Err(Fault::bad("key is missing: the channel is a map"));
        }
        if !is_map && (request.removed || !request.key.is_empty()) {
            return Err(Fault::bad("key and removed: the channel is no map"));
        }
        let data = if request.removed && request.data.is_empty() && request.b64data.is_empty() {
            request.data
        } else {
            payload::read(&channel, request.data, &request.b64data)?
        };
        let new = NewPublication {
            data,
            key: optional("key", &request.key)?,
            removed: request.removed,
            tags: tags(request.tags),
            idempotency_key: optional("idempotency_key", &request.idempotency_key)?,
            expect: expect::read(request.expect)?,
            ..NewPublication::default()
        };
        let Placed { position, duplicate } = self.append(&channel, new).await?.placed()?;
        let epoch = position.epoch.as_str().to_owned();
        Ok(PublishResult { offset: position.offset, epoch, duplicate })
    }

    /// Publishes the same to several channels, and tells what came of each.
    pub(super) async fn broadcast(
        &self,
        caller: &Caller,
        mut request: BroadcastRequest,
    ) -> Result<BroadcastResult, Fault> {
        let channels = std::mem::take(&mut request.channels);
        if channels.is_empty() {
            return Err(Fault::bad("channels is missing"));
        }
        if channels.len() > MAX_CHANNELS {
            let count = channels.len();
            return Err(Fault::bad(format!(
                "channels: {count} are too many, at most {MAX_CHANNELS} are taken"
            )));
        }
        let publishing = channels.into_iter().map(|channel| {
            let one = PublishRequest {
                channel,
                data: request.data.clone(),
                b64data: request.b64data.clone(),
                skip_history: request.skip_history,
                tags: request.tags.clone(),
                idempotency_key: request.idempotency_key.clone(),
                version: request.version,
                version_epoch: request.version_epoch.clone(),
                ..PublishRequest::default()
            };
            Box::pin(async move {
                match self.publish(caller, one).await {
                    Ok(result) => PublishResponse { error: None, result: Some(result) },
                    Err(fault) => PublishResponse { error: Some(fault.into()), result: None },
                }
            })
        });
        Ok(BroadcastResult { responses: stream::iter(publishing).buffered(AT_ONCE).collect().await })
    }

    /// Sets a key of a map.
    pub(super) async fn map_publish(
        &self,
        _: &Caller,
        request: MapPublishRequest,
    ) -> Result<MapPublishResult, Fault> {
        let channel = self.map(&request.channel)?;
        versionless(request.version, &request.version_epoch)?;
        if request.score != 0 {
            return Err(Fault::bad("score: maps are in the order of their keys"));
        }
        if !request.stream_data.is_empty() || !request.b64stream_data.is_empty() {
            return Err(Fault::bad("stream_data: the log holds what the state holds"));
        }
        let expect = match (request.key_mode.as_str(), request.expect) {
            ("", expect) => expect::read(expect)?,
            ("if_new", None) => Expect::Absent,
            ("if_exists", None) => Expect::Present,
            ("if_new" | "if_exists", Some(_)) => {
                return Err(Fault::bad("key_mode and expect: one or the other"));
            }
            _ => return Err(Fault::bad("key_mode: expected if_new or if_exists")),
        };
        let new = NewPublication {
            data: payload::read(&channel, request.data, &request.b64data)?,
            tags: tags(request.tags),
            ..keyed(&request.key, &request.idempotency_key, expect)?
        };
        let changed = self.change(&channel, new).await?;
        let Changed { offset, epoch, suppressed, suppress_reason } = changed;
        Ok(MapPublishResult { offset, epoch, suppressed, suppress_reason })
    }

    /// Removes a key of a map.
    pub(super) async fn map_remove(
        &self,
        _: &Caller,
        request: MapRemoveRequest,
    ) -> Result<MapRemoveResult, Fault> {
        let channel = self.map(&request.channel)?;
        let expect = match expect::read(request.expect)? {
            // A key that is not there needs no publication that says so.
            Expect::Any => Expect::Present,
            other => other,
        };
        let new = NewPublication { removed: true, ..keyed(&request.key, &request.idempotency_key, expect)? };
        let Changed { offset, epoch, suppressed, suppress_reason } = self.change(&channel, new).await?;
        Ok(MapRemoveResult { offset, epoch, suppressed, suppress_reason })
    }

    /// A channel that is a map.
    pub(super) fn map(&self, name: &str) -> Result<Channel, Fault> {
        let channel = self.channel(name)?;
        if channel.namespace.kind() != Kind::Map {
            return Err(Fault::bad("the channel is no map: kind of its namespace is another"));
        }
        Ok(channel)
    }

    /// Publishes, unless the breaker is open.
    pub(super) async fn append(&self, channel: &Channel, new: NewPublication) -> Result<Append, Fault> {
        if self.node.guard.is_open() {
            Counters::add(&self.node.counters.publications_refused);
            let message =
                "halted: certificates are not trustworthy; see wss-node status and docs/operations.md";
            return Err(Fault::temporary(message, HALTED_FOR));
        }
        Ok(self.node.channels.publish(channel, new).await)
    }

    /// Changes a map; what does not change it is no error, as in Centrifugo.
    async fn change(&self, channel: &Channel, new: NewPublication) -> Result<Changed, Fault> {
        let reason = match &new.expect {
            Expect::Position(_) => "position_mismatch",
            Expect::Absent => "key_exists",
            Expect::Any | Expect::Present => "key_not_found",
        };
        let (position, suppressed) = match self.append(channel, new).await?.placed() {
            Ok(Placed { position, duplicate }) => (position, duplicate),
            Err(Unplaced::Conflict { current }) => {
                let (offset, epoch) =
                    current.map(|at| (at.offset, at.epoch.as_str().to_owned())).unwrap_or_default();
                return Ok(Changed { offset, epoch, suppressed: true, suppress_reason: reason.to_owned() });
            }
            Err(unplaced) => return Err(unplaced.into()),
        };
        let suppress_reason = if suppressed { IDEMPOTENCY.to_owned() } else { String::new() };
        let epoch = position.epoch.as_str().to_owned();
        Ok(Changed { offset: position.offset, epoch, suppressed, suppress_reason })
    }
}

/// What came of a change of a map.
struct Changed {
    offset: u64,
    epoch: String,
    suppressed: bool,
    suppress_reason: String,
}

/// A publication about a key.
fn keyed(key: &str, idempotency_key: &str, expect: Expect) -> Result<NewPublication, Fault> {
    let key = optional("key", key)?.ok_or_else(|| Fault::bad("key is missing"))?;
    let idempotency_key = optional("idempotency_key", idempotency_key)?;
    Ok(NewPublication { key: Some(key), idempotency_key, expect, ..NewPublication::default() })
}

/// A key, unless it is empty.
fn optional(field: &str, key: &str) -> Result<Option<Box<str>>, Fault> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Fault::bad(format!("{field}: longer than {MAX_KEY_BYTES} bytes")));
    }
    Ok((!key.is_empty()).then(|| key.into()))
}

fn tags(tags: BTreeMap<String, String>) -> Tags {
    tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Versions are Centrifugo's way to pass over what is old: here that is what `expect` is for.
fn versionless(version: u64, version_epoch: &str) -> Result<(), Fault> {
    if version == 0 && version_epoch.is_empty() {
        return Ok(());
    }
    Err(Fault::bad("version: not known here; expect, with the position of what was read, does the same"))
}

/// Every publication has its place in the log.
fn kept(channel: &Channel, skip_history: bool) -> Result<(), Fault> {
    if !skip_history || !channel.namespace.has_history() {
        return Ok(());
    }
    Err(Fault::not_available("skip_history: use a namespace with history = 0"))
}
