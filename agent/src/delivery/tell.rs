//! Who is told what became of a delivery: the loop, and the live record of the certificate.

use std::sync::Arc;
use std::time::Instant;

use sealwire_proto::v1::{NackReason, StepKind};
use tokio::sync::mpsc;

use super::{Event, Outcome};
use crate::steps::{self, Steps};

/// Tells of deliveries to one node.
#[derive(Clone, Debug)]
pub struct Teller {
    node_id: String,
    events: mpsc::Sender<Event>,
    steps: Arc<Steps>,
}

/// Nobody listens any more: the agent is stopping.
#[derive(Clone, Copy, Debug)]
pub struct Stopping;

impl Teller {
    /// For the node with this id.
    #[must_use]
    pub fn new(node_id: String, events: mpsc::Sender<Event>, steps: Arc<Steps>) -> Self {
        Self { node_id, events, steps }
    }

    /// A delivery came further, or did not. What was pushed was handed over from `at` on, the instant at which that
    /// was decided.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn report(
        &self,
        certificate: &str,
        generation: u64,
        outcome: Outcome,
        at: Instant,
    ) -> Result<(), Stopping> {
        let (node_id, certificate) = (self.node_id.clone(), certificate.to_owned());
        if let Some(step) = step_of(&outcome) {
            let (node_id, certificate) = (node_id.clone(), certificate.clone());
            self.steps.record_at(steps::Event { certificate, generation, node_id, ..step }, at);
        }
        self.tell(Event::Delivery { node_id, certificate, generation, outcome }).await
    }

    /// Anything else.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn tell(&self, event: Event) -> Result<(), Stopping> {
        self.events.send(event).await.map_err(|_| Stopping)
    }
}

/// What an outcome is in the live record.
fn step_of(outcome: &Outcome) -> Option<steps::Event> {
    let step = |kind, detail| steps::Event { kind, detail, ..steps::Event::default() };
    let millis = |micros: u64| micros as f64 / 1000.0;
    match outcome {
        Outcome::Pushed => Some(step(StepKind::Pushed, String::new())),
        &Outcome::Prepared { validate_micros } => {
            let detail = format!("validated in {:.2} ms, held", millis(validate_micros));
            Some(steps::Event { validate_micros, ..step(StepKind::Prepared, detail) })
        }
        &Outcome::Acked { validate_micros, swap_micros } => {
            let (validated, swapped) = (millis(validate_micros), millis(swap_micros));
            let detail = format!("validated in {validated:.2} ms, swapped in {swapped:.2} ms");
            Some(steps::Event { validate_micros, swap_micros, ..step(StepKind::Acked, detail) })
        }
        Outcome::Nacked { reason, detail } => Some(step(StepKind::Nacked, nack_text(*reason, detail))),
        Outcome::Proven { detail } => Some(step(StepKind::Proven, detail.clone())),
        Outcome::Stapled => Some(step(StepKind::Stapled, "a handshake saw the staple".to_owned())),
        // What follows from these is the agent's to say.
        Outcome::Unproven { .. } | Outcome::Unanswered | Outcome::StapleRefused { .. } => None,
    }
}

/// A refusal in one line.
#[must_use]
pub fn nack_text(reason: NackReason, detail: &str) -> String {
    format!("{}: {detail}", reason.as_str_name())
}
