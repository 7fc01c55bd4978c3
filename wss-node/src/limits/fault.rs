//! Which limit was reached.

use std::time::Duration;

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitFault {
    /// `listen.max_connections`
    Connections,
    /// Nine tenths of RLIMIT_NOFILE.
    Descriptors,
    /// `limits.handshakes_per_ip`
    Handshakes,
    /// `limits.accepts_per_second_per_ip`
    AcceptRate,
    /// `limits.unauthenticated`
    Unauthenticated,
    /// `limits.sessions_per_ip`
    Sessions,
    /// `sessions` of the tenant.
    TenantSessions,
}

impl LimitFault {
    /// Each of them once, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Connections,
        Self::Descriptors,
        Self::Handshakes,
        Self::AcceptRate,
        Self::Unauthenticated,
        Self::Sessions,
        Self::TenantSessions,
    ];

    /// As the configuration names it, in snake case.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Descriptors => "descriptors",
            Self::Handshakes => "handshakes_per_ip",
            Self::AcceptRate => "accepts_per_second_per_ip",
            Self::Unauthenticated => "unauthenticated",
            Self::Sessions => "sessions_per_ip",
            Self::TenantSessions => "tenant_sessions",
        }
    }

    /// When another try makes sense: what passes by itself passes soon, sessions stay for longer.
    pub(crate) fn retry_after(self) -> Duration {
        Duration::from_secs(match self {
            Self::Connections
            | Self::Descriptors
            | Self::Handshakes
            | Self::AcceptRate
            | Self::Unauthenticated => 1,
            Self::Sessions | Self::TenantSessions => 10,
        })
    }
}
