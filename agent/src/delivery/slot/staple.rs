//! The staple of what is served: sent when it is new, and seen by a handshake like the leaf. It never decides
//! about the generation: a node that will not have a staple serves on without.

use std::time::Instant;

use super::{Digest, Effect, Limits, PROBE_AGAIN, Phase, Saw, Slot, short};
use crate::config::ProofBy;
use crate::delivery::Outcome;

/// The staple on one node.
#[derive(Clone, Debug)]
pub(super) struct Stapling {
    wanted: Option<Digest>,
    /// What the node has said it presents.
    held: Option<Digest>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Sent { since: Instant },
    Acked { since: Instant, probe: Option<Instant> },
    Seen,
    Refused,
}

impl Stapling {
    pub(super) fn new(held: Option<Digest>) -> Self {
        Self { wanted: None, held, state: State::Idle }
    }

    pub(super) fn wanted(&self) -> Option<Digest> {
        self.wanted
    }

    /// Since when the node owes an answer.
    pub(super) fn sent(&self) -> Option<Instant> {
        match self.state {
            State::Sent { since } => Some(since),
            _ => None,
        }
    }

    pub(super) fn deadline(&self, limits: &Limits, proven: bool) -> Option<Instant> {
        match self.state {
            State::Sent { since } => Some(since + limits.ack),
            // Before that the handshakes for the leaf look for it.
            State::Acked { since, probe } if proven => {
                let end = since + limits.proof;
                Some(probe.map_or(end, |probe| end.min(probe)))
            }
            _ => None,
        }
    }

    /// Another generation was swapped in, with this staple.
    pub(super) fn swapped(&mut self, staple: Option<Digest>) {
        self.held = staple;
        self.state = State::Idle;
    }

    /// What is wrong with what a handshake saw: it must show exactly what the node has acknowledged.
    pub(super) fn missing_in(&self, seen: Option<Digest>) -> Option<String> {
        match (self.held, seen) {
            (Some(held), Some(seen)) if held == seen => None,
            (Some(held), Some(seen)) => {
                Some(format!("a handshake saw staple {}, expected {}", short(&seen), short(&held)))
            }
            (Some(held), None) => Some(format!("a handshake saw no staple, expected {}", short(&held))),
            (None, _) => None,
        }
    }

    pub(super) fn refused(&mut self, generation: u64, detail: String) -> Vec<Effect> {
        self.state = State::Refused;
        vec![Effect::Report { generation, outcome: Outcome::StapleRefused { detail } }]
    }
}

impl Slot {
    /// This staple should be presented; it goes out as soon as the node serves what it is for.
    pub(super) fn want_staple(&mut self, wanted: Option<Digest>, now: Instant) -> Vec<Effect> {
        let news = self.stapling.wanted != wanted;
        self.stapling.wanted = wanted;
        let Some(wanted) = wanted else {
            if news {
                // Its time is over: the node has dropped it by itself.
                self.stapling.held = None;
                self.stapling.state = State::Idle;
            }
            return vec![];
        };
        let serves = matches!(self.phase, Phase::Acked { .. } | Phase::Proven | Phase::Unproven { .. });
        let settled = !news && self.stapling.state != State::Idle;
        if !serves || settled || self.stapling.held == Some(wanted) {
            return vec![];
        }
        let Some(desired) = self.desired else { return vec![] };
        self.stapling.state = State::Sent { since: now };
        vec![Effect::Staple { generation: desired.generation }]
    }

    pub(super) fn stapled(&mut self, generation: u64, staple: Digest, now: Instant) -> Vec<Effect> {
        let sent = matches!(self.stapling.state, State::Sent { .. });
        if !sent || !self.is_about(generation) || self.stapling.wanted != Some(staple) {
            return vec![];
        }
        self.stapling.held = Some(staple);
        self.stapling.state = State::Acked { since: now, probe: None };
        // While the leaf is not proven its own handshakes show the staple too.
        match (&self.phase, self.limits.proof_by) {
            (Phase::Proven, ProofBy::Agent) => vec![Effect::Probe { generation }],
            _ => vec![],
        }
    }

    pub(super) fn staple_nacked(&mut self, generation: u64, detail: String) -> Vec<Effect> {
        if !self.is_about(generation) || !matches!(self.stapling.state, State::Sent { .. }) {
            return vec![];
        }
        self.stapling.refused(generation, detail)
    }

    /// A handshake that saw the leaf: did it see the staple, too?
    pub(super) fn saw_staple(&mut self, generation: u64, seen: &Result<Saw, String>) -> Vec<Effect> {
        let Ok(saw) = seen else { return vec![] };
        let held = self.stapling.held;
        if held.is_none() || held != saw.staple || held != self.stapling.wanted {
            return vec![];
        }
        if std::mem::replace(&mut self.stapling.state, State::Seen) == State::Seen {
            return vec![];
        }
        vec![Effect::Report { generation, outcome: Outcome::Stapled }]
    }

    /// A handshake after the proof, for the sake of a new staple.
    pub(super) fn probed_staple(
        &mut self,
        generation: u64,
        seen: &Result<Saw, String>,
        now: Instant,
    ) -> Vec<Effect> {
        let State::Acked { since, .. } = self.stapling.state else { return vec![] };
        let fault = match seen {
            Ok(saw) => self.stapling.missing_in(saw.staple),
            Err(error) => Some(error.clone()),
        };
        match fault {
            None => self.saw_staple(generation, seen),
            Some(fault) if now >= since + self.limits.proof => self.stapling.refused(generation, fault),
            Some(_) => {
                self.stapling.state = State::Acked { since, probe: Some(now + PROBE_AGAIN) };
                vec![]
            }
        }
    }

    pub(super) fn tick_stapling(&mut self, generation: u64, now: Instant) -> Vec<Effect> {
        match self.stapling.state {
            State::Acked { since, .. } if now >= since + self.limits.proof => {
                self.stapling.refused(generation, "acknowledged, but no handshake saw it".to_owned())
            }
            State::Acked { since, probe: Some(probe) } if now >= probe => {
                self.stapling.state = State::Acked { since, probe: None };
                vec![Effect::Probe { generation }]
            }
            _ => vec![],
        }
    }
}
