//! The drill of going back to the last good generation.

use std::sync::Arc;

use sealwire_proto::v1::StepKind;

use super::Drill;
use crate::delivery::{Bundle, SHADOW_NUMBER};
use crate::store::Generation;

impl Drill {
    pub(super) async fn rollback(&self) -> Result<String, String> {
        let current = self
            .facts
            .current
            .as_ref()
            .ok_or("it has no generation yet: there is nothing to go back from")?;
        let text = format!("going back from generation {} is rehearsed", current.number);
        self.report.step(StepKind::Started, text).await;
        let now = self.facts.now;
        let older = self
            .facts
            .store
            .newest_whole(&self.facts.subject.memory, |older| {
                older.number < current.number && older.is_valid_at(now)
            })
            .map_err(|error| error.to_string())?
            .ok_or(
                "no older generation is whole, valid and unrevoked: a bad renewal could not be taken back",
            )?;
        let (number, left) = (older.number, older.not_after().duration_since(now));
        let text = format!("generation {number}, valid for another {}", crate::lifecycle::span(left));
        self.report.step(StepKind::RolledBack, text).await;
        let issuer = self.facts.sources.iter().find(|source| source.issuer.name() == older.metadata.issuer);
        let trust_anchors = issuer.map(|source| Arc::clone(&source.roots)).unwrap_or_default();
        let generation = Arc::new(Generation { number: SHADOW_NUMBER + number, ..older });
        let done = self.deliver(Bundle { generation, trust_anchors, staple: None }).await?;
        Ok(format!("generation {number} could be served again: {done}"))
    }
}
