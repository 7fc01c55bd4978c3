//! Delivery: what each paired node should serve, has acknowledged, and was proven to serve.
//!
//! Nodes dial in ([`server`]); for each node and certificate a pure state machine ([`slot`]) compares what is
//! desired with what the node holds, so that delivery depends on the present difference only and a lost
//! message or a restart on either side heals by itself.

pub mod prove;
pub mod record;
pub mod route;
pub mod server;
pub mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::{self, NackReason};

use crate::config::{CertificateConfig, OcspMode};
use crate::store::Generation;

/// What all nodes should serve now. The agent replaces it as a whole.
pub type Desired = Arc<BTreeMap<String, Deliverable>>;

/// One certificate as it should be served.
#[derive(Clone, Debug)]
pub struct Deliverable {
    /// What to deliver.
    pub generation: Arc<Generation>,
    /// What it is for, and the nodes it goes to.
    pub config: Arc<CertificateConfig>,
    /// Roots its chain builds to; empty for a public CA.
    pub trust_anchors: Arc<[CertificateDer<'static>]>,
    /// The OCSP response to present with it, if there is one that may be presented.
    pub staple: Option<Arc<Staple>>,
}

/// An OCSP response (RFC 6960) that was checked and may be presented with a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    /// DER.
    pub response: Vec<u8>,
    /// SHA-256 of the DER: how it is told apart on the wire and in a proof.
    pub sha256: [u8; 32],
    /// It is never presented after this.
    pub next_update: Timestamp,
}

impl Staple {
    /// A response that is good until `next_update`.
    #[must_use]
    pub fn new(response: Vec<u8>, next_update: Timestamp) -> Self {
        Self { sha256: sealwire_proto::validate::sha256(&response), response, next_update }
    }
}

/// As it goes over the wire.
fn staple_policy(mode: OcspMode) -> v1::StaplePolicy {
    match mode {
        OcspMode::Off => v1::StaplePolicy::Unspecified,
        OcspMode::Prefer => v1::StaplePolicy::Prefer,
        OcspMode::Require => v1::StaplePolicy::Require,
    }
}

impl Deliverable {
    /// Whether this certificate goes to that node.
    #[must_use]
    pub fn is_for(&self, node: &NodeInfo) -> bool {
        route::goes_to(&self.config, node)
    }

    /// As it goes over the wire; wiped when the message is dropped.
    #[must_use]
    pub fn bundle(&self, usage: v1::BundleUse) -> v1::Bundle {
        let der = |chain: &[CertificateDer<'_>]| chain.iter().map(|one| one.to_vec()).collect();
        v1::Bundle {
            certificate: self.generation.certificate.clone(),
            generation: self.generation.number,
            chain: der(&self.generation.chain),
            key: self.generation.key.to_vec(),
            trust_anchors: der(&self.trust_anchors),
            staple: self.staple.as_ref().map(|staple| staple.response.clone()).unwrap_or_default(),
            staple_policy: staple_policy(self.config.ocsp).into(),
            staple_grace_s: self.config.ocsp_grace.as_secs(),
            r#use: usage.into(),
        }
    }
}

/// What a node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id, unique among the nodes of an agent.
    pub id: String,
    /// Version of its software.
    pub version: String,
    /// Names it must be able to serve.
    pub server_names: Vec<String>,
    /// Where handshakes reach it.
    pub listeners: Vec<String>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On its way.
    Pushed,
    /// Validated and swapped in.
    Acked {
        /// What the node took for the checks, in microseconds.
        validate_micros: u64,
        /// And for the swap.
        swap_micros: u64,
    },
    /// Refused.
    Nacked {
        /// Why.
        reason: NackReason,
        /// In the node's words.
        detail: String,
    },
    /// A handshake saw exactly this generation.
    Proven {
        /// Whose handshake, and how long it took.
        detail: String,
    },
    /// No handshake saw it in time.
    Unproven {
        /// What the last handshake said.
        error: String,
    },
    /// Neither ack nor nack in time; the connection was closed so that the node dials anew.
    Unanswered,
}

/// What the delivery server tells the agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node paired.
    Connected {
        /// Tells this connection from an earlier one of the same node.
        connection: u64,
        /// Who.
        node: NodeInfo,
    },
    /// A node is gone.
    Disconnected {
        /// Which connection.
        connection: u64,
        /// Whose.
        node_id: String,
    },
    /// A node told how it is.
    Reported {
        /// Who.
        node_id: String,
        /// What.
        report: v1::Report,
    },
    /// A delivery came further, or did not.
    Delivery {
        /// To whom.
        node_id: String,
        /// Of what.
        certificate: String,
        /// Which generation.
        generation: u64,
        /// How far.
        outcome: Outcome,
    },
    /// A node uses the roots of an internal issuer.
    Trusted {
        /// Who.
        node_id: String,
        /// Whose roots.
        issuer: String,
        /// Which: [`sealwire_proto::anchors::roots_sha256`].
        roots_sha256: Vec<u8>,
    },
    /// A peer was refused by the allow list.
    Refused,
}
