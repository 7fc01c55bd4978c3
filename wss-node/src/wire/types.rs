//! The messages, generated from `proto/client.proto`, and what they have beside their fields.

use std::fmt;

/// The messages of package `sealwire.client`. Fields that are not set are as their type's default, as in proto3.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("sealwire.client");
}

use v1::{
    Command, ConnectRequest, Publication, Push, RefreshRequest, Reply, SubRefreshRequest, SubscribeRequest,
    TrackBatch, command, push, reply,
};

impl Command {
    /// Whether this is the answer to a ping: no id, no request.
    #[must_use]
    pub fn is_pong(&self) -> bool {
        self.id == 0 && self.request.is_none()
    }
}

impl Reply {
    /// The answer to the command with this id.
    #[must_use]
    pub fn answer(id: u32, answer: impl Into<reply::Answer>) -> Self {
        Self { id, answer: Some(answer.into()) }
    }

    /// Something about a channel that nobody asked for.
    #[must_use]
    pub fn push(channel: impl Into<String>, event: impl Into<push::Event>) -> Self {
        let push = Push { id: 0, channel: channel.into(), event: Some(event.into()) };
        Self { id: 0, answer: Some(reply::Answer::Push(push)) }
    }

    /// A publication in a channel.
    #[must_use]
    pub fn publication(channel: impl Into<String>, publication: Publication) -> Self {
        Self::push(channel, publication)
    }
}

/// From a body to the variant that holds it.
macro_rules! bodies {
    ($module:ident::$name:ident: $($variant:ident($body:ident)),+ $(,)?) => {
        $(impl From<v1::$body> for $module::$name {
            fn from(body: v1::$body) -> Self {
                Self::$variant(body)
            }
        })+
    };
}

bodies!(command::Request:
    Connect(ConnectRequest), Subscribe(SubscribeRequest), Unsubscribe(UnsubscribeRequest), Publish(PublishRequest),
    Presence(PresenceRequest), PresenceStats(PresenceStatsRequest), History(HistoryRequest), Ping(PingRequest),
    Send(SendRequest), Rpc(RpcRequest), Refresh(RefreshRequest), SubRefresh(SubRefreshRequest));
bodies!(reply::Answer:
    Error(Error), Push(Push), Connect(ConnectResult), Subscribe(SubscribeResult), Unsubscribe(UnsubscribeResult),
    Publish(PublishResult), Presence(PresenceResult), PresenceStats(PresenceStatsResult), History(HistoryResult),
    Ping(PingResult), Rpc(RpcResult), Refresh(RefreshResult), SubRefresh(SubRefreshResult));
bodies!(push::Event:
    Pub(Publication), Join(Join), Leave(Leave), Unsubscribe(Unsubscribe), Message(Message), Subscribe(Subscribe),
    Connect(Connect), Disconnect(Disconnect), Refresh(Refresh));

/// Whether something secret is there, which is all that may be told of it.
struct Secret<'a>(&'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "<secret>" })
    }
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("token", &Secret(&self.token))
            .field("name", &self.name)
            .field("version", &self.version)
            .field("subs", &self.subs)
            // Names only: one may be `Authorization`.
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RefreshRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshRequest").field("token", &Secret(&self.token)).finish()
    }
}

impl fmt::Debug for SubscribeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeRequest")
            .field("channel", &self.channel)
            .field("token", &Secret(&self.token))
            .field("recover", &self.recover)
            .field("epoch", &self.epoch)
            .field("offset", &self.offset)
            .field("delta", &self.delta)
            .field("type", &self.r#type)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SubRefreshRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubRefreshRequest")
            .field("channel", &self.channel)
            .field("token", &Secret(&self.token))
            .field("type", &self.r#type)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TrackBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackBatch")
            .field("signature", &Secret(&self.signature))
            .field("items", &self.items)
            .finish()
    }
}
