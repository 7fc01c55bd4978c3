//! What may open the breaker, and what was found of it.

use std::collections::BTreeMap;

use crate::config::{BreakerConfig, Reaction};

/// Why state propagation is, or should be, halted (DESIGN section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Expired,
    NotYetValid,
    NameMismatch,
    Revoked,
    StapleStale,
    /// By an operator.
    Halted,
}

impl Cause {
    /// In snake case, as configuration, reports and metrics name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NameMismatch => "name_mismatch",
            Self::Revoked => "revoked",
            Self::StapleStale => "staple_stale",
            Self::Halted => "halted",
        }
    }

    pub(super) fn reaction(self, config: &BreakerConfig) -> Reaction {
        match self {
            Self::Expired => config.expired,
            Self::NotYetValid => config.not_yet_valid,
            Self::NameMismatch => config.name_mismatch,
            Self::Revoked => config.revoked,
            Self::StapleStale => config.staple_stale,
            Self::Halted => Reaction::Trip,
        }
    }
}

/// What was found of a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// For people.
    pub(crate) detail: String,
    /// Only told, whatever the configuration says.
    pub(crate) only_told: bool,
}

/// What was found at one instant, by cause.
pub(crate) type Findings = BTreeMap<Cause, Finding>;
