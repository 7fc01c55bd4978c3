//! What the agent says of itself.

use std::ops::Bound;

use jiff::Timestamp;
use sealwire_proto::v1::{
    BreakerState, CertificateStatus, DeliveryStatus, GenerationStatus, NodeStatus, StatusReply,
};

use super::managed::Managed;
use super::{Agent, Connected, STATUS_PART};
use crate::delivery::record::Record;
use crate::delivery::{Takes, route};
use crate::incident::Incident;
use crate::lifecycle::{self, Action};

impl Agent {
    /// The certificates after this one, and before them the agent as a whole.
    pub(super) fn status(&self, after: Option<&str>) -> StatusReply {
        let now = self.clock.now();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let part = self.certificates.range::<str, _>((from, Bound::Unbounded)).take(STATUS_PART);
        let certificates = part.map(|(_, managed)| self.certificate(managed, now)).collect();
        if after.is_some() {
            return StatusReply { certificates, ..StatusReply::default() };
        }
        StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now_ms: now.as_millisecond(),
            started_ms: self.started_at.as_millisecond(),
            pid: std::process::id(),
            state_dir: self.config.state_dir.display().to_string(),
            delivery_socket: self.config.delivery.socket.display().to_string(),
            certificates,
            nodes: self.nodes(),
            refused_peers: self.refused_peers,
            panics: self.panics,
            incidents: self.incidents.open().map(Incident::to_message).collect(),
            role: self.role(),
        }
    }

    fn certificate(&self, managed: &Managed, now: Timestamp) -> CertificateStatus {
        let refusal = managed.refusal();
        let failure = managed.memory.last_failure.as_ref();
        let (next_action, next_at) = next(managed, now);
        CertificateStatus {
            name: managed.config.name.clone(),
            identifiers: managed.config.identifiers.clone(),
            issuers: managed.config.issuers.clone(),
            current: managed.current.as_ref().map(|generation| GenerationStatus {
                generation: generation.number,
                serial: generation.leaf.serial.clone(),
                leaf_sha256: generation.leaf.sha256.to_vec(),
                not_before_ms: generation.not_before().as_millisecond(),
                not_after_ms: generation.not_after().as_millisecond(),
                issuer: generation.metadata.issuer.clone(),
                stored_ms: generation.metadata.stored_at.as_millisecond(),
            }),
            next_action,
            next_at_ms: next_at.as_millisecond(),
            why: managed.decision.as_ref().map(lifecycle::Decision::why).unwrap_or_default(),
            failures: managed.memory.failures,
            last_error: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
            last_error_ms: failure.map_or(0, |failure| failure.at.as_millisecond()),
            quarantined_generation: refusal.map_or(0, |refusal| refusal.generation),
            quarantine_reason: refusal.map(|refusal| refusal.reason.clone()).unwrap_or_default(),
            deliveries: self.deliveries(managed),
            state: self.state(managed, now).to_owned(),
            orders: managed.memory.orders,
            revocation: self.revocation_status(managed),
        }
    }

    /// One word, the worst first.
    pub(super) fn state(&self, managed: &Managed, now: Timestamp) -> &'static str {
        let Some(current) = &managed.current else {
            return match (managed.obtaining, managed.memory.failures) {
                (true, _) => "obtaining",
                (false, 0) => "missing",
                (false, _) => "failing",
            };
        };
        if !current.is_valid_at(now) {
            return "expired";
        }
        if managed.revoked().is_some() {
            return "revoked";
        }
        if managed.refusal().is_some() {
            return "refused";
        }
        if managed.obtaining {
            return "obtaining";
        }
        if managed.memory.failures > 0 {
            return "failing";
        }
        if managed.goes_nowhere() {
            return "stored";
        }
        if self.unproven_on(managed, current.number).is_empty() {
            return "proven";
        }
        if managed.is_running() { "delivering" } else { "unproven" }
    }

    fn deliveries(&self, managed: &Managed) -> Vec<DeliveryStatus> {
        let name = &managed.config.name;
        let remembered =
            self.records.nodes().filter_map(|(id, node)| Some((id, node.certificates.get(name)?)));
        let mut all: Vec<_> = remembered.map(|(id, record)| self.delivery(id, record)).collect();
        let fresh = self.targets(managed).filter(|node| self.records.of(&node.info.id, name).is_none());
        all.extend(fresh.map(|node| self.delivery(&node.info.id, &Record::default())));
        all
    }

    fn delivery(&self, node_id: &str, record: &Record) -> DeliveryStatus {
        let nack = record.nack.as_ref();
        DeliveryStatus {
            node_id: node_id.to_owned(),
            desired: record.desired,
            acknowledged: record.acknowledged,
            serving: record.serving,
            proven_ms: record.proven_at.map_or(0, Timestamp::as_millisecond),
            connected: self.nodes.contains_key(node_id),
            nacked: nack.map_or(0, |nack| nack.generation),
            nack_reason: nack.map(|nack| nack.reason.clone()).unwrap_or_default(),
            nack_detail: nack.map(|nack| nack.detail.clone()).unwrap_or_default(),
            proof_error: record.proof_error.clone().unwrap_or_default(),
            prepared: record.prepared,
            stapled: record.stapled,
        }
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let paired = self.nodes.values().map(|node| self.node(node));
        let away = self.records.nodes().filter(|(id, _)| !self.nodes.contains_key(*id));
        let away = away.map(|(id, record)| NodeStatus {
            node_id: id.to_owned(),
            since_ms: record.seen_at.as_millisecond(),
            ..NodeStatus::default()
        });
        paired.chain(away).collect()
    }

    /// Whether the current generation was seen in service there.
    pub(super) fn is_proven_on(&self, node_id: &str, name: &str) -> bool {
        let current = self.certificates.get(name).and_then(|managed| managed.current.as_ref());
        let record = self.records.of(node_id, name);
        current.zip(record).is_some_and(|(current, record)| record.serving == current.number)
    }

    /// A node of ours says so itself; others are when all that goes to them was seen there.
    fn is_ready(&self, node: &Connected) -> bool {
        let serves = |name: &String| self.is_proven_on(&node.info.id, name);
        match &node.info.takes {
            Takes::Served => node.report.ready,
            Takes::Asked(names) => names.iter().all(serves),
            Takes::Deployed(name) => serves(name),
        }
    }

    fn node(&self, node: &Connected) -> NodeStatus {
        let identifiers = || self.certificates.values().flat_map(|managed| &managed.config.identifiers);
        let uncovered = node
            .info
            .server_names
            .iter()
            .filter(|name| !identifiers().any(|identifier| route::covers(identifier, name)));
        let breaker = node.report.breaker.as_ref();
        NodeStatus {
            node_id: node.info.id.clone(),
            connected: true,
            version: node.info.version.clone(),
            server_names: node.info.server_names.clone(),
            listeners: node.info.listeners.clone(),
            since_ms: node.since.as_millisecond(),
            ready: self.is_ready(node),
            sessions: node.report.sessions,
            handshakes: node.report.handshakes,
            handshake_failures: node.report.handshake_failures,
            uncovered_names: uncovered.cloned().collect(),
            breaker: breaker.map(|breaker| breaker_word(breaker.state()).to_owned()).unwrap_or_default(),
            breaker_detail: breaker.map(|breaker| breaker.detail.clone()).unwrap_or_default(),
        }
    }
}

fn breaker_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Unspecified => "",
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half-open",
    }
}

fn next(managed: &Managed, now: Timestamp) -> (String, Timestamp) {
    match &managed.decision {
        _ if managed.obtaining => ("obtaining".to_owned(), now),
        Some(decision) => match &decision.action {
            Action::Obtain { issuer } => (format!("obtain from {issuer}"), decision.at),
            Action::Rehearse { at, .. } => (format!("rehearse at {at}"), decision.at),
            Action::AskRenewalInfo { .. } | Action::Wait => ("renew".to_owned(), decision.at),
        },
        None => (String::new(), now),
    }
}
