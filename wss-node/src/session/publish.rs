//! Publications of clients: by `publish`, which answers nothing but that it is done, and by the RPC `channel.publish`, which
//! takes conditions and tells the place.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::commands::Commands;
use super::work::Outcome;
use crate::auth::Action;
use crate::broker::answer::{Append, Placed, Refusal, Unplaced};
use crate::broker::publication::NewPublication;
use crate::broker::rules::Kind;
use crate::channels::Channel;
use crate::config::Payload;
use crate::counters::Counters;
use crate::expect::Form;
use crate::telemetry::trace::Publishing;
use crate::wire::v1::{PublishRequest, PublishResult, RpcResult};
use crate::wire::{Answer, Framing, ReplyError, is_json};

/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The data of the RPC `channel.publish`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask<'a> {
    channel: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    key: String,
    #[serde(default)]
    removed: bool,
    #[serde(default)]
    expect: Option<Form>,
    #[serde(default)]
    idempotency_key: String,
}

impl Commands {
    /// Begins to publish; the answer comes when the publication lasts as its namespace says.
    pub(super) fn publish(&mut self, id: u32, request: PublishRequest) -> Result<(), ReplyError> {
        let new = NewPublication {
            data: request.data,
            key: (!request.key.is_empty()).then(|| request.key.into()),
            removed: request.removed,
            ..NewPublication::default()
        };
        let (channel, new, span) = self.prepare(&request.channel, request.r#type == 1, new)?;
        let channels = std::sync::Arc::clone(&self.node.channels);
        self.work.publish(Box::pin(async move {
            let placed = channels.publish(&channel, new).await.placed();
            let answer = placed.map(|_| PublishResult {}.into()).map_err(Into::into);
            drop(span);
            Outcome::Answer { id, answer }
        }));
        Ok(())
    }

    /// The same by RPC.
    pub(super) fn publish_by_rpc(&mut self, id: u32, data: &[u8]) -> Result<(), ReplyError> {
        let ask: Ask<'_> = serde_json::from_slice(data).map_err(|_| ReplyError::BAD_REQUEST)?;
        let limits = self.limits();
        let is_long = ask.channel.len() > limits.channel_bytes
            || ask.key.len() > limits.name_bytes
            || ask.idempotency_key.len() > MAX_KEY_BYTES;
        if is_long {
            return Err(ReplyError::LIMIT_EXCEEDED);
        }
        if ask.channel.is_empty() || (ask.data.is_none() && !ask.removed) {
            return Err(ReplyError::BAD_REQUEST);
        }
        let new = NewPublication {
            data: ask.data.map(|data| Bytes::copy_from_slice(data.get().as_bytes())).unwrap_or_default(),
            key: (!ask.key.is_empty()).then(|| ask.key.as_str().into()),
            removed: ask.removed,
            idempotency_key: (!ask.idempotency_key.is_empty()).then(|| ask.idempotency_key.as_str().into()),
            expect: ask.expect.map(Into::into).unwrap_or_default(),
            ..NewPublication::default()
        };
        let (channel, new, span) = self.prepare(&ask.channel, !ask.key.is_empty(), new)?;
        let channels = std::sync::Arc::clone(&self.node.channels);
        self.work.run(Box::pin(async move {
            let answer = told(channels.publish(&channel, new).await);
            drop(span);
            Outcome::Answer { id, answer }
        }));
        Ok(())
    }

    /// Whether it may be published, and all that goes with it.
    fn prepare(
        &mut self,
        called: &str,
        is_map: bool,
        mut new: NewPublication,
    ) -> Result<(Channel, NewPublication, Option<Publishing>), ReplyError> {
        let channel = self.allowed(Action::Publish, called)?;
        let config = &channel.namespace.config;
        if is_map != (config.kind == Kind::Map) {
            return Err(ReplyError::BAD_REQUEST);
        }
        if new.data.len() > config.publication_bytes {
            return Err(ReplyError::LIMIT_EXCEEDED);
        }
        // What came as JSON was read as JSON.
        let is_sound = self.framing == Framing::Json || new.removed || is_json(&new.data);
        if config.payload == Payload::Json && !is_sound {
            return Err(ReplyError::BAD_REQUEST);
        }
        if self.node.guard.is_open() {
            Counters::add(&self.node.counters.publications_refused);
            return Err(ReplyError::HALTED);
        }
        if !self.may_publish_now(&channel) {
            return Err(ReplyError::TOO_MANY_REQUESTS);
        }
        if config.publisher {
            new.info = self.info.clone();
        }
        let span = self.node.telemetry.publishing(called);
        if let Some(span) = &span {
            new.tags = [("traceparent".into(), span.traceparent().into())].into();
        }
        Ok((channel, new, span))
    }
}

impl From<Unplaced> for ReplyError {
    fn from(unplaced: Unplaced) -> Self {
        match unplaced {
            Unplaced::Refused(Refusal::TooLarge { .. } | Refusal::TooManyKeys { .. }) => Self::LIMIT_EXCEEDED,
            // Only who expects something can be in conflict.
            Unplaced::Refused(Refusal::KeyMissing | Refusal::KeyUnexpected) | Unplaced::Conflict { .. } => {
                Self::BAD_REQUEST
            }
            Unplaced::Unavailable(_) => Self::BROKER_UNAVAILABLE,
        }
    }
}

/// What the RPC answers. A conflict is an answer, not an error: an error has no room for what is there instead.
fn told(append: Append) -> Result<Answer, ReplyError> {
    let data = match append.placed() {
        Ok(Placed { position, duplicate }) => json!({
            "published": true,
            "duplicate": duplicate,
            "epoch": position.epoch.as_str(),
            "offset": position.offset,
        }),
        Err(Unplaced::Conflict { current }) => json!({
            "published": false,
            "current": current.map(|at| json!({ "epoch": at.epoch.as_str(), "offset": at.offset })),
        }),
        Err(unplaced) => return Err(unplaced.into()),
    };
    Ok(RpcResult { data: data.to_string().into() }.into())
}
