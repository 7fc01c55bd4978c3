//! What to do about a certificate, and when: a pure function of the time, the facts, the policy and a seed.
//! It does no I/O and reads no clock, so a year of renewals runs in a unit test, and `status` can tell the
//! reason of every action because it asks the very same function.

mod backoff;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::issuer::ErrorClass;
pub use backoff::{ATTEMPTS_PER_ISSUER, retry_delay};

/// Renewals of certificates obtained together are spread over this part of the lifetime, so that a CA sees
/// no burst; Boulder's ARI windows are 2 % of the lifetime wide too.
const SPREAD: f64 = 0.02;

/// What is wanted of a certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// DNS names and addresses, in configured order.
    pub identifiers: Vec<String>,
    /// First choice first; never empty.
    pub issuers: Vec<String>,
    /// Part of the lifetime after which to renew.
    pub renew_at: f64,
}

/// What is known about a certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The generation that is current.
    pub current: Option<Current>,
    /// Why what the store holds cannot be used as it is, if so.
    pub damaged: bool,
    /// The newest generation was refused by a node or could not be proven.
    pub quarantined: bool,
    /// An order was placed and its outcome is not known yet (a restart).
    pub order_pending: bool,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// The last of them.
    pub last_failure: Option<LastFailure>,
    /// Somebody asked for a renewal.
    pub request: Option<Request>,
}

/// The current generation, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    /// Its number.
    pub generation: u64,
    /// Which issuer it came from.
    pub issuer: String,
    /// What it was ordered for.
    pub identifiers: Vec<String>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

/// The last failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct LastFailure {
    /// When it failed.
    pub at: Timestamp,
    /// Whose fault it was.
    pub class: ErrorClass,
    /// What the CA said about coming back.
    pub retry_after: Option<Duration>,
}

/// An operator's request to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Even though a back-off is running.
    pub force: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Order from this issuer now.
    Obtain {
        /// Its name.
        issuer: String,
    },
    /// Nothing before [`Decision::at`].
    Wait,
}

/// The rule behind an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// There is no generation yet.
    Missing,
    /// What the store holds cannot be used.
    Damaged,
    /// An order placed before a restart is taken up again.
    Resume,
    /// The configuration asks for other identifiers than the leaf has.
    IdentifiersChanged,
    /// The issuer it came from is no longer configured.
    IssuerRemoved,
    /// A node refused the newest generation.
    Quarantined,
    /// An operator asked.
    Requested,
    /// The renewal time of the current generation.
    Lifetime {
        /// Part of the lifetime.
        renew_at: f64,
        /// End of validity.
        not_after: Timestamp,
    },
    /// After failures, the time of the next attempt.
    BackOff {
        /// How many attempts failed in a row.
        failures: u32,
        /// Whose fault the last one was.
        class: ErrorClass,
        /// Why it is being attempted at all.
        because: Box<Reason>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no generation yet"),
            Self::Damaged => f.write_str("the stored generation is damaged"),
            Self::Resume => f.write_str("an order placed before a restart is taken up again"),
            Self::IdentifiersChanged => f.write_str("the configured identifiers differ from the leaf's"),
            Self::IssuerRemoved => f.write_str("its issuer is no longer configured"),
            Self::Quarantined => f.write_str("the newest generation was refused"),
            Self::Requested => f.write_str("an operator asked"),
            Self::Lifetime { renew_at, not_after } => {
                write!(f, "{:.0} % of the lifetime that ends {not_after:.0}", renew_at * 100.0)
            }
            Self::BackOff { failures, class, because } => {
                let class = match class {
                    ErrorClass::Transient => "transient",
                    ErrorClass::Ours => "ours",
                    ErrorClass::Identifier => "an identifier's",
                    ErrorClass::Account => "the account's",
                    ErrorClass::Ca => "the CA's",
                    ErrorClass::Refused => "a refusal by a node",
                    ErrorClass::OrderLost => "a lost order",
                };
                write!(f, "{because}; back-off after {failures} failure(s), the last one {class}")
            }
        }
    }
}

/// What to do, when, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// When: now for an action, the next time to look for a wait.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Decides. `seed` is fixed per certificate and spreads renewals and retries; the same arguments give the
/// same decision.
#[must_use]
pub fn decide(now: Timestamp, facts: &Facts, policy: &Policy, seed: u64) -> Decision {
    let (due, because) = due(now, facts, policy, seed);
    let (at, reason) = match &facts.last_failure {
        Some(last) if facts.failures > 0 && !facts.request.is_some_and(|request| request.force) => {
            let remaining = facts.current.as_ref().map(|current| current.not_after.duration_since(last.at));
            let delay = retry_delay(facts.failures, last, remaining, seed);
            let earliest = plus(last.at, delay);
            let reason =
                Reason::BackOff { failures: facts.failures, class: last.class, because: Box::new(because) };
            (due.max(earliest), reason)
        }
        _ => (due, because),
    };
    if now < at {
        return Decision { action: Action::Wait, at, reason };
    }
    // The next issuer after a few failures in a row; a success starts over with the first.
    let turn = (facts.failures / ATTEMPTS_PER_ISSUER) as usize % policy.issuers.len();
    Decision { action: Action::Obtain { issuer: policy.issuers[turn].clone() }, at: now, reason }
}

/// When the certificate is due, failures aside.
fn due(now: Timestamp, facts: &Facts, policy: &Policy, seed: u64) -> (Timestamp, Reason) {
    if facts.order_pending {
        return (now, Reason::Resume);
    }
    let Some(current) = &facts.current else {
        return (now, if facts.damaged { Reason::Damaged } else { Reason::Missing });
    };
    if facts.damaged {
        return (now, Reason::Damaged);
    }
    if !same_set(&current.identifiers, &policy.identifiers) {
        return (now, Reason::IdentifiersChanged);
    }
    if !policy.issuers.contains(&current.issuer) {
        return (now, Reason::IssuerRemoved);
    }
    if facts.request.is_some() {
        return (now, Reason::Requested);
    }
    if facts.quarantined {
        return (now, Reason::Quarantined);
    }
    let reason = Reason::Lifetime { renew_at: policy.renew_at, not_after: current.not_after };
    (renewal_time(current, policy.renew_at, seed), reason)
}

/// The instant in the lifetime at which to renew: `renew_at`, less up to [`SPREAD`] by the seed.
fn renewal_time(current: &Current, renew_at: f64, seed: u64) -> Timestamp {
    let lifetime = current.not_after.duration_since(current.not_before);
    let part = (renew_at - SPREAD * backoff::fraction(seed, current.generation)).max(0.0);
    plus(current.not_before, lifetime.mul_f64(part))
}

fn same_set(left: &[String], right: &[String]) -> bool {
    left.len() == right.len() && left.iter().all(|identifier| right.contains(identifier))
}

fn plus(at: Timestamp, delay: SignedDuration) -> Timestamp {
    at.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
