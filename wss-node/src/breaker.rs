//! The circuit breaker as a pure state machine: what happened goes in with the time, what is to be done comes out.
//! `guard.rs` does it.
//!
//! ```text
//!          a cause that trips
//! Closed ─────────────────────▶ Open ◀───────────────┐ a cause again, or a proof that failed
//!    ▲                           │ no cause for       │
//!    │ `proofs` proofs in a row  │ `settle`           │
//!    └────────────────────────── HalfOpen ───────────┘
//! ```

mod cause;
pub(crate) mod findings;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub(crate) use cause::{Cause, Finding, Findings};

use crate::config::{BreakerConfig, Reaction};

/// Between a proof that failed and the next one.
const PROVE_AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// A proof whose result never comes counts as failed.
const PROOF_LOST: SignedDuration = SignedDuration::from_secs(60);

/// What happens to the breaker.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// What is served was looked at, which is done at each deadline.
    Observed(Findings),
    /// An operator opens it.
    Halt { by: String, reason: String },
    /// And lets it close.
    Resume,
    /// A proof has ended.
    Proof { attempt: u64, result: Result<(), String> },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The state has changed.
    Changed { from: State, to: State },
    /// What it warns of has changed.
    Warned,
    /// Look at what is served with one handshake for each name.
    Prove { attempt: u64 },
    /// Sessions have waited long enough.
    SendAway,
}

/// The three states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open,
    HalfOpen,
}

impl State {
    /// As reports name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    /// `clear`: since when nothing trips. `not_before`: a proof has failed just now.
    Open {
        opened: Opened,
        clear: Option<Timestamp>,
        not_before: Timestamp,
    },
    HalfOpen {
        opened: Opened,
        asked: Timestamp,
        good: u32,
    },
}

/// When it opened, and whether the sessions were sent away since.
#[derive(Clone, Copy, Debug)]
struct Opened {
    at: Timestamp,
    sent_away: bool,
}

/// The breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    since: Timestamp,
    found: Findings,
    halted: Option<Finding>,
    /// Why the last proof failed.
    unproven: Option<String>,
    /// Numbers proofs, so that a late result is not taken for that of a later one.
    attempt: u64,
}

impl Breaker {
    /// Closed: before the first certificate nothing is served at all.
    pub(crate) fn new(config: BreakerConfig, now: Timestamp) -> Self {
        Self {
            config,
            phase: Phase::Closed,
            since: now,
            found: Findings::new(),
            halted: None,
            unproven: None,
            attempt: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Since when it has been in this state.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether an operator holds it open.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// What holds it open, or what it warns of.
    pub(crate) fn causes(&self) -> impl Iterator<Item = (Cause, &Finding)> {
        let halted = self.halted.iter().map(|finding| (Cause::Halted, finding));
        self.found.iter().map(|(cause, finding)| (*cause, finding)).chain(halted)
    }

    /// In words: the causes, else what it waits for; empty if all is well.
    pub(crate) fn detail(&self) -> String {
        let causes: Vec<_> = self.causes().map(|(_, finding)| finding.detail.as_str()).collect();
        match (causes.is_empty(), self.phase) {
            (false, _) => causes.join("; "),
            (true, Phase::Closed) => String::new(),
            (true, _) => match &self.unproven {
                Some(error) => format!("not proven yet: {error}"),
                None => "waiting for a proof of what is served".to_owned(),
            },
        }
    }

    fn trips(&self) -> bool {
        self.causes()
            .any(|(cause, finding)| !finding.only_told && cause.reaction(&self.config) == Reaction::Trip)
    }

    /// When it wants to be asked again, whatever else happens.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { opened, clear, not_before } => {
                let away = (!opened.sent_away).then(|| later(opened.at, self.config.hold));
                let prove = clear.map(|clear| later(clear, self.config.settle).max(not_before));
                away.into_iter().chain(prove).min()
            }
            Phase::HalfOpen { asked, .. } => asked.checked_add(PROOF_LOST).ok(),
        }
    }

    /// Takes one event.
    pub(crate) fn step(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.not_in_the_future(now);
        match event {
            Event::Observed(found) => {
                let changed = self.found.keys().ne(found.keys());
                self.found = found;
                if changed {
                    effects.push(Effect::Warned);
                }
            }
            Event::Halt { by, reason } => {
                self.halted = Some(Finding { detail: format!("halted by {by}: {reason}"), only_told: false });
            }
            Event::Resume => self.halted = None,
            Event::Proof { attempt, result } if attempt == self.attempt => {
                self.proof(result, now, &mut effects);
            }
            Event::Proof { .. } => {}
        }
        self.settle(now, &mut effects);
        effects
    }

    /// The clock was set back: waits must not become longer by it.
    fn not_in_the_future(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Open { opened, clear, not_before } => {
                opened.at = opened.at.min(now);
                *clear = clear.map(|clear| clear.min(now));
                *not_before = (*not_before).min(now + PROVE_AGAIN);
            }
            Phase::HalfOpen { opened, asked, .. } => {
                opened.at = opened.at.min(now);
                *asked = (*asked).min(now);
            }
        }
    }

    fn proof(&mut self, result: Result<(), String>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Phase::HalfOpen { opened, good, .. } = self.phase else { return };
        match result {
            Err(error) => {
                self.unproven = Some(error);
                let phase = Phase::Open { opened, clear: Some(now), not_before: now + PROVE_AGAIN };
                self.enter(phase, now, effects);
            }
            Ok(()) if good + 1 >= self.config.proofs => {
                self.unproven = None;
                self.enter(Phase::Closed, now, effects);
            }
            Ok(()) => self.ask(opened, good + 1, now, effects),
        }
    }

    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let trips = self.trips();
        match self.phase {
            Phase::Closed => {
                if trips {
                    let opened = Opened { at: now, sent_away: false };
                    self.enter(Phase::Open { opened, clear: None, not_before: now }, now, effects);
                }
            }
            Phase::Open { mut opened, clear, not_before } => {
                let clear = if trips { None } else { Some(clear.unwrap_or(now)) };
                if clear.is_some_and(|clear| now >= later(clear, self.config.settle).max(not_before)) {
                    self.ask(opened, 0, now, effects);
                    return;
                }
                if !opened.sent_away && now >= later(opened.at, self.config.hold) {
                    opened.sent_away = true;
                    effects.push(Effect::SendAway);
                }
                self.phase = Phase::Open { opened, clear, not_before };
            }
            Phase::HalfOpen { opened, asked, .. } => {
                if trips {
                    self.enter(Phase::Open { opened, clear: None, not_before: now }, now, effects);
                } else if asked.checked_add(PROOF_LOST).is_ok_and(|end| now >= end) {
                    self.proof(Err("no result within a minute".to_owned()), now, effects);
                }
            }
        }
    }

    /// Asks for a proof.
    fn ask(&mut self, opened: Opened, good: u32, now: Timestamp, effects: &mut Vec<Effect>) {
        self.attempt += 1;
        self.enter(Phase::HalfOpen { opened, asked: now, good }, now, effects);
        effects.push(Effect::Prove { attempt: self.attempt });
    }

    fn enter(&mut self, phase: Phase, now: Timestamp, effects: &mut Vec<Effect>) {
        let from = self.state();
        self.phase = phase;
        let to = self.state();
        if from != to {
            self.since = now;
            effects.push(Effect::Changed { from, to });
        }
    }
}

/// An instant that lies beyond what can be told is as good as never.
fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "breaker/tests.rs"]
mod tests;
