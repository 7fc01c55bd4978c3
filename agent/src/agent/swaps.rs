//! Swaps: a new generation is held by all paired nodes, then served by all, then proven on each; or it is served
//! by none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use sealwire_proto::v1::{NackReason, StepKind};

use super::Agent;
use super::deliveries::Fault;
use crate::delivery::swap::Swap;

impl Agent {
    /// A generation has become current: several nodes that serve the one before are to hold it first. A single one
    /// validates before it swaps anyway, and nobody else has to wait for what it says. Writes the memory, once,
    /// before any node is told.
    pub(super) fn begin_swap(&mut self, name: &str) {
        let now = self.clock.now();
        let several =
            self.certificates.get(name).is_some_and(|managed| self.targets(managed).nth(1).is_some());
        let Some(managed) = self.certificates.get_mut(name) else { return };
        let Some(current) = &managed.current else { return };
        let before = managed.serving.as_ref().filter(|serving| serving.number != current.number);
        let served = before.is_some_and(|before| managed.is_deliverable(before, now));
        if served && several && !managed.goes_nowhere() {
            managed.swap = Some(Box::new(Swap::new(current.number, BTreeSet::new(), Instant::now())));
            self.unpublished = true;
            self.save_memory(name);
            self.advance_swap(name);
        } else {
            // Nobody has to wait: there is one node at most, or nothing that it could go on serving meanwhile.
            managed.memory.committed = current.number;
            self.save_memory(name);
            self.commit(name);
        }
    }

    /// Commits once every paired node holds what is to be served.
    pub(super) fn advance_swap(&mut self, name: &str) {
        let Some(managed) = self.certificates.get(name) else { return };
        let Some(swap) = &managed.swap else { return };
        let paired = self.targets(managed).map(|node| node.info.id.as_str());
        if swap.is_ready(paired, self.config.delivery.ack_timeout, Instant::now()) {
            self.commit(name);
        }
    }

    fn commit(&mut self, name: &str) {
        let Some(managed) = self.certificates.get_mut(name) else { return };
        let Some(current) = managed.current.clone() else { return };
        let number = current.number;
        let prepared = managed.swap.take().is_some();
        managed.serving = Some(current);
        if managed.memory.committed != number {
            managed.memory.committed = number;
            self.save_memory(name);
        }
        self.unpublished = true;
        if prepared {
            self.step(name, number, StepKind::Committed, "every paired node holds it".to_owned());
        }
    }

    pub(super) fn prepared_on(&mut self, name: &str, node_id: &str, generation: u64) {
        if let Some(swap) = self.swap_to(name, generation) {
            swap.prepared(node_id);
            self.advance_swap(name);
        }
    }

    /// A node refused what it was to hold; tells whether that was all about a swap under way. One node's own
    /// trouble does not hold up the others, a fault of the generation stops it everywhere.
    pub(super) fn refused_before_commit(
        &mut self,
        name: &str,
        node_id: &str,
        generation: u64,
        reason: NackReason,
        text: &str,
    ) -> bool {
        let nodes_own = is_nodes_own(reason);
        let Some(swap) = self.swap_to(name, generation) else { return false };
        if nodes_own {
            swap.excuse(node_id);
            tracing::warn!(
                certificate = name,
                node = node_id,
                generation,
                text,
                "swapping without this node"
            );
            self.advance_swap(name);
        } else {
            let text = format!("refused by {node_id}: {text}; no node serves it");
            self.quarantine(name, generation, Fault::Issued(text), |_| true);
        }
        true
    }

    pub(super) fn node_left(&mut self, node_id: &str) {
        for name in self.certificates.keys().cloned().collect::<Vec<_>>() {
            if let Some(swap) = self.certificates.get_mut(&name).and_then(|managed| managed.swap.as_mut()) {
                swap.left(node_id);
                self.advance_swap(&name);
            }
        }
    }

    fn swap_to(&mut self, name: &str, generation: u64) -> Option<&mut Swap> {
        let swap = self.certificates.get_mut(name)?.swap.as_mut()?;
        (swap.generation() == generation).then_some(swap)
    }

    /// After a restart: what was not committed is prepared anew, on the nodes that come back.
    pub(super) fn resume_swaps(&mut self) {
        let now = self.clock.now();
        for (name, managed) in &mut self.certificates {
            let Some(current) = managed.current.clone() else { continue };
            let committed = managed.memory.committed;
            managed.serving = Some(Arc::clone(&current));
            if committed == current.number || committed == 0 || managed.goes_nowhere() {
                continue;
            }
            let before = managed.store.generation(committed).ok().map(Arc::new);
            let Some(before) = before.filter(|before| managed.is_deliverable(before, now)) else { continue };
            let served_by = self.records.nodes().filter(|(_, node)| {
                node.certificates.get(name).is_some_and(|record| record.acknowledged == committed)
            });
            let awaited = served_by.map(|(id, _)| id.to_owned()).collect();
            let started = Instant::now();
            managed.serving = Some(before);
            managed.swap = Some(Box::new(Swap::new(current.number, awaited, started)));
            let patience = started + self.config.delivery.ack_timeout;
            self.runs.push(std::cmp::Reverse((patience, Arc::clone(&managed.name))));
        }
    }
}

/// A refusal for the node's own reasons says nothing about the generation.
pub(super) fn is_nodes_own(reason: NackReason) -> bool {
    matches!(reason, NackReason::Internal | NackReason::StaleGeneration)
}
