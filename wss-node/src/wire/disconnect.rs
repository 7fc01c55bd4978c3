//! Why the node closes a session. Codes and texts are those of the Go library that Centrifugo is made of
//! (centrifugal/centrifuge, `disconnect.go`), those under 3000 of RFC 6455 (7.4.1) and its registry.

use super::v1;

/// A close code with its text. Sent as the code of the WebSocket close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// 3000-3999 are the protocol's, 4000-4999 the application's.
    pub code: u16,
    /// For people; at most 123 bytes (RFC 6455, 5.5).
    pub reason: &'static str,
}

impl Disconnect {
    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// A message of the other type: text and binary tell the framings apart (RFC 6455, 7.4.1).
    pub const UNSUPPORTED: Self = Self::new(1003, "messages of this type are not spoken here");
    /// More frames that carry no data than anybody needs.
    pub const CONTROL_FLOOD: Self = Self::new(1008, "too many control frames");
    /// A message in more parts than anybody needs.
    pub const FRAGMENTS: Self = Self::new(1008, "too many fragments");
    /// A message was begun and did not end.
    pub const UNFINISHED: Self = Self::new(1008, "message not finished in time");
    /// The node stops, said to those who have not said `connect` (RFC 6455's registry: service restart).
    pub const RESTART: Self = Self::new(1012, "service restart");
    /// The breaker is open for longer than its hold (RFC 6455's registry: try again later).
    pub const HALTED: Self = Self::new(1013, "try again later");

    /// The connection was lost; known to the node alone, never sent (`DisconnectConnectionClosed`).
    pub const CONNECTION_CLOSED: Self = Self::new(3000, "connection closed");
    /// The node stops (`DisconnectShutdown`).
    pub const SHUTDOWN: Self = Self::new(3001, "shutdown");
    /// Trouble of the node (`DisconnectServerError`).
    pub const SERVER_ERROR: Self = Self::new(3004, "internal server error");
    /// The connection had its time and was not refreshed (`DisconnectExpired`).
    pub const EXPIRED: Self = Self::new(3005, "connection expired");
    /// A subscription had its time and was not refreshed (`DisconnectSubExpired`).
    pub const SUBSCRIPTION_EXPIRED: Self = Self::new(3006, "subscription expired");
    /// The client reads too slowly; it recovers what it missed (`DisconnectSlow`).
    pub const SLOW: Self = Self::new(3008, "slow");
    /// A write failed (`DisconnectWriteError`).
    pub const WRITE_ERROR: Self = Self::new(3009, "write error");
    /// A gap in a channel: the client recovers what it missed (`DisconnectInsufficientState`).
    pub const INSUFFICIENT_STATE: Self = Self::new(3010, "insufficient state");
    /// An operator's word: come again (`DisconnectForceReconnect`).
    pub const FORCE_RECONNECT: Self = Self::new(3011, "force reconnect");
    /// No answer to a ping (`DisconnectNoPong`).
    pub const NO_PONG: Self = Self::new(3012, "no pong");
    /// Over a rate of commands (`DisconnectTooManyRequests`).
    pub const TOO_MANY_REQUESTS: Self = Self::new(3013, "too many requests");
    /// Token and state of the client are void: it asks for a new token and starts anew
    /// (`DisconnectStateInvalidated`).
    pub const STATE_INVALIDATED: Self = Self::new(3014, "state invalidated");

    /// The token is no good (`DisconnectInvalidToken`).
    pub const INVALID_TOKEN: Self = Self::new(3500, "invalid token");
    /// Not the protocol (`DisconnectBadRequest`).
    pub const BAD_REQUEST: Self = Self::new(3501, "bad request");
    /// No `connect` in time (`DisconnectStale`).
    pub const STALE: Self = Self::new(3502, "stale");
    /// An operator's word: stay away (`DisconnectForceNoReconnect`).
    pub const FORCE_NO_RECONNECT: Self = Self::new(3503, "force disconnect");
    /// Too many connections, of a user or by another rule (`DisconnectConnectionLimit`).
    pub const CONNECTION_LIMIT: Self = Self::new(3504, "connection limit");
    /// Too many channels (`DisconnectChannelLimit`).
    pub const CHANNEL_LIMIT: Self = Self::new(3505, "channel limit");
    /// Data for a client with the JSON framing are not JSON (`DisconnectInappropriateProtocol`).
    pub const INAPPROPRIATE_PROTOCOL: Self = Self::new(3506, "inappropriate protocol");
    /// The credentials do not allow a connection (`DisconnectPermissionDenied`).
    pub const PERMISSION_DENIED: Self = Self::new(3507, "permission denied");
    /// What was sent is switched off and has no reply to say so (`DisconnectNotAvailable`).
    pub const NOT_AVAILABLE: Self = Self::new(3508, "not available");
    /// Too many errors (`DisconnectTooManyErrors`).
    pub const TOO_MANY_ERRORS: Self = Self::new(3509, "too many errors");

    /// All that the protocol names.
    pub const ALL: [Self; 22] = [
        Self::CONNECTION_CLOSED,
        Self::SHUTDOWN,
        Self::SERVER_ERROR,
        Self::EXPIRED,
        Self::SUBSCRIPTION_EXPIRED,
        Self::SLOW,
        Self::WRITE_ERROR,
        Self::INSUFFICIENT_STATE,
        Self::FORCE_RECONNECT,
        Self::NO_PONG,
        Self::TOO_MANY_REQUESTS,
        Self::STATE_INVALIDATED,
        Self::INVALID_TOKEN,
        Self::BAD_REQUEST,
        Self::STALE,
        Self::FORCE_NO_RECONNECT,
        Self::CONNECTION_LIMIT,
        Self::CHANNEL_LIMIT,
        Self::INAPPROPRIATE_PROTOCOL,
        Self::PERMISSION_DENIED,
        Self::NOT_AVAILABLE,
        Self::TOO_MANY_ERRORS,
    ];

    /// Whether SDKs come again: not after 3500-3999 and 4500-4999 (client SDK specification, "disconnect codes"), nor
    /// after 1009, which they take for a message that is too large.
    #[must_use]
    pub const fn reconnects(self) -> bool {
        !matches!(self.code, 3500..=3999 | 4500..=4999 | 1009)
    }
}

/// The push that says the same, for transports that have no close code.
impl From<Disconnect> for v1::Disconnect {
    fn from(disconnect: Disconnect) -> Self {
        Self {
            code: disconnect.code.into(),
            reason: disconnect.reason.to_owned(),
            reconnect: disconnect.reconnects(),
        }
    }
}
