//! Drills on one node: a shadow is sent, acknowledged, and looked for by handshakes of its own. What is served
//! is not touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealwire_proto::v1::{BundleUse, Discard, agent_message};

use super::{Closed, Connection, Probed};
use crate::delivery::slot::Saw;
use crate::delivery::{Event, Outcome, Shadow, Wishes, prove, route};

/// The shadows on one node, by name of the certificate.
#[derive(Debug, Default)]
pub(super) struct Shadows(BTreeMap<String, Shadow>);

impl Connection {
    /// Compares the shadows that are wanted with those that were sent.
    pub(super) async fn cast_shadows(&mut self, wishes: &Wishes) -> Result<(), Closed> {
        let node = &self.node.id;
        let wanted = |name: &str, number: u64| {
            wishes.shadows.get(name).is_some_and(|shadow| shadow.bundle.generation.number == number)
        };
        let over: Vec<_> = self
            .shadows
            .0
            .iter()
            .filter(|(name, shadow)| !wanted(name, shadow.bundle.generation.number))
            .map(|(name, shadow)| (name.clone(), shadow.bundle.generation.number))
            .collect();
        let new: Vec<_> = wishes
            .shadows
            .iter()
            .filter(|(_, shadow)| shadow.nodes.contains(node))
            .map(|(name, shadow)| (name.clone(), shadow.clone()))
            .collect();
        for (certificate, generation) in over {
            self.shadows.0.remove(&certificate);
            self.send(agent_message::Body::Discard(Discard { certificate, generation })).await?;
        }
        for (name, shadow) in new {
            if self.shadows.0.contains_key(&name) {
                continue;
            }
            let bundle = shadow.bundle.message(&shadow.config, BundleUse::Shadow, true);
            self.shadows.0.insert(name.clone(), shadow.clone());
            self.send(agent_message::Body::Bundle(bundle)).await?;
            self.shadow_outcome(&name, shadow.bundle.generation.number, Outcome::Pushed).await?;
        }
        Ok(())
    }

    /// The node took the shadow, or did not; if it did, it is looked for.
    pub(super) async fn shadow_answered(
        &mut self,
        certificate: &str,
        generation: u64,
        outcome: Outcome,
    ) -> Result<(), Closed> {
        let about = |shadow: &&Shadow| shadow.bundle.generation.number == generation;
        let Some(shadow) = self.shadows.0.get(certificate).filter(about).cloned() else { return Ok(()) };
        if matches!(outcome, Outcome::Acked { .. }) {
            let (node, name) = (Arc::clone(&self.node), certificate.to_owned());
            self.probes.spawn(async move {
                let names = route::names_to_prove(&shadow.config.identifiers, &node);
                let seen = prove::prove_shadow(&node, &names, &shadow.bundle.generation.chain).await;
                Probed { certificate: name, generation, seen }
            });
        }
        self.shadow_outcome(certificate, generation, outcome).await
    }

    pub(super) async fn shadow_probed(
        &mut self,
        certificate: &str,
        generation: u64,
        seen: Result<Saw, String>,
    ) -> Result<(), Closed> {
        let outcome = match seen {
            Ok(saw) => {
                let took = saw.took.as_secs_f64() * 1000.0;
                Outcome::Proven { detail: format!("the shadow was seen by a handshake of {took:.1} ms") }
            }
            Err(error) => Outcome::Unproven { error },
        };
        self.shadow_outcome(certificate, generation, outcome).await
    }

    async fn shadow_outcome(&self, name: &str, generation: u64, outcome: Outcome) -> Result<(), Closed> {
        let (node_id, certificate) = (self.node.id.clone(), name.to_owned());
        self.tell(Event::Shadow { node_id, certificate, generation, outcome }).await
    }
}
