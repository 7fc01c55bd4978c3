//! What a node is told besides certificates: whom to trust, what is revoked, and to stop. Each is sent when it
//! differs from what was sent on this connection; a new connection starts with nothing sent.

use std::collections::BTreeMap;

use sealwire_proto::anchors::roots_sha256;
use sealwire_proto::v1::{ClientTrust, ClientTrusted, Halt, Resume, Revoked, Trust, agent_message};

use super::{Closed, Connection};
use crate::delivery::client_roots::ClientRoots;
use crate::delivery::slot::Digest;
use crate::delivery::{Deliverable, Distrust, HaltOrder, Wishes};

/// What was sent on this connection.
#[derive(Debug, Default)]
pub(super) struct Told {
    trust: BTreeMap<String, Digest>,
    client_trust: Option<Digest>,
    distrust: BTreeMap<String, Distrust>,
    halt: Option<HaltOrder>,
    /// A node may be halted by an order that was taken back while it was away.
    resumed: bool,
}

impl Connection {
    pub(super) async fn tell_trust(&mut self, wishes: &Wishes) -> Result<(), Closed> {
        for (issuer, roots) in &wishes.trust {
            let digest = roots_sha256(roots);
            if self.told.trust.insert(issuer.clone(), digest) == Some(digest) {
                continue;
            }
            let roots = roots.iter().map(|root| root.to_vec()).collect();
            self.send(agent_message::Body::Trust(Trust { issuer: issuer.clone(), roots })).await?;
        }
        Ok(())
    }

    /// Also that there are none: the node may remember those of an earlier agent.
    pub(super) async fn tell_client_trust(&mut self, roots: &ClientRoots) -> Result<(), Closed> {
        self.told.client_trust = Some(roots_sha256(roots));
        let roots = roots.iter().map(|root| root.to_vec()).collect();
        self.send(agent_message::Body::ClientTrust(ClientTrust { roots })).await
    }

    pub(super) fn client_trusted(&self, trusted: &ClientTrusted) {
        let roots = self.delivery.client_roots.borrow().len();
        if self.told.client_trust.as_ref().is_some_and(|told| told[..] == trusted.roots_sha256) && roots > 0 {
            tracing::info!(
                node = self.node.id,
                roots,
                "the node checks clients against delivery.client_roots"
            );
        }
    }

    pub(super) async fn tell_distrust(&mut self, name: &str, wish: &Deliverable) -> Result<(), Closed> {
        let Some(distrust) = &wish.distrust else { return Ok(()) };
        if self.told.distrust.get(name) == Some(distrust) {
            return Ok(());
        }
        self.told.distrust.insert(name.to_owned(), distrust.clone());
        let generation = &wish.serve.generation;
        let revoked = Revoked {
            certificate: name.to_owned(),
            generation: distrust.generation,
            leaf_sha256: generation.leaf.sha256.to_vec(),
            reason: distrust.reason.clone(),
            halt: distrust.halt,
        };
        self.send(agent_message::Body::Revoked(revoked)).await
    }

    pub(super) async fn tell_halt(&mut self, wishes: &Wishes) -> Result<(), Closed> {
        let wanted = wishes.halts.get(&self.node.id);
        match wanted {
            Some(order) if self.told.halt.as_ref() != Some(order) => {
                self.told.halt = Some(order.clone());
                let halt = Halt { by: order.by.clone(), reason: order.reason.clone() };
                self.send(agent_message::Body::Halt(halt)).await
            }
            None if self.told.halt.take().is_some() || !self.told.resumed => {
                self.told.resumed = true;
                self.send(agent_message::Body::Resume(Resume { by: "the agent".to_owned() })).await
            }
            _ => Ok(()),
        }
    }
}
