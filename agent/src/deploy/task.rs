//! One target: what is wanted is brought there, looked for by a handshake, and brought again while it is not seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealwire_proto::v1::NackReason;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Surroundings, Target, retry};
use crate::config::ProofBy;
use crate::delivery::slot::{Effect, Held, Input, Leaf, Limits, Saw, Slot, Wanted};
use crate::delivery::tell::{Stopping, Teller};
use crate::delivery::{Desired, Event, NodeInfo, Outcome, prove, until};

/// An apply has limits of its own and always ends: this is for what it forgot.
const APPLY_TIMEOUT: Duration = Duration::from_hours(1);

/// A target at work.
pub(super) struct Deployment {
    certificate: String,
    node: Arc<NodeInfo>,
    target: Arc<dyn Target>,
    desired: watch::Receiver<Desired>,
    teller: Teller,
    limits: Limits,
    slot: Option<Slot>,
    /// What the slot was last told to have served.
    serve: Option<Leaf>,
    /// The generation that is being applied: one at a time, in order.
    applying: Option<u64>,
    /// The one to apply after that; the newest wins.
    next: Option<u64>,
    failures: u32,
    again: Option<Instant>,
    applies: JoinSet<Result<(), String>>,
    probes: JoinSet<(u64, Result<Saw, String>)>,
}

impl Deployment {
    pub(super) fn new(
        certificate: String,
        node: NodeInfo,
        target: Arc<dyn Target>,
        surroundings: &Surroundings,
    ) -> Self {
        let Surroundings { desired, events, steps, proof_timeout } = surroundings;
        Self {
            certificate,
            target,
            desired: desired.clone(),
            teller: Teller::new(node.id.clone(), events.clone(), Arc::clone(steps)),
            node: Arc::new(node),
            // It has no word of its own that could be taken.
            limits: Limits {
                ack: APPLY_TIMEOUT * 2,
                proof: *proof_timeout,
                proof_by: ProofBy::Agent,
                node_looks: false,
            },
            slot: None,
            serve: None,
            applying: None,
            next: None,
            failures: 0,
            again: None,
            applies: JoinSet::new(),
            probes: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, end: CancellationToken) {
        let connected = Event::Connected { connection: 0, node: (*self.node).clone() };
        if self.teller.tell(connected).await.is_err() {
            return;
        }
        self.desired.mark_changed();
        // It ends with the agent.
        tokio::select! {
            () = end.cancelled() => {}
            _ = self.serve() => {}
        }
    }

    async fn serve(&mut self) -> Result<(), Stopping> {
        loop {
            let deadline = self.slot.as_ref().and_then(Slot::deadline);
            let wake = deadline.into_iter().chain(self.again).min();
            tokio::select! {
                changed = self.desired.changed() => {
                    changed.map_err(|_| Stopping)?;
                    self.want(false).await?;
                }
                Some(applied) = self.applies.join_next() => {
                    let result = applied.unwrap_or_else(|error| Err(format!("a bug: {error}")));
                    self.applied(result).await?;
                }
                // One that breaks off is missed when the time for the proof is over.
                Some(Ok((generation, seen))) = self.probes.join_next() => {
                    self.input(Input::AgentSaw { generation, seen }).await?;
                }
                () = until(wake) => {
                    if self.again.take_if(|again| *again <= Instant::now()).is_some() {
                        self.want(true).await?;
                    }
                    self.input(Input::Tick).await?;
                }
            }
        }
    }

    /// Compares what is wanted with what was brought; `anew` brings it whatever is there.
    async fn want(&mut self, anew: bool) -> Result<(), Stopping> {
        let wishes = self.desired.borrow_and_update().clone();
        let Some(wish) = wishes.certificates.get(&self.certificate) else {
            (self.slot, self.serve, self.again) = (None, None, None);
            return Ok(());
        };
        let wanted = wish.wanted();
        let news = self.serve.replace(wanted.serve) != Some(wanted.serve);
        if news {
            // What went wrong with another one is not its fault.
            self.again = None;
        }
        if anew || self.slot.is_none() || (news && self.failures > 0) {
            // After a failure nobody knows what is there.
            let generation = &wish.serve.generation;
            let held = !anew && self.failures == 0 && self.target.holds(generation);
            let held = held.then_some(Held { leaf: wanted.serve, staple: None });
            self.slot = Some(Slot::new(self.limits, held));
        }
        if news {
            self.failures = 0;
        }
        // Nobody here presents staples of ours.
        let prepare =
            wanted.prepare.map(|prepare| crate::delivery::slot::Prepare { staple: None, ..prepare });
        self.input(Input::Want(Wanted { staple: None, prepare, ..wanted })).await
    }

    async fn applied(&mut self, result: Result<(), String>) -> Result<(), Stopping> {
        let Some(generation) = self.applying.take() else { return Ok(()) };
        if let Some(next) = self.next.take() {
            self.apply(next);
        }
        let input = match result {
            Ok(()) => Input::Acked { generation, validate_micros: 0, swap_micros: 0 },
            // For reasons of its own: the generation has passed the gate.
            Err(detail) => Input::Nacked { generation, reason: NackReason::Internal, detail },
        };
        self.input(input).await
    }

    async fn input(&mut self, input: Input) -> Result<(), Stopping> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(slot) = &mut self.slot else { return Ok(()) };
            let now = Instant::now();
            for effect in slot.on(input, now) {
                match effect {
                    Effect::Push { generation, .. } | Effect::Commit { generation } => self.apply(generation),
                    // The agent holds it for the target, which knows one certificate only.
                    Effect::Prepare { generation, .. } => {
                        inputs.push_back(Input::Prepared { generation, validate_micros: 0 });
                    }
                    Effect::Probe { generation } => self.probe(generation),
                    Effect::Report { generation, outcome } => self.report(generation, outcome, now).await?,
                    // It was not answered in a time in which it always is: from the beginning.
                    Effect::Disconnect => self.again = Some(now),
                    Effect::Discard { .. } | Effect::Staple { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, generation: u64) {
        if self.applying.is_some() {
            self.next = Some(generation);
            return;
        }
        let Some(wanted) = self.wanted(generation) else { return };
        let target = Arc::clone(&self.target);
        self.applying = Some(generation);
        self.applies.spawn(async move {
            let result = tokio::time::timeout(APPLY_TIMEOUT, target.apply(&wanted)).await;
            result.unwrap_or_else(|_| Err(format!("it took more than {APPLY_TIMEOUT:?}")))
        });
    }

    fn probe(&mut self, generation: u64) {
        let Some(wanted) = self.wanted(generation) else { return };
        let node = Arc::clone(&self.node);
        self.probes.spawn(async move {
            let seen = prove::prove(&node, &node.server_names, &wanted.chain).await;
            // What it presents beside the leaf is its own affair.
            let seen = seen.map(|saw| Saw { staple: None, ..saw });
            (generation, seen)
        });
    }

    /// A generation that is wanted still; else the newer wish is on its way.
    fn wanted(&self, generation: u64) -> Option<Arc<crate::store::Generation>> {
        let wishes = self.desired.borrow();
        let wish = wishes.certificates.get(&self.certificate)?;
        Some(Arc::clone(&wish.bundle(generation)?.generation))
    }

    /// Tells the outcome; what went wrong, with when it is tried again.
    async fn report(&mut self, generation: u64, outcome: Outcome, now: Instant) -> Result<(), Stopping> {
        let outcome = match outcome {
            Outcome::Nacked { reason, detail } => {
                Outcome::Nacked { reason, detail: self.failed(generation, &detail, now) }
            }
            Outcome::Unproven { error } => Outcome::Unproven { error: self.failed(generation, &error, now) },
            Outcome::Proven { detail } => {
                (self.failures, self.again) = (0, None);
                Outcome::Proven { detail }
            }
            other => other,
        };
        self.teller.report(&self.certificate, generation, outcome, now).await
    }

    fn failed(&mut self, generation: u64, error: &str, now: Instant) -> String {
        self.failures = self.failures.saturating_add(1);
        let pause = retry::pause(self.failures, fastrand::f64());
        self.again = Some(now + pause);
        let (attempt, seconds) = (self.failures, pause.as_secs_f64());
        tracing::warn!(
            target = self.node.id,
            certificate = self.certificate,
            generation,
            attempt,
            again_in_s = seconds,
            error,
            "a target does not serve what it should"
        );
        format!("{error}; attempt {attempt}, again in {seconds:.0} s")
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
