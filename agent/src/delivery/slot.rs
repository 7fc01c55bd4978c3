//! One certificate on one node: a pure state machine that compares what is desired with what the node
//! holds, and says what to do next. Instants come in as arguments.

use std::time::{Duration, Instant};

use super::Outcome;
use crate::config::ProofBy;

/// Between two handshakes of the agent while the proof is awaited.
const PROBE_AGAIN: Duration = Duration::from_millis(250);
/// Between two handshakes once the proof has failed: the listener may yet come back.
const PROBE_LATER: Duration = Duration::from_secs(30);

/// A generation and the SHA-256 of its leaf: the number alone could be another store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Number.
    pub generation: u64,
    /// SHA-256 of the leaf's DER.
    pub sha256: [u8; 32],
}

/// The limits of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From push to ack.
    pub ack: Duration,
    /// From ack to proof.
    pub proof: Duration,
    /// Whose handshake counts.
    pub proof_by: ProofBy,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// This should be served.
    Desire(Leaf),
    /// The node swapped it in.
    Acked {
        /// Which.
        generation: u64,
        /// What the checks took.
        validate_micros: u64,
        /// What the swap took.
        swap_micros: u64,
    },
    /// The node refused it.
    Nacked {
        /// Which.
        generation: u64,
        /// Why.
        reason: sealwire_proto::v1::NackReason,
        /// In its words.
        detail: String,
    },
    /// The node's handshake on its own listener.
    NodeSaw {
        /// Which generation it looked for.
        generation: u64,
        /// The leaf it saw, or what went wrong.
        seen: Result<[u8; 32], String>,
    },
    /// The agent's handshake.
    AgentSaw {
        /// Which generation it looked for.
        generation: u64,
        /// The leaf it saw and how long it took, or what went wrong.
        seen: Result<([u8; 32], Duration), String>,
    },
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the desired generation; as a rollback if the node holds a later one.
    Push {
        /// Which.
        generation: u64,
        /// Whether its number is lower than what the node holds.
        rollback: bool,
    },
    /// Do a handshake.
    Probe {
        /// Looking for which.
        generation: u64,
    },
    /// Tell the agent.
    Report {
        /// About which.
        generation: u64,
        /// What.
        outcome: Outcome,
    },
    /// Close the connection: the node is stuck.
    Disconnect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is desired yet.
    Idle,
    /// Sent.
    Pushed { since: Instant },
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
}

impl Slot {
    /// A slot of a node that has just said what it holds.
    #[must_use]
    pub fn new(limits: Limits, held: Option<Leaf>) -> Self {
        Self { limits, held, desired: None, phase: Phase::Idle }
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Pushed { since } => Some(*since + self.limits.ack),
            Phase::Acked { since, probe, .. } => {
                let end = *since + self.limits.proof;
                Some(if let Probe::At(at) = probe { end.min(*at) } else { end })
            }
            Phase::Unproven { probe: Probe::At(at) } => Some(*at),
            _ => None,
        }
    }

    /// Takes in what happened at `now` and says what to do.
    pub fn on(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Desire(leaf) => self.desire(leaf, now),
            Input::Acked { generation, validate_micros, swap_micros } => {
                self.acked(generation, validate_micros, swap_micros, now)
            }
            Input::Nacked { generation, reason, detail } => {
                if !self.is_about(generation) || !matches!(self.phase, Phase::Pushed { .. }) {
                    return vec![];
                }
                self.phase = Phase::Refused;
                vec![Effect::Report { generation, outcome: Outcome::Nacked { reason, detail } }]
            }
            Input::NodeSaw { generation, seen } => self.node_saw(generation, seen),
            Input::AgentSaw { generation, seen } => self.agent_saw(generation, seen, now),
            Input::Tick => self.tick(now),
        }
    }

    fn is_about(&self, generation: u64) -> bool {
        self.desired.is_some_and(|desired| desired.generation == generation)
    }

    fn desire(&mut self, leaf: Leaf, now: Instant) -> Vec<Effect> {
        if self.desired == Some(leaf) {
            return vec![];
        }
        self.desired = Some(leaf);
        if self.held == Some(leaf) {
            // The node has it already (one of us restarted, or it refused what came after): only look.
            return match self.limits.proof_by {
                ProofBy::Agent => {
                    self.phase = Phase::Acked { since: now, probe: Probe::Running, error: None };
                    vec![Effect::Probe { generation: leaf.generation }]
                }
                ProofBy::Node => self.proven(leaf.generation, "held by the node, by its word".to_owned()),
            };
        }
        self.phase = Phase::Pushed { since: now };
        let rollback = self.held.is_some_and(|held| held.generation >= leaf.generation);
        let generation = leaf.generation;
        vec![Effect::Push { generation, rollback }, Effect::Report { generation, outcome: Outcome::Pushed }]
    }

    fn acked(
        &mut self,
        generation: u64,
        validate_micros: u64,
        swap_micros: u64,
        now: Instant,
    ) -> Vec<Effect> {
        if !self.is_about(generation) || !matches!(self.phase, Phase::Pushed { .. }) {
            // An ack of something superseded: the newer push is on its way and settles it.
            return vec![];
        }
        self.held = self.desired;
        self.phase = Phase::Acked { since: now, probe: Probe::NotYet, error: None };
        let outcome = Outcome::Acked { validate_micros, swap_micros };
        vec![Effect::Report { generation, outcome }]
    }

    fn node_saw(&mut self, generation: u64, seen: Result<[u8; 32], String>) -> Vec<Effect> {
        let Some(desired) = self.desired.filter(|desired| desired.generation == generation) else {
            return vec![];
        };
        let fault = match seen {
            Ok(sha256) if sha256 == desired.sha256 => None,
            Ok(sha256) => Some(format!("the node's handshake saw another leaf ({})", short(&sha256))),
            Err(error) => Some(format!("the node's handshake: {error}")),
        };
        match (&mut self.phase, fault) {
            (Phase::Acked { error, .. }, Some(fault)) => {
                *error = Some(fault);
                vec![]
            }
            (Phase::Acked { probe, .. } | Phase::Unproven { probe }, None) => match self.limits.proof_by {
                ProofBy::Node => self.proven(generation, "seen by the node's handshake".to_owned()),
                ProofBy::Agent if *probe == Probe::Running => vec![],
                ProofBy::Agent => {
                    *probe = Probe::Running;
                    vec![Effect::Probe { generation }]
                }
            },
            _ => vec![],
        }
    }

    fn agent_saw(
        &mut self,
        generation: u64,
        seen: Result<([u8; 32], Duration), String>,
        now: Instant,
    ) -> Vec<Effect> {
        let Some(desired) = self.desired.filter(|desired| desired.generation == generation) else {
            return vec![];
        };
        let fault = match seen {
            Ok((sha256, took)) if sha256 == desired.sha256 => {
                return match self.phase {
                    Phase::Acked { .. } | Phase::Unproven { .. } => {
                        let took = took.as_secs_f64() * 1000.0;
                        self.proven(generation, format!("seen by a handshake of {took:.1} ms"))
                    }
                    _ => vec![],
                };
            }
            Ok((sha256, _)) => format!("a handshake saw another leaf ({})", short(&sha256)),
            Err(error) => error,
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
        match &mut self.phase {
            Phase::Pushed { since } if now >= *since + self.limits.ack => {
                self.phase = Phase::Idle;
                self.desired = None;
                vec![Effect::Report { generation, outcome: Outcome::Unanswered }, Effect::Disconnect]
            }
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
            _ => vec![],
        }
    }
}

/// Enough of a digest for people to compare.
fn short(sha256: &[u8; 32]) -> String {
    sealwire_proto::hex(&sha256[..8])
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
