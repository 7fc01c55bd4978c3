//! When a certificate is due, failures and limits aside.

use jiff::{SignedDuration, Timestamp};

use super::backoff::fraction;
use super::memory::{Memory, Revoked};
use super::reason::Reason;
use super::{Current, Facts, Policy, plus};

/// Renewals of certificates obtained together are spread over this part of the lifetime, so that a CA sees
/// no burst; Boulder's ARI windows are 2 % of the lifetime wide too.
const SPREAD: f64 = 0.02;

/// Whatever the CA's window says: with only this part of the lifetime left, a renewal is due. (certmagic
/// waits for 1/20, which for a certificate of 160 hours is 8 hours: too few attempts.)
const LAST_CALL: f64 = 0.1;

/// A CA that wants each new certificate renewed at once is obeyed the first time; after that, never sooner
/// than this, or a twentieth of the lifetime.
const HURRIED_AGE: SignedDuration = SignedDuration::from_hours(24);

/// A maintenance window may cost at most this part of the margin between due and end of validity.
const WINDOW_SHARE: f64 = 0.5;

/// When a certificate is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// From this instant on.
    pub at: Timestamp,
    /// By this rule.
    pub reason: Reason,
    /// It can wait for a maintenance window until then; `None`: it cannot.
    pub patience: Option<Timestamp>,
}

impl Due {
    fn now(now: Timestamp, reason: Reason) -> Self {
        Self { at: now, reason, patience: None }
    }
}

/// A revocation is worth an order at once. A CA that goes on revoking what it issues is asked as after failures: after
/// the second within a day in a minute, then in 10, then in 100, then the next day.
const REVOKED_AGAIN: [SignedDuration; 5] = [
    SignedDuration::ZERO,
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(10),
    SignedDuration::from_mins(100),
    SignedDuration::from_hours(24),
];

fn again_after(memory: &Memory, revoked: &Revoked) -> SignedDuration {
    let day_before = minus(revoked.at, SignedDuration::from_hours(24));
    let others = memory.revoked.iter().filter(|other| other.generation != revoked.generation);
    let before = others.filter(|other| (day_before..=revoked.at).contains(&other.at)).count();
    REVOKED_AGAIN[before.min(REVOKED_AGAIN.len() - 1)]
}

/// When the certificate is due, and why.
pub(super) fn due(now: Timestamp, facts: &Facts<'_>, policy: &Policy, seed: u64) -> Due {
    if facts.order_pending.is_some() {
        return Due::now(now, Reason::Resume);
    }
    if facts.damaged {
        return Due::now(now, Reason::Damaged);
    }
    let Some(current) = &facts.current else {
        return Due::now(now, Reason::Missing);
    };
    if now >= current.not_after {
        return Due::now(now, Reason::NotValid);
    }
    if let Some(revoked) = facts.memory.revocation(current.generation) {
        let at = match facts.request {
            Some(_) => now,
            None => {
                let wait = again_after(facts.memory, revoked);
                // Never later for a clock that ran ahead when it was noticed.
                plus(revoked.at, wait).min(plus(now, wait))
            }
        };
        return Due { at, reason: Reason::Revoked, patience: None };
    }
    if let Some(change) = facts.changed {
        return Due::now(now, Reason::Changed(change));
    }
    if facts.request.is_some() {
        return Due::now(now, Reason::Requested);
    }
    if facts.quarantined {
        return Due::now(now, Reason::Quarantined);
    }
    timed(facts, current, policy, seed)
}

/// By the CA's window or the ratio of the lifetime.
fn timed(facts: &Facts<'_>, current: &Current<'_>, policy: &Policy, seed: u64) -> Due {
    let lifetime = current.lifetime();
    let ari = facts.memory.ari.as_ref().filter(|ari| ari.generation == current.generation);
    let window = ari.and_then(|ari| Some((ari.info.as_ref()?, ari.instant?)));
    let (at, reason) = match window {
        None => {
            let part = (policy.renew_at - SPREAD * fraction(seed, current.generation)).max(0.0);
            let reason = Reason::Lifetime { renew_at: policy.renew_at, not_after: current.not_after };
            (plus(current.not_before, lifetime.mul_f64(part)), reason)
        }
        Some((info, instant)) => {
            let last_call = minus(current.not_after, lifetime.mul_f64(LAST_CALL));
            if instant > last_call {
                (last_call, Reason::LastCall { not_after: current.not_after })
            } else {
                let floor = if facts.memory.hurried > 0 {
                    plus(current.not_before, HURRIED_AGE.min(lifetime / 20))
                } else {
                    Timestamp::MIN
                };
                let reason = Reason::RenewalInfo {
                    window: (info.start, info.end),
                    explanation_url: info.explanation_url.clone(),
                };
                (instant.max(floor), reason)
            }
        }
    };
    let patience = plus(at, current.not_after.duration_since(at).mul_f64(WINDOW_SHARE));
    Due { at, reason, patience: Some(patience) }
}

pub(super) fn minus(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}
