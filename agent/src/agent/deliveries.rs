//! What nodes say, and what follows from it: proof, quarantine, going back.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use sealwire_proto::v1::{self, StepKind};

use super::managed::Managed;
use super::swaps::is_nodes_own;
use super::{Agent, Connected};
use crate::delivery::{Event, Outcome, Takes, nack_text};
use crate::store::{Generation, StoreError};

/// Why a generation must not be served, in words.
pub(super) enum Fault {
    /// Nobody can use what was issued.
    Issued(String),
    /// It could not be seen in service, whoever issued it.
    Served(String),
}

impl Agent {
    pub(super) fn delivery_event(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Connected { connection, node } => {
                if let Some(known) = self.nodes.get_mut(&node.id)
                    && known.connection == connection
                {
                    known.info = node;
                    return;
                }
                if self.nodes.contains_key(&node.id) {
                    tracing::warn!(
                        node = node.id,
                        "paired again; if two nodes share this id, give each its own"
                    );
                }
                let id = node.id.clone();
                let report = v1::Report::default();
                // What an earlier connection held is gone with it.
                self.node_left(&id);
                let foreign = !node.is_ours();
                self.nodes.insert(id.clone(), Connected { connection, since: now, info: node, report });
                self.node_seen(&id, foreign, now);
            }
            Event::Disconnected { connection, node_id } => {
                if let Some(node) = self.nodes.get(&node_id)
                    && node.connection == connection
                {
                    let foreign = !node.info.is_ours();
                    self.nodes.remove(&node_id);
                    self.node_seen(&node_id, foreign, now);
                    self.node_left(&node_id);
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
                self.judge_report(&node_id, now);
            }
            Event::Delivery { node_id, certificate, generation, outcome } => {
                if self.nodes.get(&node_id).is_some_and(|node| !node.info.is_ours()) {
                    self.tally.target(&node_id, &certificate, &outcome);
                }
                self.delivered(&node_id, &certificate, generation, outcome.clone(), now);
                self.judge_outcome(&node_id, &certificate, generation, &outcome, now);
            }
            Event::Shadow { node_id, certificate, generation, outcome } => {
                self.shadow_news(&certificate, generation, node_id, outcome);
            }
            Event::Trusted { node_id, issuer, roots_sha256 } => {
                self.trusted(&node_id, &issuer, &roots_sha256);
            }
            Event::Refused => self.refused_peers += 1,
        }
    }

    pub(super) fn node_seen(&mut self, id: &str, foreign: bool, now: Timestamp) {
        self.records.seen(id, foreign, now, |id| self.nodes.contains_key(id));
        let records = &self.records;
        self.tally.retain_targets(|target| records.nodes().any(|(id, _)| id == target));
        self.forget_gone(now);
        self.save_records();
        self.tell_paired();
    }

    pub(super) fn delivered(
        &mut self,
        node_id: &str,
        name: &str,
        generation: u64,
        outcome: Outcome,
        now: Timestamp,
    ) {
        let before = self.records.of(node_id, name).map_or(0, |record| record.serving);
        self.records.apply(node_id, name, generation, &outcome, now);
        let Some(managed) = self.certificates.get_mut(name) else { return };
        let is_current = managed.current.as_ref().is_some_and(|current| current.number == generation);
        match outcome {
            // On the way: the next outcome is worth the fsync.
            Outcome::Pushed | Outcome::Acked { .. } => return,
            Outcome::Prepared { .. } => return self.prepared_on(name, node_id, generation),
            Outcome::Proven { .. } if is_current => {
                if managed.proven() {
                    self.save_memory(name);
                }
                self.settle(name);
                self.follow(name);
            }
            Outcome::Proven { .. } => self.follow(name),
            Outcome::Nacked { reason, detail } if is_current => {
                let text = nack_text(reason, &detail);
                if self.refused_before_commit(name, node_id, generation, reason, &text) {
                    return self.save_records();
                }
                let nodes_own = is_nodes_own(reason);
                let taken_elsewhere = self.records.nodes().any(|(id, node)| {
                    id != node_id
                        && node.certificates.get(name).is_some_and(|record| record.serving == generation)
                });
                if nodes_own || taken_elsewhere {
                    self.end_run(name, generation, Err(format!("refused by {node_id}: {text}")));
                } else {
                    self.quarantine(
                        name,
                        generation,
                        Fault::Issued(format!("refused by {node_id}: {text}")),
                        |_| true,
                    );
                }
            }
            Outcome::Unproven { error } if is_current => {
                let text = format!("acknowledged by {node_id} but not proven to be served: {error}");
                // Going back helps only if it was better there. A target is tried again, and says nothing about the
                // generation: its server may be down.
                let good_there = |older: &Generation| older.number == before;
                if before != 0 && before != generation && !self.is_target(node_id) {
                    self.quarantine(name, generation, Fault::Served(text), good_there);
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
    pub(super) fn quarantine(
        &mut self,
        name: &str,
        generation: u64,
        fault: Fault,
        good: impl Fn(&Generation) -> bool,
    ) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get_mut(name) else { return };
        let issued = managed.current.as_ref().filter(|current| current.number == generation);
        let issuer = issued.map(|issued| issued.metadata.issuer.clone());
        let (reason, blame) = match fault {
            Fault::Issued(reason) => (reason, issuer),
            Fault::Served(reason) => (reason, None),
        };
        managed.quarantine(generation, reason.clone(), now, blame.as_deref());
        self.save_memory(name);
        self.step(name, generation, StepKind::Quarantined, reason.clone());
        if let Err(error) = self.go_back(name, generation, now, good) {
            tracing::error!(certificate = name, %error, "cannot go back to the last good generation");
        }
        self.unpublished = true;
        self.end_run(name, generation, Err(reason));
        self.look_at(name);
    }

    pub(super) fn go_back(
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
        managed.go_back_to(Arc::new(found));
        self.save_memory(name);
        self.step(name, number, StepKind::RolledBack, format!("from generation {from} to {number}"));
        self.follow(name);
        Ok(())
    }

    /// Ends the run of a certificate once its generation is proven wherever it must be.
    pub(super) fn settle(&mut self, name: &str) {
        let Some(managed) = self.certificates.get(name) else { return };
        let Some(number) = managed.delivering() else { return };
        if managed.goes_nowhere() {
            self.end_run(name, number, Ok("stored; it goes to no node".to_owned()));
            return;
        }
        if self.unproven_on(managed, number).is_empty() {
            let count = self.targets(managed).count();
            self.end_run(name, number, Ok(format!("proven on {count} node(s)")));
        }
    }

    /// Nodes that a certificate goes to and that are paired.
    pub(super) fn targets<'a>(&'a self, managed: &'a Managed) -> impl Iterator<Item = &'a Connected> {
        self.nodes.values().filter(|node| managed.is_for(&node.info))
    }

    fn is_target(&self, node_id: &str) -> bool {
        self.nodes.get(node_id).is_some_and(|node| matches!(node.info.takes, Takes::Deployed(_)))
    }

    /// What stands between a generation and its proof, in words; empty if nothing does.
    pub(super) fn unproven_on(&self, managed: &Managed, generation: u64) -> Vec<String> {
        let mut missing = Vec::new();
        for id in managed.config.required_nodes().filter(|id| !self.nodes.contains_key(*id)) {
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
    pub(super) fn check_deadlines(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((deadline, name))) = self.runs.peek() {
            if *deadline > now {
                break;
            }
            let name = Arc::clone(name);
            self.runs.pop();
            self.advance_swap(&name);
            let Some(managed) = self.certificates.get(&*name) else { continue };
            // The run may have ended, and another one begun.
            if managed.run_deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let Some(number) = managed.delivering() else { continue };
            let missing = self.unproven_on(managed, number).join("; ");
            self.end_run(&name, number, Err(format!("stored, but not proven: {missing}")));
        }
    }

    pub(super) fn end_run(&mut self, name: &str, generation: u64, result: Result<String, String>) {
        if self.certificates.get_mut(name).is_some_and(|managed| managed.end_run(generation)) {
            let (kind, detail) = match result {
                Ok(detail) => (StepKind::Done, detail),
                Err(detail) => (StepKind::Failed, detail),
            };
            self.step(name, generation, kind, detail);
        }
    }
}
