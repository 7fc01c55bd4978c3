//! What a node holds ready: the first half of a swap over several nodes.

use std::time::Instant;

use sealwire_proto::v1::NackReason;

use super::{Digest, Effect, Leaf, Limits, Prepare, Slot};
use crate::delivery::Outcome;

/// A generation on its way to be held.
#[derive(Clone, Debug)]
pub(super) struct Preparing {
    leaf: Leaf,
    /// The staple that was sent with it.
    staple: Option<Digest>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sent { since: Instant },
    Ready,
    Refused,
}

impl Preparing {
    /// Whether the node holds exactly this.
    pub(super) fn is_ready(&self, leaf: Leaf) -> bool {
        self.leaf == leaf && self.state == State::Ready
    }

    pub(super) fn staple(&self) -> Option<Digest> {
        self.staple
    }

    /// Which generation, and since when the node owes an answer.
    pub(super) fn sent(&self) -> Option<(u64, Instant)> {
        match self.state {
            State::Sent { since } => Some((self.leaf.generation, since)),
            _ => None,
        }
    }

    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        self.sent().map(|(_, since)| since + limits.ack)
    }
}

impl Slot {
    /// This should be held, or nothing.
    pub(super) fn hold(&mut self, wanted: Option<Prepare>, now: Instant) -> Vec<Effect> {
        if self.preparing.as_ref().map(|preparing| preparing.leaf) == wanted.map(|wanted| wanted.leaf) {
            return vec![];
        }
        let before = self.preparing.take();
        let Some(Prepare { leaf, staple }) = wanted else {
            // What the node refused it does not hold.
            let holds = before.filter(|before| before.state != State::Refused);
            return holds
                .map(|before| Effect::Discard { generation: before.leaf.generation })
                .into_iter()
                .collect();
        };
        // A newer one takes the place of the one before.
        if self.held == Some(leaf) {
            self.preparing = Some(Preparing { leaf, staple: None, state: State::Ready });
            let outcome = Outcome::Prepared { validate_micros: 0 };
            return vec![Effect::Report { generation: leaf.generation, outcome }];
        }
        self.prepare(leaf, staple, now)
    }

    fn prepare(&mut self, leaf: Leaf, staple: Option<Digest>, now: Instant) -> Vec<Effect> {
        self.preparing = Some(Preparing { leaf, staple, state: State::Sent { since: now } });
        let generation = leaf.generation;
        let (rollback, with_staple) = (self.goes_back_to(leaf), staple.is_some());
        vec![
            Effect::Prepare { generation, rollback, with_staple },
            Effect::Report { generation, outcome: Outcome::Pushed },
        ]
    }

    pub(super) fn prepared(&mut self, generation: u64, validate_micros: u64) -> Vec<Effect> {
        match &mut self.preparing {
            Some(Preparing { leaf, state: state @ State::Sent { .. }, .. })
                if leaf.generation == generation =>
            {
                *state = State::Ready;
                vec![Effect::Report { generation, outcome: Outcome::Prepared { validate_micros } }]
            }
            // Late: it is superseded, or was pushed since.
            _ => vec![],
        }
    }

    /// `None`: the refusal is not about what is prepared.
    pub(super) fn prepare_nacked(
        &mut self,
        generation: u64,
        reason: NackReason,
        detail: &str,
        now: Instant,
    ) -> Option<Vec<Effect>> {
        let sent = |preparing: &&mut Preparing| {
            preparing.leaf.generation == generation && matches!(preparing.state, State::Sent { .. })
        };
        let preparing = self.preparing.as_mut().filter(sent)?;
        if reason == NackReason::BadStaple && preparing.staple.is_some() {
            // The generation itself may be good: it goes without.
            let leaf = preparing.leaf;
            return Some(self.prepare(leaf, None, now));
        }
        preparing.state = State::Refused;
        let outcome = Outcome::Nacked { reason, detail: detail.to_owned() };
        Some(vec![Effect::Report { generation, outcome }])
    }
}
