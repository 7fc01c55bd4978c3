//! Why a request came to no method.

/// The reason, which metrics and the record of decisions name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No key, or one that is not good.
    Unauthorized,
    /// As many requests as `api.requests` are under way.
    Busy,
    /// The body is larger than `api.body_bytes`.
    TooLarge,
    /// The body is not what the method takes.
    Malformed,
    /// No such method, or not by POST.
    NoMethod,
    /// The answer did not come within `api.timeout`; what was asked may have been done.
    Timeout,
    /// A handshake failed: not TLS 1.3, or no certificate of `api.client_roots` and `api.client_names`.
    Handshake,
}

impl Refused {
    /// Each of them once, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Unauthorized,
        Self::Busy,
        Self::TooLarge,
        Self::Malformed,
        Self::NoMethod,
        Self::Timeout,
        Self::Handshake,
    ];

    /// In snake case.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Busy => "busy",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NoMethod => "no_method",
            Self::Timeout => "timeout",
            Self::Handshake => "handshake",
        }
    }
}
