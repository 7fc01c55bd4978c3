//! The Centrifuge client protocol in JSON (the published definition: client.proto of centrifugal/protocol):
//! commands come one or several to a text frame, a line each; replies and pushes go the same way. An empty
//! object is a ping from here and a pong from the client.

mod close;
mod token;

use bytes::Bytes;
pub(crate) use close::{Close, MAX_REASON_BYTES};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
pub(crate) use token::Token;

/// A command; exactly one of the methods is set, or none in a pong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Command {
    pub(crate) id: u32,
    pub(crate) connect: Option<Connect>,
    pub(crate) subscribe: Option<OnChannel>,
    pub(crate) unsubscribe: Option<OnChannel>,
    pub(crate) publish: Option<Publish>,
    presence: Option<IgnoredAny>,
    presence_stats: Option<IgnoredAny>,
    history: Option<IgnoredAny>,
    ping: Option<IgnoredAny>,
    send: Option<IgnoredAny>,
    rpc: Option<IgnoredAny>,
    pub(crate) refresh: Option<Refresh>,
    sub_refresh: Option<IgnoredAny>,
}

/// What a client says first.
#[derive(Debug, Deserialize)]
pub(crate) struct Connect {
    /// What it calls itself: `js`, `python` and the like.
    #[serde(default)]
    pub(crate) name: String,
    /// Who it is; empty: it does not say.
    #[serde(default)]
    pub(crate) token: Token,
}

/// A new token, before the old one ends.
#[derive(Debug, Deserialize)]
pub(crate) struct Refresh {
    #[serde(default)]
    pub(crate) token: Token,
}

/// A command about a channel.
#[derive(Debug, Deserialize)]
pub(crate) struct OnChannel {
    #[serde(default)]
    pub(crate) channel: String,
}

/// A publication; its data is passed on as it came.
#[derive(Debug, Deserialize)]
pub(crate) struct Publish {
    #[serde(default)]
    pub(crate) channel: String,
    pub(crate) data: Option<Box<RawValue>>,
}

impl Command {
    /// Whether this is the answer to a ping.
    pub(crate) fn is_pong(&self) -> bool {
        self.id == 0
            && self.connect.is_none()
            && self.subscribe.is_none()
            && self.unsubscribe.is_none()
            && self.publish.is_none()
            && self.refresh.is_none()
            && !self.is_unavailable()
    }

    /// Whether it asks for what this version does not have.
    pub(crate) fn is_unavailable(&self) -> bool {
        [
            &self.presence,
            &self.presence_stats,
            &self.history,
            &self.ping,
            &self.send,
            &self.rpc,
            &self.sub_refresh,
        ]
        .iter()
        .any(|method| method.is_some())
    }
}

/// The commands of one text frame.
///
/// # Errors
/// A line is not a command.
pub(crate) fn commands(text: &str) -> Result<Vec<Command>, serde_json::Error> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(command).collect()
}

fn command(line: &str) -> Result<Command, serde_json::Error> {
    // serde would take an array for a struct, and an empty one for a pong.
    if !line.starts_with('{') {
        return Err(serde::de::Error::custom("expected an object"));
    }
    serde_json::from_str(line)
}

/// An error in a reply; the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ReplyError {
    code: u32,
    message: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    temporary: bool,
}

impl ReplyError {
    const fn new(code: u32, message: &'static str) -> Self {
        Self { code, message, temporary: false }
    }

    /// Somebody of whom nothing is known, where that is not enough.
    pub(crate) const UNAUTHORIZED: Self = Self::new(101, "unauthorized");
    /// The token does not allow that on this channel.
    pub(crate) const PERMISSION_DENIED: Self = Self::new(103, "permission denied");
    /// SDKs get another token and come back.
    pub(crate) const TOKEN_EXPIRED: Self = Self::new(109, "token expired");
    /// The issuer cannot be asked now.
    pub(crate) const TOKENS_UNAVAILABLE: Self =
        Self { temporary: true, ..Self::new(100, "tokens cannot be checked now") };
    /// Subscribing twice.
    pub(crate) const ALREADY_SUBSCRIBED: Self = Self::new(105, "already subscribed");
    /// Too many subscriptions.
    pub(crate) const LIMIT_EXCEEDED: Self = Self::new(106, "limit exceeded");
    /// A field is missing or too long.
    pub(crate) const BAD_REQUEST: Self = Self::new(107, "bad request");
    /// The breaker is open: the same command may succeed later. The protocol's code for trouble of the server.
    pub(crate) const HALTED: Self =
        Self { temporary: true, ..Self::new(100, "halted: certificates are not trustworthy") };
    /// Not in this version.
    pub(crate) const NOT_AVAILABLE: Self = Self::new(108, "not available");
}

/// A usual reason to close a session from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disconnect {
    /// The close code. The SDKs reconnect after 3000-3499 and give up after 3500-3999.
    pub(crate) code: u16,
    /// For people.
    pub(crate) reason: &'static str,
}

impl Disconnect {
    /// The node stops.
    pub(crate) const SHUTDOWN: Self = Self { code: 3001, reason: "shutdown" };
    /// The same for those who have not said `connect` (RFC 6455's registry: service restart).
    pub(crate) const RESTART: Self = Self { code: 1012, reason: "service restart" };
    /// The breaker is open for longer than its hold (RFC 6455's registry: try again later).
    pub(crate) const HALTED: Self = Self { code: 1013, reason: "try again later" };
    /// A binary message, where only text is spoken.
    pub(crate) const UNSUPPORTED: Self = Self { code: 1003, reason: "binary messages are not spoken here" };
    /// More frames that carry no data than anybody needs.
    pub(crate) const CONTROL_FLOOD: Self = Self { code: 1008, reason: "too many control frames" };
    /// A message in more parts than anybody needs.
    pub(crate) const FRAGMENTS: Self = Self { code: 1008, reason: "too many fragments" };
    /// A message was begun and did not end.
    pub(crate) const UNFINISHED: Self = Self { code: 1008, reason: "message not finished in time" };
    /// A fault of ours.
    pub(crate) const INTERNAL: Self = Self { code: 3004, reason: "internal server error" };
    /// The token has ended, and no other came in time.
    pub(crate) const EXPIRED: Self = Self { code: 3005, reason: "connection expired" };
    /// The client reads too slowly.
    pub(crate) const SLOW: Self = Self { code: 3008, reason: "slow" };
    /// No answer to a ping.
    pub(crate) const NO_PONG: Self = Self { code: 3012, reason: "no pong" };
    /// More commands than `limits.messages_per_second`, and all of `limits.messages_burst` used up.
    pub(crate) const TOO_MANY_REQUESTS: Self = Self { code: 3013, reason: "too many requests" };
    /// A token that lets nobody in.
    pub(crate) const INVALID_TOKEN: Self = Self { code: 3500, reason: "invalid token" };
    /// Not the protocol.
    pub(crate) const BAD_REQUEST: Self = Self { code: 3501, reason: "bad request" };
    /// No `connect` in time.
    pub(crate) const STALE: Self = Self { code: 3502, reason: "stale" };
}

/// The answer to a command.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reply<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ReplyError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<Connected<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribe: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsubscribe: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publish: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<Refreshed<'a>>,
}

/// A result that says nothing more.
#[derive(Debug, Serialize)]
struct Empty {}

#[derive(Debug, Serialize)]
struct Connected<'a> {
    client: &'a str,
    version: &'static str,
    #[serde(flatten)]
    life: Life,
    /// Seconds between pings.
    ping: u64,
    /// Pings must be answered.
    pong: bool,
}

#[derive(Debug, Serialize)]
struct Refreshed<'a> {
    client: &'a str,
    version: &'static str,
    #[serde(flatten)]
    life: Life,
}

/// How long a session may go on without a refresh; nothing is said of one without an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Life {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    expires: bool,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
}

impl Life {
    /// Of a session whose token ends then; at least a second, for SDKs take 0 for no time at all.
    pub(crate) fn until(expires: Option<Timestamp>, now: Timestamp) -> Self {
        let ttl =
            expires.map(|end| u32::try_from(end.duration_since(now).as_secs().max(1)).unwrap_or(u32::MAX));
        Self { expires: ttl.is_some(), ttl }
    }
}

const VERSION: &str = concat!("sealwire ", env!("CARGO_PKG_VERSION"));

impl<'a> Reply<'a> {
    pub(crate) fn error(id: u32, error: ReplyError) -> Self {
        Self { id, error: Some(error), ..Self::default() }
    }

    pub(crate) fn connected(id: u32, client: &'a str, ping_seconds: u64, life: Life) -> Self {
        let connect = Some(Connected { client, version: VERSION, life, ping: ping_seconds, pong: true });
        Self { id, connect, ..Self::default() }
    }

    pub(crate) fn refreshed(id: u32, client: &'a str, life: Life) -> Self {
        Self { id, refresh: Some(Refreshed { client, version: VERSION, life }), ..Self::default() }
    }

    pub(crate) fn subscribed(id: u32) -> Self {
        Self { id, subscribe: Some(Empty {}), ..Self::default() }
    }

    pub(crate) fn unsubscribed(id: u32) -> Self {
        Self { id, unsubscribe: Some(Empty {}), ..Self::default() }
    }

    pub(crate) fn published(id: u32) -> Self {
        Self { id, publish: Some(Empty {}), ..Self::default() }
    }

    /// As it goes into a frame.
    pub(crate) fn encode(&self) -> Bytes {
        // Plain structs with string keys: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// A ping.
pub(crate) const PING: Bytes = Bytes::from_static(b"{}");

/// Tells clients that the node has halted, or goes on. SDKs hand it to the application as a message of the
/// connection, or pass over it.
pub(crate) const NOTICE_OPEN: Bytes =
    Bytes::from_static(br#"{"push":{"message":{"data":{"breaker":"open"}}}}"#);
/// The end of that.
pub(crate) const NOTICE_CLOSED: Bytes =
    Bytes::from_static(br#"{"push":{"message":{"data":{"breaker":"closed"}}}}"#);

/// Tells a client that its subscription is over. With a code below 2500 SDKs do not come back to the channel.
pub(crate) fn unsubscribed(channel: &str) -> Bytes {
    let unsubscribe = serde_json::json!({ "code": 2000, "reason": "permission denied" });
    serde_json::json!({ "push": { "channel": channel, "unsubscribe": unsubscribe } }).to_string().into()
}

/// A publication as every subscriber gets it; with `traceparent` among its tags if its publisher is traced (W3C Trace
/// Context).
pub(crate) fn push(channel: &str, data: &RawValue, traceparent: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    struct Message<'a> {
        push: Push<'a>,
    }
    #[derive(Serialize)]
    struct Push<'a> {
        channel: &'a str,
        r#pub: Publication<'a>,
    }
    #[derive(Serialize)]
    struct Publication<'a> {
        data: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        tags: Option<Tags<'a>>,
    }
    #[derive(Serialize)]
    struct Tags<'a> {
        traceparent: &'a str,
    }
    let tags = traceparent.map(|traceparent| Tags { traceparent });
    let message = Message { push: Push { channel, r#pub: Publication { data, tags } } };
    serde_json::to_vec(&message).unwrap_or_default().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn replies_are_as_the_sdks_expect() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text(&Reply::connected(1, "c", 25, Life::default()).encode()),
            format!(
                r#"{{"id":1,"connect":{{"client":"c","version":"sealwire {version}","ping":25,"pong":true}}}}"#
            )
        );
        let second = |second| Timestamp::from_second(second).unwrap();
        let life = Life::until(Some(second(100)), second(40));
        assert_eq!(
            text(&Reply::refreshed(6, "c", life).encode()),
            format!(
                r#"{{"id":6,"refresh":{{"client":"c","version":"sealwire {version}","expires":true,"ttl":60}}}}"#
            )
        );
        assert_eq!(Life::until(Some(second(40)), second(100)).ttl, Some(1));
        assert_eq!(Life::until(Some(Timestamp::MAX), second(0)).ttl, Some(u32::MAX));
        assert_eq!(text(&Reply::subscribed(2).encode()), r#"{"id":2,"subscribe":{}}"#);
        assert_eq!(text(&Reply::unsubscribed(3).encode()), r#"{"id":3,"unsubscribe":{}}"#);
        assert_eq!(text(&Reply::published(4).encode()), r#"{"id":4,"publish":{}}"#);
        assert_eq!(
            text(&Reply::error(5, ReplyError::ALREADY_SUBSCRIBED).encode()),
            r#"{"id":5,"error":{"code":105,"message":"already subscribed"}}"#
        );
    }

    #[test]
    fn data_is_passed_on_to_the_letter() {
        let commands =
            commands(r#"{"id":1,"publish":{"channel":"a\"b","data":{"z": 1.0,"a":[null]}}}"#).unwrap();
        let publish = commands[0].publish.as_ref().unwrap();
        assert_eq!(
            text(&push(&publish.channel, publish.data.as_ref().unwrap(), None)),
            r#"{"push":{"channel":"a\"b","pub":{"data":{"z": 1.0,"a":[null]}}}}"#
        );
        assert_eq!(
            text(&push("c", publish.data.as_ref().unwrap(), Some("00-x"))),
            r#"{"push":{"channel":"c","pub":{"data":{"z": 1.0,"a":[null]},"tags":{"traceparent":"00-x"}}}}"#
        );
    }

    #[test]
    fn frames_hold_several_commands_and_pongs_are_empty() {
        let found =
            commands("{\"id\":1,\"connect\":{}}\n{}\n{\"id\":2,\"history\":{\"channel\":\"c\"}}\n").unwrap();
        assert_eq!(found.len(), 3);
        assert!(found[0].connect.is_some() && !found[0].is_pong());
        assert!(found[1].is_pong());
        assert!(found[2].is_unavailable());
        assert!(commands("{").is_err());
        assert!(commands("[]").is_err());
        assert!(commands("{\"id\":1,\"subscribe\":7}").is_err());
    }
}
