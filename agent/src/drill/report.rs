//! What a drill tells, step by step, with the time that each took.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use async_trait::async_trait;
use jiff::Timestamp;
use sealwire_proto::v1::{Step, StepKind};
use tokio::sync::mpsc;
use tonic::Status;

use crate::issuer::{Placed, Progress};
use crate::store::StoreError;

/// Where the steps of a drill go. They are not among those of the certificate: nothing happened to it.
pub struct Report {
    certificate: String,
    sender: mpsc::Sender<Result<Step, Status>>,
    started: Instant,
    last: Mutex<Instant>,
}

impl Report {
    /// Steps about `certificate` to `sender`.
    #[must_use]
    pub fn new(certificate: &str, sender: mpsc::Sender<Result<Step, Status>>) -> Self {
        let started = Instant::now();
        Self { certificate: certificate.to_owned(), sender, started, last: Mutex::new(started) }
    }

    pub(super) async fn step(&self, kind: StepKind, detail: impl Into<String>) {
        self.node_step(kind, "", detail).await;
    }

    pub(super) async fn node_step(&self, kind: StepKind, node_id: &str, detail: impl Into<String>) {
        let step = self.timed(kind, node_id, detail.into());
        // A caller that hung up has the drill run to its end all the same: what was begun is taken back.
        let _ = self.sender.send(Ok(step)).await;
    }

    pub(super) async fn end(&self, result: Result<String, String>) {
        match result {
            Ok(detail) => {
                tracing::info!(certificate = self.certificate, detail, "drill done");
                self.step(StepKind::Done, detail).await;
            }
            Err(detail) => {
                tracing::warn!(certificate = self.certificate, detail, "drill failed");
                self.step(StepKind::Failed, detail).await;
            }
        }
    }

    fn timed(&self, kind: StepKind, node_id: &str, detail: String) -> Step {
        let (now, today) = (Instant::now(), Timestamp::now());
        let took = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            now - std::mem::replace(&mut *last, now)
        };
        let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Step {
            certificate: self.certificate.clone(),
            kind: kind.into(),
            node_id: node_id.to_owned(),
            detail,
            at_ms: today.as_millisecond(),
            at_micros: today.as_microsecond(),
            took_micros: micros(took),
            elapsed_micros: micros(now - self.started),
            ..Step::default()
        }
    }
}

#[async_trait]
impl Progress for Report {
    fn step(&self, kind: StepKind, detail: String) {
        // A full queue loses a line of an order's progress, and nothing else.
        let _ = self.sender.try_send(Ok(self.timed(kind, "", detail)));
    }

    async fn order_placed(&self, _: &Placed) -> Result<(), StoreError> {
        Ok(())
    }
}
