//! The loop: gather facts, decide, act. Everything that happens (a timer, an attempt that ended, a word from
//! a node, an operator's request) comes in here, one at a time, so that there is one place where the state
//! of a certificate changes. A certificate is looked at when something happened to it, or when its own
//! deadline has come: ten thousand at rest cost nothing.

mod accounts;
mod attempts;
mod authorities;
mod calendar;
mod commands;
mod deliveries;
mod disk;
mod drills;
mod findings;
mod halts;
mod incidents;
mod issuers;
mod managed;
mod measure;
mod outside;
mod pulse;
mod replicas;
mod revocations;
mod sources;
mod start;
mod status;
mod swaps;
mod tally;
mod troubles;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sealwire_proto::v1::{self, Step, StepKind};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alert::rates::Rates;
use crate::clock::{Clock, ClockWatch};
use crate::config::Config;
use crate::delivery::record::Records;
use crate::delivery::{Desired, Event, NodeInfo, Wishes};
use crate::lifecycle::{self, Action, Issuers};
use crate::steps::{self, Steps};
use crate::store::{HistoryEntry, Store};
use attempts::{Ended, Underway};
pub use commands::{Command, Followed, Found, PlanFacts, STATUS_PART};
use disk::{Disk, Document};
pub use halts::NodeOrder;
use incidents::Incidents;
use issuers::Source;
use managed::Managed;
pub use outside::Outside;
use revocations::Revocations;
pub use start::{StartError, run};
use tally::Tally;

/// Deadlines are wall-clock instants, looked at again at least this often, so that a suspended machine or a
/// stepped clock delays nothing for longer (DESIGN section 7).
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How soon a follower thinks again about what the leader should do.
const FOLLOWING: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// Changes of the model of limits are written at most this often; a crash forgets no more than that.
const SAVE_LIMITS_EVERY: Duration = Duration::from_secs(1);

/// A node that is paired now.
struct Connected {
    connection: u64,
    since: Timestamp,
    info: NodeInfo,
    report: v1::Report,
}

/// The agent's state.
struct Agent {
    config: Config,
    store: Store,
    clock: Arc<dyn Clock>,
    /// [`LONGEST_SLEEP`]; tests do not have the time.
    longest_sleep: Duration,
    /// Makes this agent differ from another.
    seed: u64,
    started_at: Timestamp,
    steps: Arc<Steps>,
    sources: BTreeMap<String, Source>,
    /// What is known about the issuers; decisions read it, attempts charge it.
    issuers: Issuers,
    /// Since when `issuers` differs from what is on disk.
    issuers_changed: Option<Instant>,
    certificates: BTreeMap<String, Box<Managed>>,
    /// When to look at which certificate again; an entry is void when the certificate has a newer one.
    schedule: BinaryHeap<Reverse<(Timestamp, Arc<str>)>>,
    nodes: BTreeMap<String, Connected>,
    records: Records,
    /// What is rehearsed, by name of the certificate.
    shadows: BTreeMap<String, drills::ActiveShadow>,
    refused_peers: u64,
    panics: u64,
    desired: watch::Sender<Desired>,
    /// What nodes should serve has changed since it was published.
    unpublished: bool,
    attempts: JoinSet<Ended>,
    /// What each task is about, should it panic.
    underway: HashMap<tokio::task::Id, Underway>,
    /// Runs whose proof has a deadline.
    runs: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
    incidents: Incidents,
    /// Failed handshakes on nodes.
    rates: Rates,
    disk: Disk,
    tally: Tally,
    revocations: Revocations,
    clock_watch: ClockWatch,
    /// When the CAs were last asked for the time.
    time_asked: Option<Instant>,
    /// Something of an embedded CA has changed.
    authorities_changed: Arc<Notify>,
    /// Other agents that share certificates; `None`: there are none.
    replicas: Option<replicas::Replicas>,
}

impl Agent {
    /// Runs until `shutdown`. What is under way is left as it is: the journal resumes it.
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut commands: mpsc::Receiver<Command>,
        mut calendar: mpsc::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        self.resume_swaps();
        for name in self.certificates.keys().cloned().collect::<Vec<_>>() {
            self.look_at(&name);
        }
        self.follow_all();
        self.unpublished = true;
        self.forget_machine(self.clock.now());
        self.forget_gone(self.clock.now());
        self.tell_paired();
        let authorities_changed = Arc::clone(&self.authorities_changed);
        loop {
            self.follow_authorities();
            self.publish();
            self.keep_incidents(false);
            let wake = self.wake();
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(wake) => {}
                Some(()) = calendar.recv() => {}
                () = authorities_changed.notified() => {}
                Some(event) = events.recv() => self.delivery_event(event),
                Some(command) = commands.recv() => self.command(command),
                Some(ended) = self.attempts.join_next_with_id() => self.attempt_ended(ended),
                Some(ended) = self.revocations.next() => self.told(ended),
                Some(news) = replicas::next(&mut self.replicas) => self.replica_news(news),
            }
            self.watch_clock();
            self.check_deadlines();
            self.look_at_due();
            self.check_revocation();
            self.save_issuers(false);
        }
        self.save_issuers(true);
        self.keep_incidents(true);
    }

    /// How long nothing happens by itself.
    fn wake(&self) -> Duration {
        let now = self.clock.now();
        let mut wake = self.longest_sleep;
        let scheduled = self.schedule.peek().map(|Reverse((at, _))| *at);
        for at in scheduled.into_iter().chain(self.revocations.wake()) {
            let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            // Never a busy loop, should a deadline lie a fraction of a millisecond ahead.
            wake = wake.min(left.max(Duration::from_millis(1)));
        }
        if let Some(Reverse((deadline, _))) = self.runs.peek() {
            wake = wake.min(deadline.saturating_duration_since(Instant::now()));
        }
        if let Some(left) = self.incidents.wake(now) {
            wake = wake.min(left.max(Duration::from_millis(1)));
        }
        if let Some(since) = self.issuers_changed {
            wake = wake.min(SAVE_LIMITS_EVERY.saturating_sub(since.elapsed()));
        }
        wake
    }

    /// Looks at every certificate whose time has come, the one with the least left first.
    fn look_at_due(&mut self) {
        let now = self.clock.now();
        let mut due = Vec::new();
        while let Some(Reverse((at, name))) = self.schedule.peek() {
            if *at > now {
                break;
            }
            if let Some(managed) = self.certificates.get_mut(&**name)
                && managed.scheduled == Some(*at)
            {
                managed.scheduled = None;
                due.push((managed.current.as_ref().map(|current| current.not_after()), Arc::clone(name)));
            }
            self.schedule.pop();
        }
        due.sort();
        for (_, name) in due {
            self.look_at(&name);
        }
    }

    /// Decides about one certificate, and acts or puts it on the schedule.
    fn look_at(&mut self, name: &str) {
        let expiry = self.judge_expiry(name);
        let wake = self.act_on(name);
        let Some(wake) = wake.into_iter().chain(expiry).min() else { return };
        let Some(managed) = self.certificates.get_mut(name) else { return };
        managed.scheduled = Some(wake);
        let key = Arc::clone(&managed.name);
        self.schedule.push(Reverse((wake, key)));
    }

    /// Acts as is decided; gives when to decide again, or nothing while an attempt is under way.
    fn act_on(&mut self, name: &str) -> Option<Timestamp> {
        let now = self.now_for(name);
        let canary = self.clock_is_doubted();
        let leads = self.leads();
        let managed = self.certificates.get_mut(name)?;
        if managed.obtaining {
            return None;
        }
        let decision = managed.decide(now, &self.issuers).clone();
        let wake = match decision.action {
            Action::Wait => decision.wake,
            // The leader's. Looked at again in case that becomes us without news.
            _ if !leads => lifecycle::plus(now, FOLLOWING),
            // While the clock is in doubt, what is due only because of the clock goes one at a time.
            Action::Obtain { .. } | Action::Rehearse { .. }
                if canary && decision.reason.is_timed() && !self.attempts.is_empty() =>
            {
                lifecycle::plus(now, issuers::CANARY_PAUSE)
            }
            Action::Obtain { issuer } => {
                self.obtain(name, &issuer);
                return None;
            }
            Action::Rehearse { at, issuer } => {
                self.rehearse(name, &at, &issuer);
                return None;
            }
            Action::AskRenewalInfo { issuer } => {
                if !managed.asking {
                    self.ask(name, &issuer);
                }
                // Whatever the answer is, there is an end of validity to look at again.
                decision.at
            }
        };
        // Decided in the time of the CA, woken by our own clock.
        Some(lifecycle::plus(wake, self.clock.now().duration_since(now)))
    }

    /// Tells all nodes what they should serve, if that has changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let now = self.clock.now();
        let anchors = |issuer: &str| {
            self.sources.get(issuer).map(|source| Arc::clone(&source.trust)).unwrap_or_default()
        };
        let deliverables = self
            .certificates
            .iter()
            .filter_map(|(name, managed)| Some((name.clone(), managed.deliverable(anchors, now)?)));
        self.desired.send_replace(Arc::new(Wishes {
            certificates: deliverables.collect(),
            halts: self.records.halts.clone(),
            trust: self
                .sources
                .iter()
                .filter(|(_, source)| source.issuer.as_internal().is_some())
                .map(|(name, source)| (name.clone(), Arc::clone(&source.trust)))
                .collect(),
            shadows: self
                .shadows
                .iter()
                .map(|(name, active)| (name.clone(), active.shadow.clone()))
                .collect(),
        }));
    }

    fn step(&self, name: &str, generation: u64, kind: StepKind, detail: String) {
        if matches!(
            kind,
            StepKind::Done
                | StepKind::Failed
                | StepKind::Quarantined
                | StepKind::RolledBack
                | StepKind::Started
                | StepKind::Distrusted
        ) {
            self.remember(name, generation, kind, &detail);
        }
        self.steps.record(steps::Event {
            certificate: name.to_owned(),
            generation,
            kind,
            detail,
            ..steps::Event::default()
        });
    }

    /// Writes the step into the history of the certificate.
    fn remember(&self, name: &str, generation: u64, kind: StepKind, detail: &str) {
        let Some(managed) = self.certificates.get(name) else { return };
        let what = Step { kind: kind.into(), ..Step::default() }.kind().as_str_name().to_lowercase();
        let entry = HistoryEntry { at: self.clock.now(), generation, what, detail: detail.to_owned() };
        let written = managed.store.append_history(&entry);
        if let Err(error) = &written {
            tracing::warn!(certificate = name, %error, "cannot write the history");
        }
        self.disk.note(Document::History(name.to_owned()), &written);
    }

    fn save_memory(&self, name: &str) {
        let Some(managed) = self.certificates.get(name) else { return };
        let written = managed.store.save_memory(&managed.memory);
        if let Err(error) = &written {
            tracing::error!(certificate = name, %error, "cannot remember; a restart would forget this");
        }
        self.disk.note(Document::Memory(name.to_owned()), &written);
        if let Some(replicas) = &self.replicas {
            replicas.copies.changed(name);
        }
    }

    fn save_records(&self) {
        let written = self.store.save_json(start::RECORDS, &self.records);
        if let Err(error) = &written {
            tracing::error!(%error, "cannot remember what nodes serve; a restart would forget this");
        }
        self.disk.note(Document::Records, &written);
    }
}
