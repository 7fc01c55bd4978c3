//! What the agent remembers about a certificate over restarts.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::issuer::ErrorClass;

/// Counters and the last bad news.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Attempts that failed in a row.
    pub failures: u32,
    /// The last of them.
    pub last_failure: Option<Failure>,
    /// Generations that were refused, the oldest first.
    pub quarantined: Vec<Quarantine>,
    /// Generations that were revoked, the oldest first: their keys are not used again.
    pub revoked: Vec<u64>,
    /// Orders placed in all.
    pub orders: u64,
}

/// How many refusals are remembered: more than generations are kept.
const REMEMBERED: usize = 8;

impl Memory {
    /// Whether a generation was refused.
    #[must_use]
    pub fn is_quarantined(&self, generation: u64) -> bool {
        self.quarantined.iter().any(|quarantine| quarantine.generation == generation)
    }

    /// Remembers a revocation.
    pub fn revoke(&mut self, generation: u64) {
        if !self.revoked.contains(&generation) {
            self.revoked.push(generation);
        }
        let surplus = self.revoked.len().saturating_sub(REMEMBERED);
        self.revoked.drain(..surplus);
    }

    /// Remembers a refusal.
    pub fn quarantine(&mut self, quarantine: Quarantine) {
        self.quarantined.push(quarantine);
        let surplus = self.quarantined.len().saturating_sub(REMEMBERED);
        self.quarantined.drain(..surplus);
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Whose fault.
    pub class: ErrorClass,
    /// What happened.
    pub message: String,
    /// What the CA said about coming back.
    pub retry_after: Option<Duration>,
}

/// A generation that must not be delivered again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Which.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}
