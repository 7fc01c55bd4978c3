//! What replies say of commands that were refused. Codes and texts are those of the Go library that Centrifugo is made
//! of (centrifugal/centrifuge, `errors.go`); SDKs act on 109 and 112, and on `temporary`.

use super::v1::{self, reply};

/// An error in a reply; the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyError {
    /// 100 to 399 are the protocol's, 400 to 1999 the application's.
    pub code: u32,
    /// For people.
    pub message: &'static str,
    /// The same command may succeed later: SDKs repeat `connect` and `subscribe` by themselves, and stop at an error
    /// that is not temporary.
    pub temporary: bool,
}

impl ReplyError {
    const fn lasting(code: u32, message: &'static str) -> Self {
        Self { code, message, temporary: false }
    }

    const fn temporary(code: u32, message: &'static str) -> Self {
        Self { code, message, temporary: true }
    }

    /// Trouble of the node (`ErrorInternal`).
    pub const INTERNAL: Self = Self::temporary(100, "internal server error");
    /// The breaker is open. The protocol has no code for it: that of trouble of the node.
    pub const HALTED: Self = Self::temporary(100, "halted: certificates are not trustworthy");
    /// The issuer of tokens cannot be asked now. As above.
    pub const TOKENS_UNAVAILABLE: Self = Self::temporary(100, "tokens cannot be checked now");
    /// The broker cannot do it now. As above.
    pub const BROKER_UNAVAILABLE: Self = Self::temporary(100, "the channel is not available now");
    /// No valid credentials (`ErrorUnauthorized`).
    pub const UNAUTHORIZED: Self = Self::lasting(101, "unauthorized");
    /// No namespace has this channel (`ErrorUnknownChannel`).
    pub const UNKNOWN_CHANNEL: Self = Self::lasting(102, "unknown channel");
    /// The credentials do not allow it (`ErrorPermissionDenied`).
    pub const PERMISSION_DENIED: Self = Self::lasting(103, "permission denied");
    /// No such RPC, or a command without a known request (`ErrorMethodNotFound`).
    pub const METHOD_NOT_FOUND: Self = Self::lasting(104, "method not found");
    /// Subscribing twice (`ErrorAlreadySubscribed`).
    pub const ALREADY_SUBSCRIBED: Self = Self::lasting(105, "already subscribed");
    /// Too many subscriptions, or something too long (`ErrorLimitExceeded`).
    pub const LIMIT_EXCEEDED: Self = Self::lasting(106, "limit exceeded");
    /// A field is missing or cannot be (`ErrorBadRequest`).
    pub const BAD_REQUEST: Self = Self::lasting(107, "bad request");
    /// Switched off for this channel (`ErrorNotAvailable`).
    pub const NOT_AVAILABLE: Self = Self::lasting(108, "not available");
    /// The token was good once: SDKs ask the application for a new one (`ErrorTokenExpired`).
    pub const TOKEN_EXPIRED: Self = Self::lasting(109, "token expired");
    /// The connection or subscription had its time, without a token (`ErrorExpired`).
    pub const EXPIRED: Self = Self::lasting(110, "expired");
    /// Over a rate (`ErrorTooManyRequests`).
    pub const TOO_MANY_REQUESTS: Self = Self::temporary(111, "too many requests");
    /// History does not reach back to this position, or the epoch is another: SDKs of maps start from the state
    /// (`ErrorUnrecoverablePosition`).
    pub const UNRECOVERABLE_POSITION: Self = Self::lasting(112, "unrecoverable position");
    /// Another page of this channel is under way (`ErrorConcurrentPagination`).
    pub const CONCURRENT_PAGINATION: Self = Self::temporary(113, "concurrent pagination");

    /// All of the protocol's.
    pub const ALL: [Self; 14] = [
        Self::INTERNAL,
        Self::UNAUTHORIZED,
        Self::UNKNOWN_CHANNEL,
        Self::PERMISSION_DENIED,
        Self::METHOD_NOT_FOUND,
        Self::ALREADY_SUBSCRIBED,
        Self::LIMIT_EXCEEDED,
        Self::BAD_REQUEST,
        Self::NOT_AVAILABLE,
        Self::TOKEN_EXPIRED,
        Self::EXPIRED,
        Self::TOO_MANY_REQUESTS,
        Self::UNRECOVERABLE_POSITION,
        Self::CONCURRENT_PAGINATION,
    ];
}

impl From<ReplyError> for v1::Error {
    fn from(error: ReplyError) -> Self {
        Self { code: error.code, message: error.message.to_owned(), temporary: error.temporary }
    }
}

impl From<ReplyError> for reply::Answer {
    fn from(error: ReplyError) -> Self {
        Self::Error(error.into())
    }
}
