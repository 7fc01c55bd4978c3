//! The loop: gather facts, decide, act. Everything that happens (a timer, an attempt that ended, a word from
//! a node, an operator's request) comes in here, one at a time, so that there is one place where the state
//! of a certificate changes.

mod accounts;
mod managed;
mod start;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::{self, StatusReply, Step, StepKind};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::record::Records;
use crate::delivery::{Desired, Event, NodeInfo, Outcome};
use crate::issuer::{ErrorClass, IssueError, Issuer};
use crate::lifecycle::{Action, Request};
use crate::obtain::Attempt;
use crate::steps::{self, Steps};
use crate::store::{Generation, Store, StoreError};
use managed::Managed;
pub use start::{StartError, run};

/// Deadlines are wall-clock instants, looked at again at least this often, so that a suspended machine or a
/// stepped clock delays nothing for longer (DESIGN section 7).
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Attempts that run at the same time.
const MAX_ATTEMPTS: usize = 16;

/// Certificates whose renewal is followed, and all steps from the request on.
pub type Followed = (Vec<String>, broadcast::Receiver<Step>);

/// A stored generation with its issuer.
pub struct Found {
    /// The generation.
    pub generation: Arc<Generation>,
    /// Where it came from.
    pub issuer: Arc<dyn Issuer>,
}

/// What the admin service asks of the loop.
pub enum Command {
    /// How is everything?
    Status(oneshot::Sender<StatusReply>),
    /// Renew these now; the answer names who is being followed, or says what is wrong with the request.
    Renew {
        /// Names; empty: all, or the only one.
        certificates: Vec<String>,
        /// Every certificate.
        all: bool,
        /// Even though a back-off is running.
        force: bool,
        /// Who is followed, and all steps from here on: those of an earlier run are not among them.
        reply: oneshot::Sender<Result<Followed, String>>,
    },
    /// The current generation.
    Current {
        /// Of which certificate.
        certificate: String,
        /// `None` if there is none; an error if it is not configured.
        reply: oneshot::Sender<Result<Option<Arc<Generation>>, String>>,
    },
    /// An issuer with an account.
    Account {
        /// Its name; empty: the only one.
        issuer: String,
        /// The answer.
        reply: oneshot::Sender<Result<Arc<dyn Issuer>, String>>,
    },
    /// A generation and where it came from.
    Stored {
        /// Of which certificate.
        certificate: String,
        /// Which; 0: the current one.
        generation: u64,
        /// The answer.
        reply: oneshot::Sender<Result<Found, String>>,
    },
    /// A generation was revoked: if it is the current one, another is ordered at once.
    Revoked {
        /// Of which certificate.
        certificate: String,
        /// Which.
        generation: u64,
        /// Whether another is ordered.
        reply: oneshot::Sender<bool>,
    },
    /// The root of an internal issuer: its name and PEM.
    Root {
        /// Empty: the only one.
        issuer: String,
        /// The answer.
        reply: oneshot::Sender<Result<(String, String), String>>,
    },
}

/// An issuer with the roots its chains build to.
#[derive(Clone)]
struct Source {
    issuer: Arc<dyn Issuer>,
    anchors: Arc<Anchors>,
}

/// A node that is paired now.
struct Connected {
    connection: u64,
    since: Timestamp,
    info: NodeInfo,
    report: v1::Report,
}

type Attempted = (String, Result<Generation, IssueError>);

/// The agent's state.
struct Agent {
    config: Config,
    store: Store,
    clock: Arc<dyn Clock>,
    started_at: Timestamp,
    steps: Arc<Steps>,
    sources: BTreeMap<String, Source>,
    certificates: BTreeMap<String, Managed>,
    nodes: BTreeMap<String, Connected>,
    records: Records,
    refused_peers: u64,
    desired: watch::Sender<Desired>,
    attempts: JoinSet<Attempted>,
    /// Which certificate an attempt is for, should it panic.
    attempt_names: HashMap<tokio::task::Id, String>,
    places: Arc<Semaphore>,
}

impl Agent {
    /// Runs until `shutdown`. What is under way is left as it is: the journal resumes it.
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) {
        self.publish();
        loop {
            let wake = self.decide_and_act();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wake) => self.check_deadlines(),
                Some(event) = events.recv() => self.delivery_event(event),
                Some(command) = commands.recv() => self.command(command),
                Some(ended) = self.attempts.join_next_with_id() => self.attempt_ended(ended),
            }
        }
    }

    /// Starts what is due, and tells how long nothing else will be.
    fn decide_and_act(&mut self) -> Duration {
        let now = self.clock.now();
        let mut wake = LONGEST_SLEEP;
        let mut due = Vec::new();
        for (name, managed) in &mut self.certificates {
            if let Some(deadline) = managed.run_deadline() {
                wake = wake.min(deadline.saturating_duration_since(Instant::now()));
            }
            if managed.obtaining {
                continue;
            }
            let decision = managed.decide(now);
            match &decision.action {
                Action::Obtain { issuer } => due.push((name.clone(), issuer.clone())),
                Action::Wait => {
                    let left = Duration::try_from(decision.at.duration_since(now)).unwrap_or_default();
                    // Never a busy loop, should a deadline lie a fraction of a millisecond ahead.
                    wake = wake.min(left.max(Duration::from_millis(1)));
                }
            }
        }
        for (name, issuer) in due {
            self.obtain(&name, &issuer);
        }
        wake
    }

    fn obtain(&mut self, name: &str, issuer: &str) {
        let (Some(managed), Some(source)) = (self.certificates.get_mut(name), self.sources.get(issuer))
        else {
            return;
        };
        let because = managed.begin();
        // Embedded CAs have no profiles.
        let acme = self.config.acme.get(issuer);
        let profile = acme.and_then(|acme| managed.config.profile.clone().or_else(|| acme.profile.clone()));
        let attempt = Attempt {
            certificate: name.to_owned(),
            identifiers: managed.policy.identifiers.clone(),
            profile,
            key_type: managed.config.key_type,
            reuse: managed.reusable().cloned(),
            replaces: managed.replaced(issuer),
            issuer: Arc::clone(&source.issuer),
            anchors: Arc::clone(&source.anchors),
            store: managed.store.clone(),
            steps: Arc::clone(&self.steps),
            clock: Arc::clone(&self.clock),
        };
        self.step(name, 0, StepKind::Started, format!("from {issuer}: {because}"));
        let (name, places) = (name.to_owned(), Arc::clone(&self.places));
        let key = name.clone();
        let task = self.attempts.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let result = attempt.run().await;
            (name, result)
        });
        self.attempt_names.insert(task.id(), key);
    }

    fn attempt_ended(&mut self, ended: Result<(tokio::task::Id, Attempted), tokio::task::JoinError>) {
        let (name, result) = match ended {
            Ok((id, attempted)) => {
                self.attempt_names.remove(&id);
                attempted
            }
            Err(error) => {
                let Some(name) = self.attempt_names.remove(&error.id()) else { return };
                let message = format!("the attempt broke off: {error}; this is a bug, please report it");
                (name, Err(IssueError::new(ErrorClass::Ours, message)))
            }
        };
        let now = self.clock.now();
        let limit = self.config.delivery.ack_timeout + self.config.delivery.proof_timeout;
        let Some(managed) = self.certificates.get_mut(&name) else { return };
        match result {
            Ok(generation) => {
                let number = generation.number;
                managed.obtained(generation, Instant::now() + limit + Duration::from_secs(2));
                self.save_memory(&name);
                self.publish();
                self.settle(&name);
                tracing::debug!(certificate = name, generation = number, "published");
            }
            Err(error) => {
                managed.failed(now, &error);
                let next = managed.decide(now).at;
                self.save_memory(&name);
                self.end_run(&name, 0, Err(format!("{error}; next attempt at {next:.0}")));
            }
        }
    }

    fn delivery_event(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Connected { connection, node } => {
                if self.nodes.contains_key(&node.id) {
                    tracing::warn!(
                        node = node.id,
                        "paired again; if two nodes share this id, give each its own"
                    );
                }
                let id = node.id.clone();
                let report = v1::Report::default();
                self.nodes.insert(id.clone(), Connected { connection, since: now, info: node, report });
                self.node_seen(&id, now);
            }
            Event::Disconnected { connection, node_id } => {
                if self.nodes.get(&node_id).is_some_and(|node| node.connection == connection) {
                    self.nodes.remove(&node_id);
                    self.node_seen(&node_id, now);
                    // Nobody waits for the proof of a node that is gone.
                    for name in self.certificates.keys().cloned().collect::<Vec<_>>() {
                        self.settle(&name);
                    }
                }
            }
            Event::Reported { node_id, report } => {
                if let Some(node) = self.nodes.get_mut(&node_id) {
                    node.report = report;
                }
            }
            Event::Delivery { node_id, certificate, generation, outcome } => {
                self.delivered(&node_id, &certificate, generation, outcome, now);
            }
            Event::Refused => self.refused_peers += 1,
        }
    }

    fn node_seen(&mut self, id: &str, now: Timestamp) {
        self.records.seen(id, now, |id| self.nodes.contains_key(id));
        self.save_records();
    }

    fn delivered(&mut self, node_id: &str, name: &str, generation: u64, outcome: Outcome, now: Timestamp) {
        let before = self.records.of(node_id, name).map_or(0, |record| record.serving);
        self.records.apply(node_id, name, generation, &outcome, now);
        let Some(managed) = self.certificates.get_mut(name) else { return };
        let is_current = managed.current.as_ref().is_some_and(|current| current.number == generation);
        match outcome {
            // On the way: the next outcome is worth the fsync.
            Outcome::Pushed | Outcome::Acked { .. } => return,
            Outcome::Proven { .. } if is_current => {
                if managed.proven() {
                    self.save_memory(name);
                }
                self.settle(name);
            }
            Outcome::Nacked { reason, detail } if is_current => {
                let text = crate::delivery::server::nack_text(reason, &detail);
                // About the node's own state, not about the generation.
                let nodes_own = matches!(reason, v1::NackReason::Internal | v1::NackReason::StaleGeneration);
                let taken_elsewhere = self.records.nodes().any(|(id, node)| {
                    id != node_id
                        && node.certificates.get(name).is_some_and(|record| record.serving == generation)
                });
                if nodes_own || taken_elsewhere {
                    self.end_run(name, generation, Err(format!("refused by {node_id}: {text}")));
                } else {
                    self.quarantine(name, generation, format!("refused by {node_id}: {text}"), |_| true);
                }
            }
            Outcome::Unproven { error } if is_current => {
                let text = format!("acknowledged by {node_id} but not proven to be served: {error}");
                // Going back helps only if it was better there.
                let good_there = |older: &Generation| older.number == before;
                if before != 0 && before != generation {
                    self.quarantine(name, generation, text, good_there);
                } else {
                    self.end_run(name, generation, Err(text));
                }
            }
            Outcome::Unanswered if is_current => {
                let limit = self.config.delivery.ack_timeout;
                self.end_run(
                    name,
                    generation,
                    Err(format!("{node_id} neither took nor refused it in {limit:?}")),
                );
            }
            _ => {}
        }
        self.save_records();
    }

    /// Withdraws a generation that must not be served, and goes back to the last good one if there is one
    /// that is still valid and that `good` takes.
    fn quarantine(
        &mut self,
        name: &str,
        generation: u64,
        reason: String,
        good: impl Fn(&Generation) -> bool,
    ) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get_mut(name) else { return };
        managed.quarantine(generation, reason.clone(), now);
        self.save_memory(name);
        self.step(name, generation, StepKind::Quarantined, reason.clone());
        if let Err(error) = self.go_back(name, generation, now, good) {
            tracing::error!(certificate = name, %error, "cannot go back to the last good generation");
        }
        self.publish();
        self.end_run(name, generation, Err(reason));
    }

    fn go_back(
        &mut self,
        name: &str,
        from: u64,
        now: Timestamp,
        good: impl Fn(&Generation) -> bool,
    ) -> Result<(), StoreError> {
        let Some(managed) = self.certificates.get_mut(name) else { return Ok(()) };
        let found = managed.store.newest_whole(&managed.memory, |older| {
            older.number < from && older.is_valid_at(now) && good(older)
        })?;
        let Some(found) = found else { return Ok(()) };
        let number = found.number;
        managed.store.make_current(number)?;
        managed.current = Some(Arc::new(found));
        self.step(name, number, StepKind::RolledBack, format!("from generation {from} to {number}"));
        Ok(())
    }

    /// Ends the run of a certificate once its generation is proven wherever it must be.
    fn settle(&mut self, name: &str) {
        let Some(managed) = self.certificates.get(name) else { return };
        let Some(number) = managed.delivering() else { return };
        if managed.config.nodes.as_ref().is_some_and(Vec::is_empty) {
            self.end_run(name, number, Ok("stored; it goes to no node".to_owned()));
            return;
        }
        if self.unproven_on(managed, number).is_empty() {
            let count = self.targets(managed).count();
            self.end_run(name, number, Ok(format!("proven on {count} node(s)")));
        }
    }

    /// Nodes that a certificate goes to and that are paired.
    fn targets<'a>(&'a self, managed: &'a Managed) -> impl Iterator<Item = &'a Connected> {
        self.nodes.values().filter(|node| managed.is_for(&node.info))
    }

    /// What stands between a generation and its proof, in words; empty if nothing does.
    fn unproven_on(&self, managed: &Managed, generation: u64) -> Vec<String> {
        let mut missing = Vec::new();
        for id in managed.config.nodes.iter().flatten().filter(|id| !self.nodes.contains_key(*id)) {
            missing.push(format!("node {id} is not paired"));
        }
        for node in self.targets(managed) {
            let record = self.records.of(&node.info.id, &managed.config.name);
            if record.is_none_or(|record| record.serving != generation) {
                missing.push(format!("node {} has not been seen serving it", node.info.id));
            }
        }
        if missing.is_empty() && self.targets(managed).next().is_none() {
            missing.push("no node that must serve it is paired".to_owned());
        }
        missing
    }

    /// Runs whose time is up have failed: what is not proven is not done.
    fn check_deadlines(&mut self) {
        let now = Instant::now();
        let late: Vec<_> = self
            .certificates
            .iter()
            .filter(|(_, managed)| managed.run_deadline().is_some_and(|deadline| deadline <= now))
            .filter_map(|(name, managed)| {
                let number = managed.delivering()?;
                Some((name.clone(), number, self.unproven_on(managed, number).join("; ")))
            })
            .collect();
        for (name, number, missing) in late {
            self.end_run(&name, number, Err(format!("stored, but not proven: {missing}")));
        }
    }

    fn end_run(&mut self, name: &str, generation: u64, result: Result<String, String>) {
        if self.certificates.get_mut(name).is_some_and(|managed| managed.end_run(generation)) {
            let (kind, detail) = match result {
                Ok(detail) => (StepKind::Done, detail),
                Err(detail) => (StepKind::Failed, detail),
            };
            self.step(name, generation, kind, detail);
        }
    }

    fn command(&mut self, command: Command) {
        // A caller that hung up needs no answer.
        match command {
            Command::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Command::Renew { certificates, all, force, reply } => {
                let names = self.named(certificates, all);
                let _ = reply.send(names.clone().map(|names| (names, self.steps.listen())));
                for name in names.unwrap_or_default() {
                    self.request(&name, force);
                }
            }
            Command::Current { certificate, reply } => {
                let _ = reply.send(match self.certificates.get(&certificate) {
                    Some(managed) => Ok(managed.current.clone()),
                    None => Err(self.unknown(&certificate)),
                });
            }
            Command::Root { issuer, reply } => {
                let _ = reply.send(self.root(&issuer));
            }
            Command::Account { issuer, reply } => {
                let _ = reply.send(self.account(&issuer));
            }
            Command::Stored { certificate, generation, reply } => {
                let _ = reply.send(self.stored(&certificate, generation));
            }
            Command::Revoked { certificate, generation, reply } => {
                let _ = reply.send(self.revoked(&certificate, generation));
            }
        }
    }

    fn named(&self, certificates: Vec<String>, all: bool) -> Result<Vec<String>, String> {
        if all || (certificates.is_empty() && self.certificates.len() == 1) {
            return Ok(self.certificates.keys().cloned().collect());
        }
        if certificates.is_empty() {
            return Err(format!("name a certificate, or --all; configured: {}", self.known()));
        }
        match certificates.iter().find(|name| !self.certificates.contains_key(*name)) {
            Some(unknown) => Err(self.unknown(unknown)),
            None => Ok(certificates),
        }
    }

    fn known(&self) -> String {
        self.certificates.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    fn unknown(&self, name: &str) -> String {
        format!("no certificate is named \"{name}\"; configured: {}", self.known())
    }

    fn request(&mut self, name: &str, force: bool) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get_mut(name) else { return };
        if managed.obtaining {
            // The caller follows the attempt that is running.
            return;
        }
        managed.request = Some(Request { force });
        let decision = managed.decide(now).clone();
        if decision.action == Action::Wait {
            managed.request = None;
            let last = managed.memory.last_failure.as_ref().map_or("", |failure| &failure.message);
            let detail = format!(
                "in a back-off until {:.0} after {} failure(s), the last: {last}; --force orders now",
                decision.at, managed.memory.failures
            );
            self.step(name, 0, StepKind::Failed, detail);
        }
    }

    fn root(&self, issuer: &str) -> Result<(String, String), String> {
        let internal: Vec<_> = self
            .sources
            .values()
            .filter_map(|source| Some((source.issuer.name(), source.issuer.root_pem()?)))
            .collect();
        let names = || internal.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        match (issuer, &internal[..]) {
            (_, []) => Err("no internal issuer is configured: there is no root to print".to_owned()),
            ("", [(name, pem)]) => Ok(((*name).to_owned(), pem.clone())),
            ("", _) => Err(format!("several internal issuers are configured, name one: {}", names())),
            (wanted, _) => internal
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(name, pem)| ((*name).to_owned(), pem.clone()))
                .ok_or_else(|| format!("no internal issuer is named \"{wanted}\"; configured: {}", names())),
        }
    }

    /// Tells all nodes what they should serve.
    fn publish(&self) {
        let now = self.clock.now();
        let deliverables = self.certificates.iter().filter_map(|(name, managed)| {
            let source = self.sources.get(&managed.current.as_ref()?.metadata.issuer);
            let anchors = source.map(|source| source.issuer.trust_anchors()).unwrap_or_default();
            Some((name.clone(), managed.deliverable(anchors, now)?))
        });
        self.desired.send_replace(Arc::new(deliverables.collect()));
    }

    fn step(&self, name: &str, generation: u64, kind: StepKind, detail: String) {
        self.steps.record(steps::Event {
            certificate: name.to_owned(),
            generation,
            kind,
            detail,
            ..steps::Event::default()
        });
    }

    fn save_memory(&self, name: &str) {
        let Some(managed) = self.certificates.get(name) else { return };
        if let Err(error) = managed.store.save_memory(&managed.memory) {
            tracing::error!(certificate = name, %error, "cannot remember; a restart would forget this");
        }
    }

    fn save_records(&self) {
        if let Err(error) = self.store.save_json(start::RECORDS, &self.records) {
            tracing::error!(%error, "cannot remember what nodes serve; a restart would forget this");
        }
    }
}
