//! The live record of each certificate on its way from order to proof: what `renew` and `watch` stream,
//! what the log tells, and where the durations come from.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::v1::{Step, StepKind};
use tokio::sync::broadcast;

/// Steps kept for a slow listener before it misses some.
const BUFFERED: usize = 4096;

/// Numbers of kinds: one more than the last.
const KINDS: usize = StepKind::Distrusted as usize + 1;

/// Records steps and tells whoever listens.
#[derive(Debug)]
pub struct Steps {
    sender: broadcast::Sender<Step>,
    /// How many of each kind, by its number.
    counts: [AtomicU64; KINDS],
    runs: Mutex<HashMap<String, Run>>,
}

/// The run a certificate is in: when it began and when its last step was.
#[derive(Clone, Copy, Debug)]
struct Run {
    started: Instant,
    last: Instant,
}

/// A step before it has its times.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Name of the certificate.
    pub certificate: String,
    /// Its generation, 0 before it has one.
    pub generation: u64,
    /// What was done.
    pub kind: StepKind,
    /// The node concerned; empty for none.
    pub node_id: String,
    /// For people.
    pub detail: String,
    /// With an ack: what the node took for the checks, in microseconds.
    pub validate_micros: u64,
    /// And for the swap.
    pub swap_micros: u64,
}

impl Default for Steps {
    fn default() -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { sender: broadcast::channel(BUFFERED).0, counts, runs: Mutex::default() }
    }
}

impl Steps {
    /// Everything from now on.
    pub fn listen(&self) -> broadcast::Receiver<Step> {
        self.sender.subscribe()
    }

    /// How many steps of each kind there were since the start.
    pub fn counts(&self) -> impl Iterator<Item = (StepKind, u64)> {
        let of = |(number, count): (usize, &AtomicU64)| {
            let kind = StepKind::try_from(i32::try_from(number).ok()?).ok()?;
            (kind != StepKind::Unspecified).then(|| (kind, count.load(Ordering::Relaxed)))
        };
        self.counts.iter().enumerate().filter_map(of)
    }

    /// Records a step that has just happened.
    pub fn record(&self, event: Event) {
        self.record_at(event, Instant::now());
    }

    /// Records a step that happened, or began, at this instant.
    pub fn record_at(&self, event: Event, at: Instant) {
        if let Some(count) = usize::try_from(event.kind as i32).ok().and_then(|kind| self.counts.get(kind)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let ago = SignedDuration::try_from(at.elapsed()).unwrap_or_default();
        let today = Timestamp::now().checked_sub(ago).unwrap_or_default();
        let (took, elapsed) = {
            // Instants stay right even if a thread panicked while it held the lock.
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            let run = runs.entry(event.certificate.clone()).or_insert(Run { started: at, last: at });
            if event.kind == StepKind::Started {
                *run = Run { started: at, last: at };
            }
            // Another thread's step may be recorded sooner than an earlier one of ours.
            let took = at.saturating_duration_since(run.last);
            run.last = run.last.max(at);
            let elapsed = at.saturating_duration_since(run.started);
            if matches!(event.kind, StepKind::Done | StepKind::Failed) {
                // What comes later (a node that pairs again) belongs to no run.
                runs.remove(&event.certificate);
            }
            (took, elapsed)
        };
        let step = Step {
            certificate: event.certificate,
            generation: event.generation,
            kind: event.kind.into(),
            node_id: event.node_id,
            detail: event.detail,
            at_ms: today.as_millisecond(),
            at_micros: today.as_microsecond(),
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            elapsed_micros: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            validate_micros: event.validate_micros,
            swap_micros: event.swap_micros,
        };
        log(&step, event.kind);
        // Nobody listening is the usual case.
        let _ = self.sender.send(step);
    }
}

fn log(step: &Step, kind: StepKind) {
    let Step { certificate, generation, node_id, detail, .. } = step;
    let elapsed_ms = step.elapsed_micros / 1000;
    let kind_name = kind.as_str_name();
    match kind {
        StepKind::Failed
        | StepKind::Nacked
        | StepKind::Quarantined
        | StepKind::RolledBack
        | StepKind::Distrusted => {
            tracing::warn!(certificate, generation, node_id, detail, elapsed_ms, "{kind_name}");
        }
        _ => tracing::info!(certificate, generation, node_id, detail, elapsed_ms, "{kind_name}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(kind: StepKind) -> Event {
        Event { certificate: "web".into(), generation: 1, kind, ..Event::default() }
    }

    #[test]
    fn steps_are_timed_from_the_start_of_their_run() {
        let steps = Steps::default();
        let mut listener = steps.listen();
        for kind in [StepKind::Started, StepKind::Issued, StepKind::Started] {
            steps.record(event(kind));
        }
        let first = listener.try_recv().unwrap();
        assert_eq!((first.took_micros, first.elapsed_micros), (0, 0));
        let second = listener.try_recv().unwrap();
        assert_eq!(second.took_micros, second.elapsed_micros);
        assert_eq!(listener.try_recv().unwrap().elapsed_micros, 0);
    }

    #[test]
    fn a_step_may_be_told_later_than_it_began() {
        let (steps, now) = (Steps::default(), Instant::now());
        let at = |ago| now.checked_sub(Duration::from_secs(ago)).unwrap();
        let mut listener = steps.listen();
        steps.record_at(event(StepKind::Started), at(30));
        steps.record_at(event(StepKind::Pushed), at(20));
        steps.record_at(event(StepKind::Acked), at(19));
        steps.record_at(event(StepKind::Proven), at(20));
        let told: Vec<_> = std::iter::from_fn(|| listener.try_recv().ok()).collect();
        let times: Vec<_> = told.iter().map(|step| (step.took_micros, step.elapsed_micros)).collect();
        let second = 1_000_000;
        let expected = [(0, 0), (10 * second, 10 * second), (second, 11 * second), (0, 10 * second)];
        assert_eq!(times, expected);
        let ago = (Timestamp::now().as_microsecond() - told[1].at_micros) / 1_000_000;
        assert!((19..=25).contains(&ago), "{ago} s");
        assert_eq!(told[1].at_ms, told[1].at_micros / 1000);
    }
}
