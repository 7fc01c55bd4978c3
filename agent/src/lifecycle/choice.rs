//! From which issuer, and when, once a certificate is due.

use jiff::{SignedDuration, Timestamp};

use super::backoff::retry_delay;
use super::limits::OrderKind;
use super::memory::Trouble;
use super::reason::{Change, Hold, Reason};
use super::renewal::Due;
use super::{Facts, IssuerState, Issuers, Policy, plus};
use crate::issuer::ErrorClass;

/// With margin left, failures in a row before the next issuer gets its turn, and before a rehearsal.
pub const ATTEMPTS_PER_ISSUER: u32 = 3;

/// With margin left, how much of it may be spent on waiting for a preferred issuer.
const PATIENCE_SHARE: f64 = 0.25;

/// Pressed means that less than this part of the margin is left: then the next issuer is asked after every
/// failure, and nothing is rehearsed.
const PRESSED_SHARE: f64 = 0.5;

/// An issuer and the instant it can be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Position in [`Policy::issuers`].
    pub issuer: usize,
    /// The earliest instant; in the past when nothing holds it up.
    pub at: Timestamp,
    /// What holds it up.
    pub hold: Option<Hold>,
    /// At the staging CA of the issuer first.
    pub rehearse: bool,
}

/// What is common to all issuers.
pub(super) struct Situation<'a, 'b> {
    pub(super) now: Timestamp,
    pub(super) due: &'a Due,
    pub(super) facts: &'a Facts<'b>,
    pub(super) policy: &'a Policy,
    pub(super) issuers: &'a Issuers,
    pub(super) seed: u64,
    pub(super) pressed: bool,
}

/// Whether little is left, or nothing at all that could be served.
pub(super) fn is_pressed(now: Timestamp, due: &Due, facts: &Facts<'_>) -> bool {
    let Some(current) = &facts.current else { return true };
    let margin = current.not_after.duration_since(due.at.min(now));
    let left = current.not_after.duration_since(now);
    facts.damaged || due.reason == Reason::Revoked || left < margin.mul_f64(PRESSED_SHARE)
}

impl Situation<'_, '_> {
    /// The issuer to ask, and when.
    pub(super) fn choose(&self) -> Choice {
        // A pending order is at one issuer; the others are asked only once that one has failed.
        if let Some(issuer) = self.facts.order_pending
            && let Some(index) = self.policy.issuers.iter().position(|name| name == issuer)
            && self.trouble(index).is_none()
        {
            return self.ready(index);
        }
        let choices = self.all();
        let preferred = if self.pressed { None } else { self.preferred(&choices) };
        // min_by_key keeps the first of equals, and so the configured order.
        let first = || choices.iter().min_by_key(|choice| choice.at.max(self.now));
        preferred.or_else(first).cloned().unwrap_or_else(|| self.ready(0))
    }

    /// Every issuer with what holds it up.
    pub(super) fn all(&self) -> Vec<Choice> {
        (0..self.policy.issuers.len()).map(|index| self.ready(index)).collect()
    }

    fn trouble(&self, index: usize) -> Option<&Trouble> {
        self.facts.memory.troubles.get(&self.policy.issuers[index])
    }

    fn state(&self, index: usize) -> Option<&IssuerState> {
        self.issuers.get(&self.policy.issuers[index])
    }

    /// With margin left: the first issuer that has not failed too often and need not be waited for too
    /// long.
    fn preferred<'c>(&self, choices: &'c [Choice]) -> Option<&'c Choice> {
        let from = self.due.at.max(self.now);
        let left = self
            .facts
            .current
            .as_ref()
            .map_or(SignedDuration::ZERO, |current| current.not_after.duration_since(from));
        let patience = plus(from, left.mul_f64(PATIENCE_SHARE));
        choices.iter().find(|choice| {
            let failures = self.trouble(choice.issuer).map_or(0, |trouble| trouble.failures);
            failures < ATTEMPTS_PER_ISSUER && choice.at <= patience
        })
    }

    /// When one issuer can be asked.
    fn ready(&self, issuer: usize) -> Choice {
        let mut choice = Choice { issuer, at: Timestamp::MIN, hold: None, rehearse: self.rehearse(issuer) };
        let mut no_sooner = |at: Timestamp, hold: Hold| {
            if at > choice.at {
                (choice.at, choice.hold) = (at, Some(hold));
            }
        };
        if self.facts.request.is_some_and(|request| request.force) {
            return choice;
        }
        if let Some((at, hold)) = self.back_off(issuer) {
            no_sooner(at, hold);
        }
        let Some(state) = self.state(issuer) else { return choice };
        if let Some(block) = state.blocked.as_ref().filter(|block| block.since <= self.now) {
            let not_after = self.facts.current.as_ref().map(|current| current.not_after);
            no_sooner(block.until_for(not_after), Hold::Blocked { why: block.why.clone() });
        }
        // An order that was placed has been charged.
        let resumed = self.facts.order_pending == Some(self.policy.issuers[issuer].as_str());
        if !resumed {
            let kind = self.facts.order_kind(&self.policy.issuers[issuer]);
            let (at, held) =
                state.ledger.earliest(self.now, &state.limits, kind, &self.policy.charges, self.pressed);
            if let Some(held) = held {
                no_sooner(at, Hold::Limit(held));
            }
        }
        choice
    }

    fn back_off(&self, issuer: usize) -> Option<(Timestamp, Hold)> {
        let memory = self.facts.memory;
        let trouble = match self.trouble(issuer) {
            Some(trouble) => trouble,
            // A refusal by a node is nobody's: it holds up every issuer.
            None => match &memory.last_failure {
                Some(last) if last.class == ErrorClass::Refused => &Trouble {
                    failures: memory.failures,
                    at: last.at,
                    class: last.class,
                    retry_after: last.retry_after,
                },
                _ => return None,
            },
        };
        // Noted by a clock that ran ahead and was put right since: it would hold everything up for as long.
        if trouble.at > self.now {
            return None;
        }
        // News that makes the last failure old: a revocation is worth one attempt at once, and so is a
        // rehearsal that went well.
        let current = self.facts.current.as_ref().filter(|_| self.due.reason == Reason::Revoked);
        let revoked = current.and_then(|current| memory.revocation(current.generation));
        let passed = memory
            .rehearsal
            .as_ref()
            .filter(|rehearsal| rehearsal.passed && rehearsal.issuer == self.policy.issuers[issuer]);
        if revoked.is_some_and(|revoked| revoked.at > trouble.at) || passed.is_some() {
            return None;
        }
        let remaining =
            self.facts.current.as_ref().map(|current| current.not_after.duration_since(trouble.at));
        let remaining = if self.facts.damaged { None } else { remaining };
        let delay = retry_delay(trouble, remaining, self.seed);
        let hold = Hold::BackOff {
            failures: trouble.failures,
            class: trouble.class,
            retry_after: trouble
                .retry_after
                .and_then(|after| SignedDuration::try_from(after).ok())
                .is_some_and(|after| {
                    after.is_positive() && delay >= after.min(SignedDuration::from_hours(24))
                }),
        };
        Some((plus(trouble.at, delay), hold))
    }

    /// After repeated refusals of the names, with time left: the staging CA is asked first, whose limits
    /// are wide, and the real one only once that has gone well. A failed rehearsal is a failure like any
    /// other, so this cannot loop.
    fn rehearse(&self, issuer: usize) -> bool {
        let name = &self.policy.issuers[issuer];
        let Some(trouble) = self.trouble(issuer) else { return false };
        if self.pressed
            || trouble.failures < ATTEMPTS_PER_ISSUER
            || trouble.class != ErrorClass::Identifier
            || self.state(issuer).is_none_or(|state| state.rehearsal.is_none())
        {
            return false;
        }
        let last = self.facts.memory.rehearsal.as_ref().filter(|rehearsal| rehearsal.issuer == *name);
        last.is_none_or(|last| !last.passed)
    }
}

impl Facts<'_> {
    /// What an order of this certificate at `issuer` is expected to count as: a replacement only once the CA
    /// has shown that it knows renewal information.
    #[must_use]
    pub fn order_kind(&self, issuer: &str) -> OrderKind {
        let Some(current) = self.current.as_ref().filter(|current| current.issuer == issuer) else {
            return OrderKind::New;
        };
        let ari = self.memory.ari.as_ref().filter(|ari| ari.generation == current.generation);
        match self.changed {
            Some(Change::Identifiers) => OrderKind::New,
            _ if ari.is_some_and(|ari| ari.info.is_some()) => OrderKind::Replaces,
            _ => OrderKind::Renewal,
        }
    }
}
