//! What a request must be, whoever asks: form and sizes. Whether it is allowed is for the session to say.

use super::ReplyError;
use super::v1::command::Request;
use super::v1::{FilterNode, SubRefreshRequest, SubscribeRequest};

/// Sizes, in bytes of UTF-8 where they are of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the name of a channel.
    pub channel_bytes: usize,
    /// Of other names: methods, keys, epochs, cursors, versions.
    pub name_bytes: usize,
    /// Of a token.
    pub token_bytes: usize,
    /// How many subscriptions `connect` may bring, headers, keys to follow or leave.
    pub entries: usize,
    /// How many nodes the filter of a subscription may have.
    pub filter_nodes: usize,
}

impl Default for Limits {
    /// Channels as in Centrifugo (`channel.max_length`), tokens as in our gate.
    fn default() -> Self {
        Self { channel_bytes: 255, name_bytes: 255, token_bytes: 8192, entries: 128, filter_nodes: 64 }
    }
}

/// Kinds of subscriptions (`SubscribeRequest.type`): stream, map, presence by connection and by user, shared poll.
const KINDS: std::ops::RangeInclusive<i32> = 0..=4;
/// Phases of a map's subscription: live, stream, state.
const PHASES: std::ops::RangeInclusive<i32> = 0..=2;

/// Checks form and sizes of a request.
///
/// # Errors
/// [`ReplyError::BAD_REQUEST`] when something is missing or cannot be, [`ReplyError::LIMIT_EXCEEDED`] when something
/// is too long or too much.
pub fn check(request: &Request, limits: &Limits) -> Result<(), ReplyError> {
    match request {
        Request::Connect(connect) => {
            fits(&connect.token, limits.token_bytes)?;
            names([&connect.name, &connect.version, &connect.dict, &connect.profile], limits)?;
            at_most(connect.subs.len().max(connect.headers.len()), limits.entries)?;
            for (name, value) in &connect.headers {
                fits(name, limits.name_bytes)?;
                // One of them may be a token.
                fits(value, limits.token_bytes)?;
            }
            for (channel, subscribe) in &connect.subs {
                channel_name(channel, limits)?;
                subscription(subscribe, limits)?;
            }
            Ok(())
        }
        Request::Subscribe(subscribe) => {
            channel_name(&subscribe.channel, limits)?;
            subscription(subscribe, limits)
        }
        Request::Unsubscribe(unsubscribe) => channel_name(&unsubscribe.channel, limits),
        Request::Publish(publish) => {
            channel_name(&publish.channel, limits)?;
            fits(&publish.key, limits.name_bytes)?;
            let is_map = publish.r#type == 1;
            // Only a map has keys, and only a key can go, for which no data are needed.
            let fitting = is_map != publish.key.is_empty() && (is_map || !publish.removed);
            is((0..=1).contains(&publish.r#type) && fitting && (publish.removed || !publish.data.is_empty()))
        }
        Request::Presence(presence) => channel_name(&presence.channel, limits),
        Request::PresenceStats(stats) => channel_name(&stats.channel, limits),
        Request::History(history) => {
            channel_name(&history.channel, limits)?;
            fits(history.since.as_ref().map_or("", |since| &since.epoch), limits.name_bytes)?;
            is(history.limit >= -1)
        }
        Request::Rpc(rpc) => fits(&rpc.method, limits.name_bytes),
        Request::Refresh(refresh) => {
            is(!refresh.token.is_empty())?;
            fits(&refresh.token, limits.token_bytes)
        }
        Request::SubRefresh(refresh) => sub_refresh(refresh, limits),
        Request::Ping(_) | Request::Send(_) => Ok(()),
    }
}

fn subscription(subscribe: &SubscribeRequest, limits: &Limits) -> Result<(), ReplyError> {
    fits(&subscribe.token, limits.token_bytes)?;
    names([&subscribe.epoch, &subscribe.cursor], limits)?;
    is(matches!(subscribe.delta.as_str(), "" | "fossil"))?;
    is(KINDS.contains(&subscribe.r#type) && PHASES.contains(&subscribe.phase) && subscribe.limit >= 0)?;
    is(subscribe.r#type != 0 || (subscribe.phase == 0 && subscribe.cursor.is_empty()))?;
    subscribe.tf.as_ref().map_or(Ok(()), |filter| {
        let mut nodes = 0;
        filter_nodes(filter, &mut nodes, limits)
    })
}

/// Both framings bound the depth of what they read, so this recursion ends.
fn filter_nodes(node: &FilterNode, nodes: &mut usize, limits: &Limits) -> Result<(), ReplyError> {
    *nodes += 1 + node.vals.len();
    at_most(*nodes, limits.filter_nodes)?;
    names([&node.key, &node.val], limits)?;
    names(&node.vals, limits)?;
    match node.op.as_str() {
        "" => is(COMPARISONS.contains(&node.cmp.as_str()) && node.nodes.is_empty())?,
        "and" | "or" => is(!node.nodes.is_empty())?,
        "not" => is(node.nodes.len() == 1)?,
        _ => return Err(ReplyError::BAD_REQUEST),
    }
    node.nodes.iter().try_for_each(|inner| filter_nodes(inner, nodes, limits))
}

const COMPARISONS: [&str; 13] =
    ["eq", "neq", "in", "nin", "ex", "nex", "sw", "ew", "ct", "lt", "lte", "gt", "gte"];

fn sub_refresh(refresh: &SubRefreshRequest, limits: &Limits) -> Result<(), ReplyError> {
    channel_name(&refresh.channel, limits)?;
    fits(&refresh.token, limits.token_bytes)?;
    let items = refresh.track.iter().map(|batch| 1 + batch.items.len()).sum::<usize>();
    at_most(items.max(refresh.untrack.len()), limits.entries)?;
    for batch in &refresh.track {
        fits(&batch.signature, limits.token_bytes)?;
        names(batch.items.iter().map(|item| &item.key), limits)?;
    }
    names(&refresh.untrack, limits)?;
    is(match refresh.r#type {
        0 => !refresh.token.is_empty(),
        1 => !refresh.track.is_empty(),
        2 => !refresh.untrack.is_empty(),
        _ => false,
    })
}

fn channel_name(channel: &str, limits: &Limits) -> Result<(), ReplyError> {
    is(!channel.is_empty())?;
    fits(channel, limits.channel_bytes)
}

fn names<'a>(names: impl IntoIterator<Item = &'a String>, limits: &Limits) -> Result<(), ReplyError> {
    names.into_iter().try_for_each(|name| fits(name, limits.name_bytes))
}

fn fits(text: &str, limit_bytes: usize) -> Result<(), ReplyError> {
    at_most(text.len(), limit_bytes)
}

const fn at_most(count: usize, limit: usize) -> Result<(), ReplyError> {
    if count > limit { Err(ReplyError::LIMIT_EXCEEDED) } else { Ok(()) }
}

const fn is(fitting: bool) -> Result<(), ReplyError> {
    if fitting { Ok(()) } else { Err(ReplyError::BAD_REQUEST) }
}
