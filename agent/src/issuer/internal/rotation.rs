//! The change of the root with overlap, as a pure machine: publish the new one beside the old, wait until
//! everybody has it, issue from it, and retire the old one when nothing valid builds to it any more.
//!
//! ```text
//! settled ──begin──▶ published ──everybody has it, or force──▶ replacing ──old chains ended──▶ settled
//!    ▲                   │                                        │
//!    └──────cancel───────┴───cancel, before the first issue───────┘
//! ```
//!
//! Roots are published from the start of `published` to the end of `replacing`, both of them and always in
//! the same order, so that a chain that was issued at any time builds to a root that everybody has.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The change begins by itself this long before the root ends: the slowest client gets its roots with the
/// yearly maintenance.
pub(super) const BEGINS_BEFORE_END: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Stands for all clients where the configuration names none.
const CLIENTS: &str = "clients";

/// Who must have the new root: a node, a client, or the clients as a whole. Its text is for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Party(String);

impl Party {
    pub(super) fn node(id: &str) -> Self {
        Self(format!("node {id}"))
    }

    pub(super) fn client(name: &str) -> Self {
        Self(format!("client {name}"))
    }

    /// Nobody has told which clients there are: an operator speaks for all of them.
    pub(super) fn clients() -> Self {
        Self(CLIENTS.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How far the change is; what is on disk. Roots are numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(super) enum Rotation {
    /// There is one root.
    Settled {
        /// It issues.
        root: u64,
    },
    /// The new root is handed out.
    Published {
        /// It issues.
        root: u64,
        /// The new one.
        next: u64,
        since: Timestamp,
        /// Who has the new one.
        confirmed: BTreeSet<Party>,
    },
    /// The new root issues; what the old one issued is still valid.
    Replacing {
        /// It issues.
        root: u64,
        /// The one before.
        old: u64,
        since: Timestamp,
    },
}

/// What the decision is made from.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// When the root that issues ends.
    pub(super) root_ends: Timestamp,
    /// Who must have the new root; `None`: it is not known yet, as at the start.
    pub(super) parties: Option<BTreeSet<Party>>,
    /// The end of the last certificate that builds to the old root; `None` if there is none.
    pub(super) chained_until: Option<Timestamp>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// Make a new root and publish it.
    Begin,
    /// Issue from the new root.
    Issue,
    /// Publish the old root no more.
    Retire,
}

impl Rotation {
    /// The root that issues.
    pub(super) fn issuing(&self) -> u64 {
        match self {
            Self::Settled { root } | Self::Published { root, .. } | Self::Replacing { root, .. } => *root,
        }
    }

    /// The roots that are published, the older one first.
    pub(super) fn published(&self) -> Vec<u64> {
        match self {
            Self::Settled { root } => vec![*root],
            Self::Published { root, next, .. } => vec![*root, *next],
            Self::Replacing { root, old, .. } => vec![*old, *root],
        }
    }

    /// Of `parties`, those that have not confirmed the new root.
    pub(super) fn missing(&self, parties: &BTreeSet<Party>) -> Vec<Party> {
        match self {
            Self::Published { confirmed, .. } => parties.difference(confirmed).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What is to be done now.
    pub(super) fn decide(&self, facts: &Facts, now: Timestamp) -> Step {
        match self {
            Self::Settled { .. } if facts.root_ends.duration_since(now) < BEGINS_BEFORE_END => Step::Begin,
            // Nothing is lost any more: nobody can use what the old root issued.
            Self::Published { .. } if now >= facts.root_ends => Step::Issue,
            Self::Published { .. } => match &facts.parties {
                Some(parties) if self.missing(parties).is_empty() => Step::Issue,
                _ => Step::Wait,
            },
            Self::Replacing { .. } if facts.chained_until.is_none_or(|until| until < now) => Step::Retire,
            _ => Step::Wait,
        }
    }

    /// The new root `next` exists and is published.
    ///
    /// # Errors
    /// A change is under way.
    pub(super) fn begin(&self, next: u64, now: Timestamp) -> Result<Self, String> {
        match self {
            Self::Settled { root } => {
                Ok(Self::Published { root: *root, next, since: now, confirmed: BTreeSet::new() })
            }
            _ => Err(format!("the root is being changed already: {}", self.in_words())),
        }
    }

    /// A party has the new root; `None` if that is known already.
    ///
    /// # Errors
    /// There is none to confirm.
    pub(super) fn confirm(&self, party: Party) -> Result<Option<Self>, String> {
        match self {
            Self::Published { root, next, since, confirmed } => {
                let mut confirmed = confirmed.clone();
                if !confirmed.insert(party) {
                    return Ok(None);
                }
                Ok(Some(Self::Published { root: *root, next: *next, since: *since, confirmed }))
            }
            _ => Err("no new root waits for confirmation".to_owned()),
        }
    }

    /// The new root issues from now on.
    ///
    /// # Errors
    /// There is no new root.
    pub(super) fn issue(&self, now: Timestamp) -> Result<Self, String> {
        match self {
            Self::Published { root, next, .. } => Ok(Self::Replacing { root: *next, old: *root, since: now }),
            Self::Settled { .. } => Err("there is no new root to issue from".to_owned()),
            Self::Replacing { .. } => Err("the new root issues already".to_owned()),
        }
    }

    /// The old root is published no more.
    pub(super) fn retire(&self) -> Self {
        Self::Settled { root: self.issuing() }
    }

    /// Back to the old root; `has_issued` tells whether the new one has signed an intermediate.
    ///
    /// # Errors
    /// There is nothing to cancel, or it is too late.
    pub(super) fn cancel(&self, has_issued: bool) -> Result<Self, String> {
        match self {
            Self::Published { root, .. } => Ok(Self::Settled { root: *root }),
            Self::Replacing { old, .. } if !has_issued => Ok(Self::Settled { root: *old }),
            Self::Replacing { .. } => Err(
                "the new root has issued already: change it again instead, with `sealwire ca rotate root`"
                    .to_owned(),
            ),
            Self::Settled { .. } => Err("no change of the root is under way".to_owned()),
        }
    }

    /// How far it is, for people; empty if no change is under way.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Settled { .. } => String::new(),
            Self::Published { root, next, since, .. } => format!(
                "root-{next} is published beside root-{root} since {since:.0}; it issues once everybody has it"
            ),
            Self::Replacing { root, old, since } => format!(
                "root-{root} issues since {since:.0}; root-{old} is retired once nothing valid builds to it"
            ),
        }
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
