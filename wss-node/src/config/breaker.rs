//! `[breaker]`

use std::time::Duration;

use sealwire_config::{Fault, duration};
use serde::Deserialize;

/// `[breaker]`: what halts state propagation, and how carefully it begins again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// What is served has expired.
    pub expired: Reaction,
    /// What is served is not valid yet.
    pub not_yet_valid: Reaction,
    /// A name that was served no longer is.
    pub name_mismatch: Reaction,
    /// What is served is revoked and the agent says that this halts.
    pub revoked: Reaction,
    /// A staple is required, and there has been none for longer than the grace.
    pub staple_stale: Reaction,
    /// How long sessions stay while it is open, before they are closed with 1013.
    #[serde(deserialize_with = "duration")]
    pub hold: Duration,
    /// How long the causes must have been gone before a proof is made.
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    /// Proofs in a row that must succeed before it closes.
    pub proofs: u32,
}

/// What a cause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    /// Opens the breaker.
    Trip,
    /// Is reported and logged only.
    Warn,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            expired: Reaction::Trip,
            not_yet_valid: Reaction::Trip,
            name_mismatch: Reaction::Trip,
            revoked: Reaction::Trip,
            staple_stale: Reaction::Trip,
            hold: Duration::from_secs(30),
            settle: Duration::from_secs(1),
            proofs: 1,
        }
    }
}

impl BreakerConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if !(1..=100).contains(&self.proofs) {
            let message = format!("{} is out of range, expected 1 to 100", self.proofs);
            return Err(Fault::new(&["breaker", "proofs"], message));
        }
        Ok(())
    }
}
