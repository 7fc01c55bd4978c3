//! What can be wrong: every kind of incident, how grave it is, and what to do. `docs/operations.md` has a
//! section for each, headed by its name.

use sealwire_proto::v1;

/// A kind of incident. What it is about (a certificate, a node, an issuer) is said beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The wall clock stepped.
    ClockJumped,
    /// Our clock and a CA's differ.
    ClockSkew,
    /// A generation that is served is revoked.
    Revoked,
    /// Nobody could say for long whether what is served is revoked.
    RevocationUnknown,
    /// There is no good OCSP response to present, and one is required or wanted.
    StapleStale,
    /// What a CA issued failed the gate.
    GateFailed,
    /// A node refused a generation.
    Refused,
    /// A node acknowledged a generation that no handshake sees.
    Unproven,
    /// A node neither took nor refused a generation.
    Unanswered,
    /// No certificate for it could be obtained, and little of the validity is left.
    ExpiresSoon,
    /// What is served has expired.
    Expired,
    /// The breaker of a node is open.
    BreakerOpen,
    /// Clients of a node reset their handshakes in masses.
    ResetStorm,
    /// Clients of a node say that its certificate has expired.
    ExpiredHandshakes,
    /// The root of an embedded CA is being changed, and somebody has not confirmed the new one.
    CaRotation,
    /// Something could not be written.
    Disk,
    /// Alerts could not be sent.
    AlertsUnsent,
}

impl Kind {
    /// Each of them once.
    pub const ALL: [Self; 17] = [
        Self::ClockJumped,
        Self::ClockSkew,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::StapleStale,
        Self::GateFailed,
        Self::Refused,
        Self::Unproven,
        Self::Unanswered,
        Self::ExpiresSoon,
        Self::Expired,
        Self::BreakerOpen,
        Self::ResetStorm,
        Self::ExpiredHandshakes,
        Self::CaRotation,
        Self::Disk,
        Self::AlertsUnsent,
    ];

    /// In snake case, as logs, alerts and the documentation name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClockJumped => "clock_jumped",
            Self::ClockSkew => "clock_skew",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::StapleStale => "staple_stale",
            Self::GateFailed => "gate_failed",
            Self::Refused => "refused",
            Self::Unproven => "unproven",
            Self::Unanswered => "unanswered",
            Self::ExpiresSoon => "expires_soon",
            Self::Expired => "expired",
            Self::BreakerOpen => "breaker_open",
            Self::ResetStorm => "reset_storm",
            Self::ExpiredHandshakes => "expired_handshakes",
            Self::CaRotation => "ca_rotation",
            Self::Disk => "disk",
            Self::AlertsUnsent => "alerts_unsent",
        }
    }

    /// How grave it is.
    #[must_use]
    pub fn severity(self) -> v1::Severity {
        match self {
            Self::Revoked | Self::Expired | Self::BreakerOpen | Self::ExpiredHandshakes => {
                v1::Severity::Critical
            }
            Self::CaRotation => v1::Severity::Info,
            _ => v1::Severity::Warning,
        }
    }
}
