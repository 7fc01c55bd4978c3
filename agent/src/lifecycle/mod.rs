//! What to do about a certificate, and when: a pure function of the time, the facts, the policy and a seed.
//! It does no I/O and reads no clock, so a year of 10,000 certificates runs in a test, and `plan` and `why`
//! ask the very same function.
//!
//! `renewal` says when a certificate is due, `choice` from which issuer and when that one can be asked
//! ([`backoff`], [`limits`]), [`calendar`] moves it into a maintenance window.

pub mod backoff;
pub mod calendar;
mod choice;
pub mod explain;
pub mod limits;
mod memory;
pub mod outage;
mod reason;
mod renewal;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::issuer::IssueError;
use calendar::Windows;
use choice::Situation;
pub use choice::{ATTEMPTS_PER_ISSUER, Choice};
use limits::{Charges, Ledger, Limits};
pub use memory::{Ari, Failure, Memory, Quarantine, Rehearsal, Revoked, Trouble};
pub use reason::{Change, Hold, Reason, span};
pub use renewal::Due;

/// A new generation is asked about for the first time within this span, by the seed.
const FIRST_QUESTION: SignedDuration = SignedDuration::from_mins(10);

/// The longest a CA may ask to wait with the next question is a day, give or take a fifth.
const FURTHEST_QUESTION: SignedDuration = SignedDuration::from_hours(30);

/// What is wanted of a certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// First choice first; never empty.
    pub issuers: Vec<String>,
    /// Part of the lifetime after which to renew, unless the CA says when.
    pub renew_at: f64,
    /// When renewals should happen, if they can choose.
    pub windows: Option<Windows>,
    /// What an order counts towards.
    pub charges: Charges,
}

/// What is known about a certificate.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The generation that is current.
    pub current: Option<Current<'a>>,
    /// What the configuration wants different.
    pub changed: Option<Change>,
    /// What the store holds cannot be used as it is.
    pub damaged: bool,
    /// The newest generation was refused by a node or could not be proven.
    pub quarantined: bool,
    /// The issuer of an order that was placed and whose outcome is not known yet.
    pub order_pending: Option<&'a str>,
    /// What is remembered.
    pub memory: &'a Memory,
    /// Somebody asked for a renewal.
    pub request: Option<Request>,
}

/// The current generation, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Current<'a> {
    /// Its number.
    pub generation: u64,
    /// Which issuer it came from.
    pub issuer: &'a str,
    /// What it was ordered for.
    pub identifiers: &'a [String],
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// When it became ours.
    pub stored_at: Timestamp,
}

impl Current<'_> {
    /// From start to end of validity.
    #[must_use]
    pub fn lifetime(&self) -> SignedDuration {
        self.not_after.duration_since(self.not_before)
    }
}

/// An operator's request to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Even though a back-off is running or a limit is reached.
    pub force: bool,
}

/// All issuers by name.
pub type Issuers = BTreeMap<String, IssuerState>;

/// So many certificates refused by one CA within [`REFUSALS_WITHIN`] mean that it refuses everybody.
const REFUSALS: usize = 3;
const REFUSALS_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How long everybody stays away then, at most, and from a CA that names no time.
const LONGEST_GUESS: SignedDuration = SignedDuration::from_hours(1);
const SHORTEST_BLOCK: SignedDuration = SignedDuration::from_mins(1);
/// A CA that asks for more has made a mistake.
const LONGEST_BLOCK: SignedDuration = SignedDuration::from_hours(24);

/// What is known about an issuer, for all certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerState {
    /// What the CA allows.
    pub limits: Limits,
    /// What has been used of it.
    pub ledger: Ledger,
    /// The CA asked everybody to stay away.
    pub blocked: Option<Block>,
    /// The issuer to rehearse at.
    pub rehearsal: Option<String>,
    /// Whether it can tell when to renew.
    pub renewal_info: bool,
    /// Certificates it refused of late for reasons of its own, and when.
    refusals: Vec<(Timestamp, String)>,
}

impl IssuerState {
    /// An issuer with these limits, nothing used.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ledger: Ledger::default(),
            blocked: None,
            rehearsal: None,
            renewal_info: false,
            refusals: Vec::new(),
        }
    }

    /// The CA refused an order for reasons of its own (class `Ca`). A word to everybody holds up everybody;
    /// a word about one certificate holds up that one only, unless several get it.
    pub fn refused(&mut self, now: Timestamp, certificate: &str, error: &IssueError) {
        self.refusals.retain(|(at, name)| *at >= renewal::minus(now, REFUSALS_WITHIN) && name != certificate);
        self.refusals.push((now, certificate.to_owned()));
        let longest = match (error.issuer_wide, self.refusals.len() >= REFUSALS) {
            (true, _) => LONGEST_BLOCK,
            (false, true) => LONGEST_GUESS,
            (false, false) => return,
        };
        let asked = error.retry_after.and_then(|after| SignedDuration::try_from(after).ok());
        let wait = asked.unwrap_or(LONGEST_GUESS / 4).clamp(SHORTEST_BLOCK, longest);
        self.blocked = Some(Block { since: now, until: plus(now, wait), why: error.message.clone() });
    }
}

/// A CA's wish to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// When it said so.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// In its words.
    pub why: String,
}

impl Block {
    /// Until when a certificate that ends at `not_after` keeps away. A wait that outlasts it helps nobody: it
    /// asks at half of what is left, and from then on its own back-off holds.
    fn until_for(&self, not_after: Option<Timestamp>) -> Timestamp {
        match not_after {
            Some(end) if self.since < end && self.until >= end => {
                let half = end.duration_since(self.since) / 2;
                plus(self.since, half.max(LONGEST_GUESS / 4)).min(self.until)
            }
            _ => self.until,
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Order from this issuer now.
    Obtain {
        /// Its name.
        issuer: String,
    },
    /// Order at the staging CA, to see whether the names validate; nothing is stored.
    Rehearse {
        /// The staging CA.
        at: String,
        /// The issuer it is for.
        issuer: String,
    },
    /// Ask the issuer of the current generation when to renew it.
    AskRenewalInfo {
        /// Its name.
        issuer: String,
    },
    /// Nothing before [`Decision::wake`].
    Wait,
}

/// What to do, when, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// When to decide again: now for an action.
    pub wake: Timestamp,
    /// When the next order is placed, as things stand.
    pub at: Timestamp,
    /// From which issuer: position in [`Policy::issuers`].
    pub issuer: usize,
    /// Why it is due.
    pub reason: Reason,
    /// Why it is not placed when it is due.
    pub hold: Option<Hold>,
}

impl Decision {
    /// Rule and hold in one line.
    #[must_use]
    pub fn why(&self) -> String {
        match &self.hold {
            Some(hold) => format!("{}; {hold}", self.reason),
            None => self.reason.to_string(),
        }
    }
}

/// Decides. `seed` is fixed per certificate and spreads renewals and retries; the same arguments give the
/// same decision.
#[must_use]
pub fn decide(now: Timestamp, facts: &Facts<'_>, policy: &Policy, issuers: &Issuers, seed: u64) -> Decision {
    let due = renewal::due(now, facts, policy, seed);
    let pressed = choice::is_pressed(now, &due, facts);
    let choice = Situation { now, due: &due, facts, policy, issuers, seed, pressed }.choose();
    let (mut at, mut hold) = if choice.at > due.at { (choice.at, choice.hold) } else { (due.at, None) };
    if let (Some(windows), Some(patience)) = (&policy.windows, due.patience)
        // Inside a window, and past all patience, nothing moves.
        && let from = at.max(now)
        && from < patience
        && let opens = windows.open_at_or_after(from).unwrap_or(patience).min(patience)
        && opens > from
    {
        (at, hold) = (opens, Some(Hold::Window));
    }
    let ask = next_question(now, facts, issuers, seed);
    let issuer = choice.issuer;
    let decision = |action, wake| Decision { action, wake, at, issuer, reason: due.reason, hold };
    if now >= at {
        let name = policy.issuers[issuer].clone();
        let staging = issuers.get(&name).and_then(|state| state.rehearsal.clone());
        return match staging.filter(|_| choice.rehearse) {
            Some(at) => decision(Action::Rehearse { at, issuer: name }, now),
            None => decision(Action::Obtain { issuer: name }, now),
        };
    }
    match ask {
        Some((asked, issuer)) if now >= asked => {
            decision(Action::AskRenewalInfo { issuer: issuer.to_owned() }, now)
        }
        Some((asked, _)) => decision(Action::Wait, at.min(asked)),
        None => decision(Action::Wait, at),
    }
}

/// When the CA is asked next for its renewal information; never after the end of validity (RFC 9773
/// section 4.3.3).
fn next_question<'a>(
    now: Timestamp,
    facts: &Facts<'a>,
    issuers: &Issuers,
    seed: u64,
) -> Option<(Timestamp, &'a str)> {
    let current = facts.current.as_ref()?;
    if !issuers.get(current.issuer)?.renewal_info {
        return None;
    }
    let at = match &facts.memory.ari {
        Some(ari) if ari.generation == current.generation => ari.next,
        _ => plus(current.stored_at, FIRST_QUESTION.mul_f64(backoff::fraction(seed, !current.generation))),
    };
    // Later than any wish of a CA's can be: noted by a clock that ran ahead.
    let at = if at.duration_since(now) > FURTHEST_QUESTION { now } else { at };
    (at < current.not_after).then_some((at, current.issuer))
}

/// Later by a span, or at the end of time.
#[must_use]
pub fn plus(at: Timestamp, delay: SignedDuration) -> Timestamp {
    at.checked_add(delay).unwrap_or(Timestamp::MAX)
}

/// Whether two sets of identifiers are the same.
#[must_use]
pub fn same_set(left: &[String], right: &[String]) -> bool {
    left.len() == right.len() && left.iter().all(|identifier| right.contains(identifier))
}

#[cfg(test)]
mod tests;
