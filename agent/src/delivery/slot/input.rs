//! What a slot is told, and what it says to do.

use std::time::Duration;

use sealwire_proto::v1::NackReason;

use crate::config::ProofBy;
use crate::delivery::Outcome;

/// SHA-256.
pub type Digest = [u8; 32];

/// A generation and the SHA-256 of its leaf: the number alone could be another store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Number.
    pub generation: u64,
    /// SHA-256 of the leaf's DER.
    pub sha256: Digest,
}

/// What is wanted of a node for one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What should be served.
    pub serve: Leaf,
    /// The staple to present with it.
    pub staple: Option<Digest>,
    /// What should be held besides, to be swapped in once all nodes hold it.
    pub prepare: Option<Prepare>,
}

/// A generation to be held, and the staple that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// What.
    pub leaf: Leaf,
    /// Its staple, if there is one yet.
    pub staple: Option<Digest>,
}

/// What a node said it holds when it paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it serves.
    pub leaf: Leaf,
    /// The staple it presents.
    pub staple: Option<Digest>,
}

/// What a handshake saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saw {
    /// The leaf.
    pub leaf: Digest,
    /// The staple.
    pub staple: Option<Digest>,
    /// How long the handshake took.
    pub took: Duration,
}

/// The limits of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From push to ack.
    pub ack: Duration,
    /// From ack to proof.
    pub proof: Duration,
    /// Whose handshake counts.
    pub proof_by: ProofBy,
    /// Whether the node does a handshake of its own after a swap, before which the agent need not look.
    pub node_looks: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// This is wanted.
    Want(Wanted),
    /// The node validated it and holds it.
    Prepared {
        /// Which.
        generation: u64,
        /// What the checks took.
        validate_micros: u64,
    },
    /// The node swapped it in.
    Acked {
        /// Which.
        generation: u64,
        /// What the checks took.
        validate_micros: u64,
        /// What the swap took.
        swap_micros: u64,
    },
    /// The node refused it.
    Nacked {
        /// Which.
        generation: u64,
        /// Why.
        reason: NackReason,
        /// In its words.
        detail: String,
    },
    /// The node presents a staple from now on.
    Stapled {
        /// With which generation.
        generation: u64,
        /// Which.
        staple: Digest,
    },
    /// The node will not present the staple that it was sent.
    StapleNacked {
        /// With which generation.
        generation: u64,
        /// Why.
        detail: String,
    },
    /// The node's handshake on its own listener.
    NodeSaw {
        /// Which generation it looked for.
        generation: u64,
        /// What it saw, or what went wrong.
        seen: Result<Saw, String>,
    },
    /// The agent's handshake.
    AgentSaw {
        /// Which generation it looked for.
        generation: u64,
        /// What it saw, or what went wrong.
        seen: Result<Saw, String>,
    },
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the generation to be swapped in at once.
    Push {
        /// Which.
        generation: u64,
        /// Whether its number is lower than what the node holds.
        rollback: bool,
        /// Whether its staple goes with it.
        with_staple: bool,
    },
    /// Send the generation to be held.
    Prepare {
        /// Which.
        generation: u64,
        /// Whether its number is lower than what the node holds.
        rollback: bool,
        /// Whether its staple goes with it.
        with_staple: bool,
    },
    /// Have the node swap in what it holds.
    Commit {
        /// Which.
        generation: u64,
    },
    /// Have the node forget what it holds.
    Discard {
        /// Which.
        generation: u64,
    },
    /// Send the staple.
    Staple {
        /// For which.
        generation: u64,
    },
    /// Do a handshake.
    Probe {
        /// Looking for which.
        generation: u64,
    },
    /// Tell the agent.
    Report {
        /// About which.
        generation: u64,
        /// What.
        outcome: Outcome,
    },
    /// Close the connection: the node is stuck.
    Disconnect,
}
