//! Delivery: what each paired node should serve, has acknowledged, and was proven to serve.
//!
//! Nodes dial in ([`server`]); for each node and certificate a pure state machine ([`slot`]) compares what is
//! desired with what the node holds, so that delivery depends on the present difference only and a lost
//! message or a restart on either side heals by itself.

pub mod client_roots;
mod connection;
pub mod hello;
pub mod prove;
pub mod record;
pub mod route;
pub mod sds;
pub mod server;
pub mod slot;
pub mod swap;
pub mod tell;

pub use tell::nack_text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::{self, NackReason};
use serde::{Deserialize, Serialize};

use crate::config::{CertificateConfig, OcspMode};
use crate::store::Generation;

/// What is wanted of all nodes now. The agent replaces it as a whole.
pub type Desired = Arc<Wishes>;

/// What is wanted of nodes: connections compare it with what they have sent, so that a node that comes back is
/// told all over again.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Certificates by name.
    pub certificates: BTreeMap<String, Deliverable>,
    /// Nodes that an operator has halted, by id.
    pub halts: BTreeMap<String, HaltOrder>,
    /// The roots of internal issuers, by name.
    pub trust: BTreeMap<String, Arc<[CertificateDer<'static>]>>,
    /// What is rehearsed, by name of the certificate.
    pub shadows: BTreeMap<String, Shadow>,
}

/// An operator's word to a node to stop, until it is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltOrder {
    /// Who gave it: a user of this machine.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A generation of a drill: presented to the drill's own handshakes only.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// Which; its number is [`SHADOW_NUMBER`] or more.
    pub bundle: Bundle,
    /// The certificate that is rehearsed.
    pub config: Arc<CertificateConfig>,
    /// The nodes that it goes to.
    pub nodes: Vec<String>,
}

/// Numbers of shadows begin here: no generation comes so far, and answers cannot be mistaken.
pub const SHADOW_NUMBER: u64 = 1 << 62;

/// One certificate as it should be served.
#[derive(Clone, Debug)]
pub struct Deliverable {
    /// What it is for, and the nodes it goes to.
    pub config: Arc<CertificateConfig>,
    /// What should be served.
    pub serve: Bundle,
    /// What should be held by all nodes before it is served by any.
    pub candidate: Option<Bundle>,
    /// What is served is revoked.
    pub distrust: Option<Distrust>,
}

/// A generation with what goes with it.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The generation.
    pub generation: Arc<Generation>,
    /// Roots its chain builds to; empty for a public CA.
    pub trust_anchors: Arc<[CertificateDer<'static>]>,
    /// The OCSP response to present with it, if there is one that may be presented.
    pub staple: Option<Arc<Staple>>,
}

/// Why a generation is no longer trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// Which.
    pub generation: u64,
    /// In words: the reason of the revocation and who says so.
    pub reason: String,
    /// Nodes should stop rather than go on serving it.
    pub halt: bool,
}

impl Deliverable {
    /// Whether this certificate goes to that node.
    #[must_use]
    pub fn is_for(&self, node: &NodeInfo) -> bool {
        route::goes_to(&self.config, node)
    }

    /// The bundle of a generation, as long as it is wanted.
    #[must_use]
    pub fn bundle(&self, generation: u64) -> Option<&Bundle> {
        [Some(&self.serve), self.candidate.as_ref()]
            .into_iter()
            .flatten()
            .find(|bundle| bundle.generation.number == generation)
    }

    /// As the slots of nodes want it.
    #[must_use]
    pub fn wanted(&self) -> slot::Wanted {
        slot::Wanted {
            serve: self.serve.leaf(),
            staple: self.serve.staple_sha256(),
            prepare: self
                .candidate
                .as_ref()
                .map(|candidate| slot::Prepare { leaf: candidate.leaf(), staple: candidate.staple_sha256() }),
        }
    }
}

impl Bundle {
    fn leaf(&self) -> slot::Leaf {
        slot::Leaf { generation: self.generation.number, sha256: self.generation.leaf.sha256 }
    }

    fn staple_sha256(&self) -> Option<slot::Digest> {
        self.staple.as_ref().map(|staple| staple.sha256)
    }

    /// As it goes over the wire; wiped when the message is dropped.
    #[must_use]
    pub fn message(&self, config: &CertificateConfig, usage: v1::BundleUse, with_staple: bool) -> v1::Bundle {
        let staple = self.staple.as_ref().filter(|_| with_staple);
        v1::Bundle {
            certificate: config.name.clone(),
            generation: self.generation.number,
            chain: self.generation.chain.iter().map(|one| one.to_vec()).collect(),
            key: self.generation.key.to_vec(),
            trust_anchors: self.trust_anchors.iter().map(|one| one.to_vec()).collect(),
            staple: staple.map(|staple| staple.response.clone()).unwrap_or_default(),
            staple_policy: staple_policy(config.ocsp).into(),
            staple_grace_s: config.ocsp_grace.as_secs(),
            r#use: usage.into(),
        }
    }
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
    /// Those of them that want a PROXY protocol header first.
    pub proxied: Vec<String>,
    /// Which certificates go to it.
    pub takes: Takes,
}

/// How it is known which certificates go to a node, and so what kind of node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// By the names that it must serve: a node of ours.
    Served,
    /// It asks for them by their own names: a client of the discovery service.
    Asked(BTreeSet<String>),
    /// One: a target of the configuration.
    Deployed(String),
}

impl NodeInfo {
    /// Whether it speaks our protocol: it can be halted, tells of itself, holds shadows and confirms roots.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.takes == Takes::Served
    }
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On its way.
    Pushed,
    /// Validated and held; what is served is as before.
    Prepared {
        /// What the node took for the checks, in microseconds.
        validate_micros: u64,
    },
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
    /// A handshake saw the staple that is wanted.
    Stapled,
    /// The node will not present the staple, or no handshake sees it.
    StapleRefused {
        /// Why.
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
    /// A rehearsal came further, or did not.
    Shadow {
        /// On which node.
        node_id: String,
        /// Of what.
        certificate: String,
        /// Which shadow.
        generation: u64,
        /// How far.
        outcome: Outcome,
    },
    /// A node uses these roots of an internal issuer.
    Trusted {
        /// Who.
        node_id: String,
        /// Whose roots.
        issuer: String,
        /// Which: [`sealwire_proto::anchors::roots_sha256`].
        roots_sha256: slot::Digest,
    },
    /// A peer was refused by the allow list.
    Refused,
}

/// Waits for an instant, or for ever.
pub(crate) async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
