//! Drills as the loop sees them: what they may know, and the shadows that nodes hold for them.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Agent;
use super::issuers::Source;
use crate::delivery::{Outcome, Shadow};
use crate::drill::{Facts, Roots, ShadowNews, Source as DrillSource};
use crate::issuer::Issuer;

/// A shadow that nodes hold, and the drill that waits for news of it.
pub(super) struct ActiveShadow {
    pub(super) shadow: Shadow,
    news: mpsc::Sender<ShadowNews>,
}

impl Agent {
    /// What a drill of this certificate works with.
    pub(super) fn drill_facts(&self, certificate: &str) -> Result<Facts, String> {
        let managed = self.one(certificate)?;
        let sources = managed.policy.issuers.iter().filter_map(|name| self.drill_source(name));
        let delivery = &self.config.delivery;
        Ok(Facts {
            now: self.now_for(&managed.config.name),
            config: Arc::clone(&managed.config),
            current: managed.current.clone(),
            serving: managed.serving.clone(),
            store: managed.store.clone(),
            subject: managed.subject(),
            issuers: self.issuers.clone(),
            // The others can present nothing to a drill alone.
            nodes: self
                .targets(managed)
                .filter(|node| node.info.is_ours())
                .map(|node| node.info.clone())
                .collect(),
            sources: sources.collect(),
            revocation: self.config.revocation.limits(),
            clock: Arc::clone(&self.clock),
            patience: delivery.ack_timeout + delivery.proof_timeout,
        })
    }

    fn drill_source(&self, name: &str) -> Option<DrillSource> {
        let of = |name: &str| self.sources.get(name).map(handles);
        let (issuer, roots) = of(name)?;
        let acme = self.config.acme.get(name);
        let rehearsal = acme.and_then(|acme| of(acme.rehearsal.as_deref()?));
        Some(DrillSource { issuer, roots, rehearsal, is_acme: acme.is_some() })
    }

    /// Nodes get the shadow; one drill per certificate at a time.
    pub(super) fn cast_shadow(
        &mut self,
        shadow: Shadow,
        news: mpsc::Sender<ShadowNews>,
    ) -> Result<(), String> {
        let name = shadow.config.name.clone();
        // A drill that was abandoned holds up no other.
        if self.shadows.get(&name).is_some_and(|active| !active.news.is_closed()) {
            return Err(format!("another drill of {name} is going on"));
        }
        self.shadows.insert(name, ActiveShadow { shadow, news });
        self.unpublished = true;
        Ok(())
    }

    pub(super) fn end_shadow(&mut self, certificate: &str) {
        self.unpublished |= self.shadows.remove(certificate).is_some();
    }

    pub(super) fn shadow_news(
        &mut self,
        certificate: &str,
        generation: u64,
        node_id: String,
        outcome: Outcome,
    ) {
        let Some(active) = self.shadows.get(certificate) else { return };
        if active.shadow.bundle.generation.number == generation {
            // A drill that does not read its news will see that time is up.
            let _ = active.news.try_send((node_id, outcome));
        }
    }
}

fn handles(source: &Source) -> (Arc<dyn Issuer>, Roots) {
    (Arc::clone(&source.issuer), Arc::clone(&source.trust))
}
