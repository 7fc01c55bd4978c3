//! One certificate on one node: a pure state machine that compares what is wanted with what the node holds,
//! and says what to do next. Instants come in as arguments. What should be served, what should be held
//! ready, and the staple each have their own state: one of them that fails holds up no other.

mod input;
mod prepare;
mod staple;

use std::time::{Duration, Instant};

use sealwire_proto::v1::NackReason;

use super::Outcome;
use crate::config::ProofBy;
pub use input::{Digest, Effect, Held, Input, Leaf, Limits, Prepare, Saw, Wanted};
use prepare::Preparing;
use staple::Stapling;

/// Between two handshakes of the agent while the proof is awaited.
const PROBE_AGAIN: Duration = Duration::from_millis(250);
/// Between two handshakes once the proof has failed: the listener may yet come back.
const PROBE_LATER: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is wanted yet.
    Idle,
    /// Sent.
    Pushed { since: Instant, staple: Option<Digest> },
    /// Swapped in, not seen yet.
    Acked { since: Instant, probe: Probe, error: Option<String> },
    /// Seen.
    Proven,
    /// Refused.
    Refused,
    /// Not seen in time; still looked for.
    Unproven { probe: Probe },
}

/// Where the agent's own handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// The node's own handshake comes first.
    NotYet,
    Running,
    At(Instant),
}

/// One certificate on one node.
#[derive(Clone, Debug)]
pub struct Slot {
    limits: Limits,
    held: Option<Leaf>,
    desired: Option<Leaf>,
    phase: Phase,
    preparing: Option<Preparing>,
    stapling: Stapling,
}

impl Slot {
    /// A slot of a node that has just said what it holds.
    #[must_use]
    pub fn new(limits: Limits, held: Option<Held>) -> Self {
        Self {
            limits,
            held: held.map(|held| held.leaf),
            desired: None,
            phase: Phase::Idle,
            preparing: None,
            stapling: Stapling::new(held.and_then(|held| held.staple)),
        }
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Pushed { since, .. } => Some(*since + self.limits.ack),
            Phase::Acked { since, probe, .. } => {
                let end = *since + self.limits.proof;
                Some(if let Probe::At(at) = probe { end.min(*at) } else { end })
            }
            Phase::Unproven { probe: Probe::At(at) } => Some(*at),
            _ => None,
        };
        let preparing = self.preparing.as_ref().and_then(|preparing| preparing.deadline(&self.limits));
        [phase, preparing, self.stapling.deadline(&self.limits, self.phase == Phase::Proven)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes in what happened at `now` and says what to do.
    pub fn on(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Want(wanted) => self.want(wanted, now),
            Input::Prepared { generation, validate_micros } => self.prepared(generation, validate_micros),
            Input::Acked { generation, validate_micros, swap_micros } => {
                self.acked(generation, validate_micros, swap_micros, now)
            }
            Input::Nacked { generation, reason, detail } => self.nacked(generation, reason, detail, now),
            Input::Stapled { generation, staple } => self.stapled(generation, staple, now),
            Input::StapleNacked { generation, detail } => self.staple_nacked(generation, detail),
            Input::NodeSaw { generation, seen } => self.node_saw(generation, &seen),
            Input::AgentSaw { generation, seen } => self.agent_saw(generation, &seen, now),
            Input::Tick => self.tick(now),
        }
    }

    fn is_about(&self, generation: u64) -> bool {
        self.desired.is_some_and(|desired| desired.generation == generation)
    }

    fn want(&mut self, wanted: Wanted, now: Instant) -> Vec<Effect> {
        let mut effects = self.serve(wanted.serve, wanted.staple, now);
        effects.extend(self.hold(wanted.prepare, now));
        effects.extend(self.want_staple(wanted.staple, now));
        effects
    }

    fn serve(&mut self, leaf: Leaf, staple: Option<Digest>, now: Instant) -> Vec<Effect> {
        if self.desired == Some(leaf) {
            return vec![];
        }
        self.desired = Some(leaf);
        let generation = leaf.generation;
        if self.held == Some(leaf) {
            // The node has it already (one of us restarted, or it refused what came after): only look.
            return self.look_for(generation, now);
        }
        if let Some(ready) = self.preparing.take_if(|preparing| preparing.is_ready(leaf)) {
            self.phase = Phase::Pushed { since: now, staple: ready.staple() };
            return vec![Effect::Commit { generation }];
        }
        self.push(leaf, staple, now)
    }

    fn push(&mut self, leaf: Leaf, staple: Option<Digest>, now: Instant) -> Vec<Effect> {
        self.phase = Phase::Pushed { since: now, staple };
        let generation = leaf.generation;
        let (rollback, with_staple) = (self.goes_back_to(leaf), staple.is_some());
        vec![
            Effect::Push { generation, rollback, with_staple },
            Effect::Report { generation, outcome: Outcome::Pushed },
        ]
    }

    /// The node holds the same number or a later one: it refuses this one unless it is told to go back.
    fn goes_back_to(&self, leaf: Leaf) -> bool {
        self.held.is_some_and(|held| held.generation >= leaf.generation)
    }

    fn acked(
        &mut self,
        generation: u64,
        validate_micros: u64,
        swap_micros: u64,
        now: Instant,
    ) -> Vec<Effect> {
        let Phase::Pushed { staple, .. } = self.phase else { return vec![] };
        if !self.is_about(generation) {
            // An ack of something superseded: the newer push is on its way and settles it.
            return vec![];
        }
        self.held = self.desired;
        self.phase = Phase::Acked { since: now, probe: Probe::NotYet, error: None };
        let outcome = Outcome::Acked { validate_micros, swap_micros };
        let mut effects = vec![Effect::Report { generation, outcome }];
        // With another leaf goes another staple, and one that came meanwhile was not in the bundle.
        self.stapling.swapped(staple);
        effects.extend(self.want_staple(self.stapling.wanted(), now));
        if !self.limits.node_looks {
            effects.extend(self.look_for(generation, now));
        }
        effects
    }

    /// The node has it, by its word: what counts comes next.
    fn look_for(&mut self, generation: u64, now: Instant) -> Vec<Effect> {
        match self.limits.proof_by {
            ProofBy::Agent => {
                self.phase = Phase::Acked { since: now, probe: Probe::Running, error: None };
                vec![Effect::Probe { generation }]
            }
            ProofBy::Node => self.proven(generation, "held by the node, by its word".to_owned()),
        }
    }

    fn nacked(&mut self, generation: u64, reason: NackReason, detail: String, now: Instant) -> Vec<Effect> {
        if let Some(effects) = self.prepare_nacked(generation, reason, &detail, now) {
            return effects;
        }
        let Phase::Pushed { staple, .. } = self.phase else { return vec![] };
        let Some(desired) = self.desired.filter(|desired| desired.generation == generation) else {
            return vec![];
        };
        match reason {
            // The stream that it was prepared on is another one's.
            NackReason::NotPrepared => self.push(desired, self.stapling.wanted(), now),
            // The generation itself may be good: it goes without.
            NackReason::BadStaple if staple.is_some() => {
                let mut effects = self.stapling.refused(generation, detail);
                effects.extend(self.push(desired, None, now));
                effects
            }
            _ => {
                self.phase = Phase::Refused;
                vec![Effect::Report { generation, outcome: Outcome::Nacked { reason, detail } }]
            }
        }
    }

    /// The generation that the node did not answer about in time: it is stuck, whatever it was asked.
    fn unanswered(&self, desired: u64, now: Instant) -> Option<u64> {
        let late = |since: Instant| now >= since + self.limits.ack;
        match (&self.phase, self.preparing.as_ref().and_then(Preparing::sent)) {
            (Phase::Pushed { since, .. }, _) if late(*since) => Some(desired),
            (_, Some((generation, since))) if late(since) => Some(generation),
            _ => self.stapling.sent().filter(|since| late(*since)).map(|_| desired),
        }
    }

    fn node_saw(&mut self, generation: u64, seen: &Result<Saw, String>) -> Vec<Effect> {
        let Some(desired) = self.desired.filter(|desired| desired.generation == generation) else {
            return vec![];
        };
        let fault = match seen {
            Ok(saw) if saw.leaf == desired.sha256 => None,
            Ok(saw) => Some(format!("the node's handshake saw another leaf ({})", short(&saw.leaf))),
            Err(error) => Some(format!("the node's handshake: {error}")),
        };
        match (&mut self.phase, fault) {
            (Phase::Acked { error, .. }, Some(fault)) => {
                *error = Some(fault);
                vec![]
            }
            (Phase::Acked { probe, .. } | Phase::Unproven { probe }, None) => match self.limits.proof_by {
                ProofBy::Node => {
                    let mut effects = self.proven(generation, "seen by the node's handshake".to_owned());
                    effects.extend(self.saw_staple(generation, seen));
                    effects
                }
                ProofBy::Agent if *probe == Probe::Running => vec![],
                ProofBy::Agent => {
                    *probe = Probe::Running;
                    vec![Effect::Probe { generation }]
                }
            },
            (Phase::Proven, _) if self.limits.proof_by == ProofBy::Node => self.saw_staple(generation, seen),
            _ => vec![],
        }
    }

    fn agent_saw(&mut self, generation: u64, seen: &Result<Saw, String>, now: Instant) -> Vec<Effect> {
        let Some(desired) = self.desired.filter(|desired| desired.generation == generation) else {
            return vec![];
        };
        if self.phase == Phase::Proven {
            return self.probed_staple(generation, seen, now);
        }
        let fault = match seen {
            Ok(saw) if saw.leaf != desired.sha256 => {
                format!("a handshake saw another leaf ({})", short(&saw.leaf))
            }
            Ok(saw) => match self.stapling.missing_in(saw.staple) {
                None => {
                    if !matches!(self.phase, Phase::Acked { .. } | Phase::Unproven { .. }) {
                        return vec![];
                    }
                    let took = saw.took.as_secs_f64() * 1000.0;
                    let mut effects = self.proven(generation, format!("seen by a handshake of {took:.1} ms"));
                    effects.extend(self.saw_staple(generation, seen));
                    return effects;
                }
                Some(fault) => fault,
            },
            Err(error) => error.clone(),
        };
        match &mut self.phase {
            Phase::Acked { probe, error, .. } => {
                *error = Some(fault);
                *probe = Probe::At(now + PROBE_AGAIN);
            }
            Phase::Unproven { probe } => *probe = Probe::At(now + PROBE_LATER),
            _ => {}
        }
        vec![]
    }

    fn proven(&mut self, generation: u64, detail: String) -> Vec<Effect> {
        self.phase = Phase::Proven;
        vec![Effect::Report { generation, outcome: Outcome::Proven { detail } }]
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let Some(generation) = self.desired.map(|desired| desired.generation) else { return vec![] };
        if let Some(generation) = self.unanswered(generation, now) {
            // It dials anew and says what it holds; until then nothing is waited for.
            *self = Self::new(self.limits, None);
            return vec![Effect::Report { generation, outcome: Outcome::Unanswered }, Effect::Disconnect];
        }
        match &mut self.phase {
            Phase::Acked { since, error, .. } if now >= *since + self.limits.proof => {
                let error = error.take().unwrap_or_else(|| "the node told of no handshake".to_owned());
                self.phase = Phase::Unproven { probe: Probe::At(now + PROBE_LATER) };
                vec![Effect::Report { generation, outcome: Outcome::Unproven { error } }]
            }
            Phase::Acked { probe, .. } | Phase::Unproven { probe } => match *probe {
                Probe::At(at) if now >= at => {
                    *probe = Probe::Running;
                    vec![Effect::Probe { generation }]
                }
                _ => vec![],
            },
            Phase::Proven => self.tick_stapling(generation, now),
            _ => vec![],
        }
    }
}

/// Enough of a digest for people to compare.
fn short(sha256: &Digest) -> String {
    sealwire_proto::hex(&sha256[..8])
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
