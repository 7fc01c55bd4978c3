//! What is remembered of a certificate over restarts, and how events change it. Pure: the store keeps it,
//! the simulation drives it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::backoff::fraction;
use crate::issuer::{ErrorClass, IssueError, RenewalInfo};

/// How many refusals are remembered: more than generations are kept.
const REMEMBERED: usize = 8;

/// Between two questions for renewal information, unless the CA says otherwise, and after an error
/// (RFC 9773 section 4.3).
const ARI_INTERVAL: SignedDuration = SignedDuration::from_hours(6);

/// The CA's wish is obeyed within these bounds (RFC 9773 section 4.3.2 leaves them to the client).
const ARI_BOUNDS: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_hours(24));

/// Counters, the last bad news, and what the CA said about renewal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Attempts that failed in a row, whoever the issuer.
    pub failures: u32,
    /// The last of them.
    pub last_failure: Option<Failure>,
    /// The same by issuer, since the last success.
    pub troubles: BTreeMap<String, Trouble>,
    /// Generations that were refused, the oldest first.
    pub quarantined: Vec<Quarantine>,
    /// Orders placed in all.
    pub orders: u64,
    /// What the CA said about the renewal of the current generation.
    pub ari: Option<Ari>,
    /// The last rehearsal at a staging CA.
    pub rehearsal: Option<Rehearsal>,
    /// Renewals in a row that happened because the CA's window lay in the past.
    pub hurried: u32,
    /// Generations that are revoked, the oldest first: neither they nor their keys are used again.
    pub revoked: Vec<Revoked>,
    /// The generation that nodes serve, or are to serve at once; 0: none yet. It differs from the current one
    /// while that one is being prepared.
    pub committed: u64,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Whose fault.
    pub class: ErrorClass,
    /// What happened.
    pub message: String,
    /// What the CA said about coming back.
    pub retry_after: Option<Duration>,
}

/// Failures in a row with one issuer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// How many.
    pub failures: u32,
    /// When the last one was.
    pub at: Timestamp,
    /// Whose fault the last one was.
    pub class: ErrorClass,
    /// What the CA said about coming back.
    pub retry_after: Option<Duration>,
}

/// A generation that must not be delivered again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Which.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// Renewal information for one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ari {
    /// Which.
    pub generation: u64,
    /// The last good answer; an error later on does not undo it.
    pub info: Option<RenewalInfo>,
    /// The instant drawn from the window: rolled once, and again only when the window changes.
    pub instant: Option<Timestamp>,
    /// When the CA is asked next.
    pub next: Timestamp,
    /// Questions in a row that brought no answer.
    pub errors: u32,
    /// What the last error was.
    pub error: Option<String>,
}

/// A rehearsal at a staging CA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The issuer it was for.
    pub issuer: String,
    /// When it ended.
    pub at: Timestamp,
    /// Whether the staging CA would have issued.
    pub passed: bool,
}

/// A revocation that was noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revoked {
    /// Of which generation.
    pub generation: u64,
    /// When it was noticed.
    pub at: Timestamp,
    /// Who says so, and why.
    #[serde(default)]
    pub why: Option<String>,
}

impl Revoked {
    /// Who says so, and why.
    #[must_use]
    pub fn why(&self) -> &str {
        self.why.as_deref().unwrap_or("an operator revoked it")
    }
}

impl Memory {
    /// Whether a generation was refused.
    #[must_use]
    pub fn is_quarantined(&self, generation: u64) -> bool {
        self.quarantined.iter().any(|quarantine| quarantine.generation == generation)
    }

    /// Another replica's memory, on top of what this one's own nodes serve and refused.
    pub fn take_over(&mut self, theirs: Self) {
        let ours = std::mem::replace(self, theirs);
        self.committed = ours.committed;
        for refused in ours.quarantined {
            if !self.is_quarantined(refused.generation) {
                self.quarantine(refused);
            }
        }
        for revoked in ours.revoked {
            self.remember_revoked(revoked);
        }
    }

    /// Remembers a revocation by an operator.
    pub fn revoke(&mut self, generation: u64, now: Timestamp) {
        self.remember_revoked(Revoked { generation, at: now, why: None });
    }

    /// Remembers a revocation that was noticed.
    pub fn revoke_because(&mut self, generation: u64, now: Timestamp, why: String) {
        self.remember_revoked(Revoked { generation, at: now, why: Some(why) });
    }

    fn remember_revoked(&mut self, revoked: Revoked) {
        if self.revocation(revoked.generation).is_none() {
            self.revoked.push(revoked);
        }
        let surplus = self.revoked.len().saturating_sub(REMEMBERED);
        self.revoked.drain(..surplus);
    }

    /// The revocation of a generation, if it is revoked.
    #[must_use]
    pub fn revocation(&self, generation: u64) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| revoked.generation == generation)
    }

    /// Remembers a refusal.
    pub fn quarantine(&mut self, quarantine: Quarantine) {
        self.quarantined.push(quarantine);
        let surplus = self.quarantined.len().saturating_sub(REMEMBERED);
        self.quarantined.drain(..surplus);
    }

    /// An attempt with `issuer` failed. Failures of nodes count for nobody (`issuer` is `None`).
    pub fn failed(&mut self, now: Timestamp, issuer: Option<&str>, error: &IssueError) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(Failure {
            at: now,
            class: error.class,
            message: error.message.clone(),
            retry_after: error.retry_after,
        });
        let Some(issuer) = issuer else { return };
        // A rehearsal that went well is worth one attempt.
        self.rehearsal = self.rehearsal.take().filter(|rehearsal| rehearsal.issuer != issuer);
        let failures = self.troubles.get(issuer).map_or(0, |trouble| trouble.failures).saturating_add(1);
        let trouble = Trouble { failures, at: now, class: error.class, retry_after: error.retry_after };
        self.troubles.insert(issuer.to_owned(), trouble);
    }

    /// All is well again.
    pub fn forget_failures(&mut self) {
        self.failures = 0;
        self.last_failure = None;
        self.troubles.clear();
        self.rehearsal = None;
    }

    /// A rehearsal for `issuer` ended. One that failed counts as a failure of that issuer, so that the
    /// back-off goes on from where it was and never starts again.
    pub fn rehearsed(&mut self, now: Timestamp, issuer: &str, result: Result<(), &IssueError>) {
        if let Err(error) = result {
            self.failed(now, Some(issuer), error);
        }
        self.rehearsal = Some(Rehearsal { issuer: issuer.to_owned(), at: now, passed: result.is_ok() });
    }

    /// The CA answered a question for renewal information, or did not. `seed` draws the instant.
    pub fn renewal_info(
        &mut self,
        now: Timestamp,
        generation: u64,
        answer: Result<Option<RenewalInfo>, String>,
        seed: u64,
    ) {
        let before = self.ari.take().filter(|ari| ari.generation == generation);
        let (mut info, mut instant) =
            before.as_ref().map_or((None, None), |ari| (ari.info.clone(), ari.instant));
        // Up to a fifth more or less, by the seed and the hour: those that asked together part.
        let jitter = 0.8 + 0.4 * fraction(seed, now.as_second().unsigned_abs());
        let mut wait = ARI_INTERVAL.mul_f64(jitter);
        let mut errors = 0;
        let mut problem = None;
        match answer {
            Ok(Some(new)) => {
                if let Some(asked) = new.retry_after {
                    let asked = SignedDuration::try_from(asked).unwrap_or(SignedDuration::MAX);
                    wait = asked.clamp(ARI_BOUNDS.0, ARI_BOUNDS.1);
                }
                let same = info.as_ref().is_some_and(|old| (old.start, old.end) == (new.start, new.end));
                if !same || instant.is_none() {
                    instant = Some(draw(&new, seed));
                }
                info = Some(new);
            }
            // No renewal information at this CA: asked again, for CAs learn.
            Ok(None) => wait = ARI_BOUNDS.1.mul_f64(jitter),
            Err(error) => {
                errors = before.as_ref().map_or(0, |ari| ari.errors).saturating_add(1);
                problem = Some(error);
            }
        }
        let next = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.ari = Some(Ari { generation, info, instant, next, errors, error: problem });
    }
}

/// One instant, uniform over the window (RFC 9773 section 4.2).
fn draw(info: &RenewalInfo, seed: u64) -> Timestamp {
    let width = info.end.duration_since(info.start);
    let salt = info.start.as_second() as u64 ^ (info.end.as_second() as u64).rotate_left(32);
    info.start.checked_add(width.mul_f64(fraction(seed, salt))).unwrap_or(info.end)
}
