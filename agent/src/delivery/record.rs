//! What is remembered of each node over restarts: desired, acknowledged and serving generation of every
//! certificate, and the last refusal. The truth is with the nodes; this is for people who ask while a node
//! is away, and for choosing what to roll back to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{HaltOrder, Outcome};

/// A node that was away for longer is forgotten: pods come back under new names.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24 * 7);

/// All nodes ever seen (and not forgotten).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Records {
    nodes: BTreeMap<String, NodeRecord>,
    /// Nodes that an operator has halted, whether they are paired or not.
    #[serde(default)]
    pub halts: BTreeMap<String, HaltOrder>,
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// When it was last connected or disconnected.
    pub seen_at: Timestamp,
    /// Whether it is a server that is not ours: a target, or a client of the discovery service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    /// By name of the certificate.
    pub certificates: BTreeMap<String, Record>,
}

/// One certificate on one node. Numbers are generations; 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What it should serve.
    pub desired: u64,
    /// What it validated and holds, to be swapped in.
    pub prepared: u64,
    /// What it validated and swapped in.
    pub acknowledged: u64,
    /// What a handshake saw.
    pub serving: u64,
    /// Whether a handshake saw the staple that is wanted with it.
    pub stapled: bool,
    /// When the handshake saw it.
    pub proven_at: Option<Timestamp>,
    /// The last refusal of the desired generation or a later one.
    pub nack: Option<Nack>,
    /// Why the proof failed, while it does.
    pub proof_error: Option<String>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nack {
    /// What was refused.
    pub generation: u64,
    /// Its name on the wire.
    pub reason: String,
    /// In the node's words.
    pub detail: String,
}

impl Records {
    /// Nodes by id.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeRecord)> {
        self.nodes.iter().map(|(id, node)| (id.as_str(), node))
    }

    /// What is known of one certificate on one node.
    #[must_use]
    pub fn of(&self, node_id: &str, certificate: &str) -> Option<&Record> {
        self.nodes.get(node_id)?.certificates.get(certificate)
    }

    /// Notes that a node is (or was) there, and forgets those long gone, except who is `connected`.
    pub fn seen(&mut self, node_id: &str, foreign: bool, now: Timestamp, connected: impl Fn(&str) -> bool) {
        let node = self.nodes.entry(node_id.to_owned()).or_insert_with(|| NodeRecord::new(now));
        (node.seen_at, node.foreign) = (now, foreign);
        self.nodes.retain(|id, node| connected(id) || now.duration_since(node.seen_at) <= FORGOTTEN_AFTER);
    }

    /// Takes in what became of a delivery.
    pub fn apply(
        &mut self,
        node_id: &str,
        certificate: &str,
        generation: u64,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let node = self.nodes.entry(node_id.to_owned()).or_insert_with(|| NodeRecord::new(now));
        let record = node.certificates.entry(certificate.to_owned()).or_default();
        record.desired = generation;
        match outcome {
            Outcome::Pushed | Outcome::Unanswered => record.proof_error = None,
            Outcome::Prepared { .. } => record.prepared = generation,
            Outcome::Acked { .. } => {
                record.acknowledged = generation;
                record.prepared = 0;
                record.stapled = false;
            }
            Outcome::Stapled => record.stapled = true,
            Outcome::StapleRefused { .. } => record.stapled = false,
            Outcome::Nacked { reason, detail } => {
                let reason = reason.as_str_name().to_owned();
                record.nack = Some(Nack { generation, reason, detail: detail.clone() });
            }
            Outcome::Proven { .. } => {
                record.acknowledged = generation;
                record.serving = generation;
                record.proven_at = Some(now);
                record.proof_error = None;
                // A later generation was taken: the refusal is history.
                record.nack = record.nack.take().filter(|nack| nack.generation > generation);
            }
            Outcome::Unproven { error } => record.proof_error = Some(error.clone()),
        }
    }

    /// Drops what is said of certificates that are no longer configured.
    pub fn retain_certificates(&mut self, keep: impl Fn(&str) -> bool) {
        for node in self.nodes.values_mut() {
            node.certificates.retain(|name, _| keep(name));
        }
    }
}

impl NodeRecord {
    fn new(seen_at: Timestamp) -> Self {
        Self { seen_at, foreign: false, certificates: BTreeMap::new() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sealwire_proto::v1::NackReason;

    #[test]
    fn a_refusal_is_shown_until_a_later_generation_is_proven() {
        let now = Timestamp::UNIX_EPOCH;
        let mut records = Records::default();
        let proven = Outcome::Proven { detail: String::new() };
        records.apply("n", "web", 1, &proven, now);
        let nacked = Outcome::Nacked { reason: NackReason::Expired, detail: "old".into() };
        records.apply("n", "web", 2, &nacked, now);
        // Back to the last good one: it is served, and why is still told.
        records.apply("n", "web", 1, &proven, now);
        let record = records.of("n", "web").unwrap();
        assert_eq!((record.serving, record.nack.as_ref().unwrap().generation), (1, 2));
        records.apply("n", "web", 3, &proven, now);
        assert_eq!(records.of("n", "web").unwrap().nack, None);
    }

    #[test]
    fn nodes_long_gone_are_forgotten() {
        let day = |days: i64| Timestamp::from_second(days * 86400).unwrap();
        let mut records = Records::default();
        records.seen("old", false, day(0), |_| false);
        records.seen("steady", false, day(0), |_| false);
        records.seen("new", false, day(8), |id| id == "steady");
        let ids: Vec<_> = records.nodes().map(|(id, _)| id.to_owned()).collect();
        assert_eq!(ids, ["new", "steady"]);
    }
}
