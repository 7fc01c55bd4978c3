//! Why a token is refused.

use std::time::Duration;

/// Why a token does not let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// None came, and nobody is let in without.
    #[error("no token")]
    Missing,
    /// Neither a sound JWT nor an opaque token, several where one is allowed, or claims that say nothing.
    #[error("not a token")]
    Malformed,
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("token too long")]
    TooLong,
    /// `none`, one that is not configured, or not that of a key.
    #[error("algorithm of the token not allowed")]
    Algorithm,
    /// No key goes by its `kid`, or there is none at all.
    #[error("key of the token unknown")]
    UnknownKey,
    /// Not made by the holder of the key.
    #[error("signature of the token wrong")]
    Signature,
    /// `exp` is over; everything else about it is right.
    #[error("token expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("token not valid yet")]
    NotYetValid,
    /// `iss` is missing or another.
    #[error("issuer of the token not trusted")]
    Issuer,
    /// `aud` is missing or somebody else.
    #[error("token is for another audience")]
    Audience,
    /// Its server says that it is not, or no longer, good (RFC 7662 section 2.2).
    #[error("token not active")]
    Inactive,
    /// Nobody can tell now: the issuer's keys or its server cannot be reached.
    #[error("tokens cannot be checked now")]
    Unavailable {
        /// When it is worth while to come back.
        retry_after: Duration,
    },
    /// It is for a subscription where one for a session is needed, or the other way about.
    #[error("token is for a subscription, or for none")]
    Channel,
}

/// The longest token, in bytes: what fits into a request head, as most servers limit it.
pub(crate) const MAX_TOKEN_BYTES: usize = 8192;

impl TokenFault {
    /// All, as metrics and the audit log name them; the order is that of [`TokenFault::index`].
    pub(crate) const NAMES: [&'static str; 13] = [
        "missing",
        "malformed",
        "too_long",
        "algorithm",
        "unknown_key",
        "signature",
        "expired",
        "not_yet_valid",
        "issuer",
        "audience",
        "inactive",
        "unavailable",
        "channel",
    ];

    /// In snake case.
    pub(crate) fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Its place in [`TokenFault::NAMES`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Malformed => 1,
            Self::TooLong => 2,
            Self::Algorithm => 3,
            Self::UnknownKey => 4,
            Self::Signature => 5,
            Self::Expired => 6,
            Self::NotYetValid => 7,
            Self::Issuer => 8,
            Self::Audience => 9,
            Self::Inactive => 10,
            Self::Unavailable { .. } => 11,
            Self::Channel => 12,
        }
    }
}
