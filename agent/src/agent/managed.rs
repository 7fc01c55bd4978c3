//! One certificate in the agent's care.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::config::CertificateConfig;
use crate::delivery::{Deliverable, NodeInfo, route};
use crate::issuer::{ErrorClass, IssueError};
use crate::lifecycle::{self, Current, Decision, Facts, LastFailure, Policy, Request};
use crate::store::{CertificateStore, Failure, Generation, Memory, Quarantine};

/// A certificate: what is wanted, what there is, what is going on.
pub(super) struct Managed {
    pub(super) config: CertificateConfig,
    pub(super) policy: Policy,
    pub(super) store: CertificateStore,
    pub(super) memory: Memory,
    pub(super) current: Option<Arc<Generation>>,
    /// What was wrong with the stored generation at the start, until a new one is stored.
    pub(super) damage: Option<String>,
    /// The journal holds an order whose outcome is not known.
    pub(super) order_pending: bool,
    pub(super) request: Option<Request>,
    pub(super) obtaining: bool,
    pub(super) decision: Option<Decision>,
    seed: u64,
    run: Option<Run>,
}

/// From the start of an attempt to its proof.
#[derive(Clone, Copy, Debug)]
enum Run {
    Obtaining,
    Delivering { generation: u64, deadline: Instant },
}

impl Managed {
    pub(super) fn new(config: CertificateConfig, store: CertificateStore, memory: Memory, seed: u64) -> Self {
        let policy = Policy {
            identifiers: config.identifiers.clone(),
            issuers: config.issuers.clone(),
            renew_at: config.renew_at,
        };
        Self {
            config,
            policy,
            store,
            memory,
            current: None,
            damage: None,
            order_pending: false,
            request: None,
            obtaining: false,
            decision: None,
            seed,
            run: None,
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            current: self.current.as_ref().map(|generation| Current {
                generation: generation.number,
                issuer: generation.metadata.issuer.clone(),
                identifiers: generation.metadata.identifiers.clone(),
                not_before: generation.not_before(),
                not_after: generation.not_after(),
            }),
            damaged: self.damage.is_some(),
            quarantined: self.refusal().is_some(),
            order_pending: self.order_pending,
            failures: self.memory.failures,
            last_failure: self.memory.last_failure.as_ref().map(|failure| LastFailure {
                at: failure.at,
                class: failure.class,
                retry_after: failure.retry_after,
            }),
            request: self.request,
        }
    }

    /// The refusal of the newest generation, if it was refused: the current one, or one that we went back
    /// from.
    pub(super) fn refusal(&self) -> Option<&Quarantine> {
        let current = self.current.as_ref().map_or(0, |current| current.number);
        self.memory.quarantined.iter().rfind(|quarantine| quarantine.generation >= current)
    }

    pub(super) fn decide(&mut self, now: Timestamp) -> &Decision {
        let decision = lifecycle::decide(now, &self.facts(), &self.policy, self.seed);
        self.decision.insert(decision)
    }

    /// The generation whose key may serve for the next one.
    pub(super) fn reusable(&self) -> Option<&Arc<Generation>> {
        let current = self.current.as_ref().filter(|_| self.config.reuse_key)?;
        (!self.memory.revoked.contains(&current.number)).then_some(current)
    }

    /// The leaf that an order from `issuer` replaces (RFC 9773 section 5: from the same CA, with an identifier
    /// in common).
    pub(super) fn replaced(&self, issuer: &str) -> Option<CertificateDer<'static>> {
        let current = self.current.as_ref().filter(|current| current.metadata.issuer == issuer)?;
        let shared = current.metadata.identifiers.iter().any(|name| self.config.identifiers.contains(name));
        shared.then(|| current.chain[0].clone())
    }

    /// An attempt starts; returns the reason for it.
    pub(super) fn begin(&mut self) -> String {
        self.obtaining = true;
        self.request = None;
        self.order_pending = false;
        self.run = Some(Run::Obtaining);
        self.memory.orders += 1;
        self.decision.as_ref().map(|decision| decision.reason.to_string()).unwrap_or_default()
    }

    /// The attempt ended well.
    pub(super) fn obtained(&mut self, generation: Generation, deadline: Instant) {
        self.obtaining = false;
        self.damage = None;
        self.run = Some(Run::Delivering { generation: generation.number, deadline });
        // Numbers start again when somebody has emptied the store: what was refused then is not this one.
        self.memory.quarantined.retain(|quarantine| quarantine.generation < generation.number);
        self.memory.revoked.retain(|revoked| *revoked < generation.number);
        self.current = Some(Arc::new(generation));
        // After a refusal only a proof is good news: or each new order would start the back-off afresh.
        if self.memory.last_failure.as_ref().is_none_or(|failure| failure.class != ErrorClass::Refused) {
            self.forget_failures();
        }
    }

    /// The attempt failed.
    pub(super) fn failed(&mut self, now: Timestamp, error: &IssueError) {
        self.obtaining = false;
        self.note_failure(now, error);
    }

    fn note_failure(&mut self, now: Timestamp, error: &IssueError) {
        self.memory.failures = self.memory.failures.saturating_add(1);
        self.memory.last_failure = Some(Failure {
            at: now,
            class: error.class,
            message: error.message.clone(),
            retry_after: error.retry_after,
        });
    }

    /// The current generation was seen in service; tells whether that is news for the memory.
    pub(super) fn proven(&mut self) -> bool {
        let news = self.memory.failures > 0 && self.refusal().is_none();
        if news {
            self.forget_failures();
        }
        news
    }

    /// A generation must not be served. An attempt that is under way goes on.
    pub(super) fn quarantine(&mut self, generation: u64, reason: String, now: Timestamp) {
        self.note_failure(now, &IssueError::new(ErrorClass::Refused, reason.clone()));
        self.memory.quarantine(Quarantine { generation, reason, at: now });
    }

    fn forget_failures(&mut self) {
        self.memory.failures = 0;
        self.memory.last_failure = None;
    }

    pub(super) fn run_deadline(&self) -> Option<Instant> {
        match self.run {
            Some(Run::Delivering { deadline, .. }) => Some(deadline),
            _ => None,
        }
    }

    /// The generation whose proof a run waits for.
    pub(super) fn delivering(&self) -> Option<u64> {
        match self.run {
            Some(Run::Delivering { generation, .. }) => Some(generation),
            _ => None,
        }
    }

    /// Whether anything is under way.
    pub(super) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Ends the run if it is about this generation (0: about one that is not obtained yet); tells whether it
    /// was. News of an earlier generation end no later run.
    pub(super) fn end_run(&mut self, generation: u64) -> bool {
        let about = match self.run {
            Some(Run::Obtaining) => generation == 0,
            Some(Run::Delivering { generation: number, .. }) => generation == number,
            None => false,
        };
        if about {
            self.run = None;
        }
        about
    }

    pub(super) fn is_for(&self, node: &NodeInfo) -> bool {
        route::goes_to(self.config.nodes.as_deref(), &self.config.identifiers, node)
    }

    /// What nodes should serve; nothing if what there is was refused or has expired: nodes would refuse it,
    /// and that would say nothing about what comes next.
    pub(super) fn deliverable(
        &self,
        trust_anchors: Vec<CertificateDer<'static>>,
        now: Timestamp,
    ) -> Option<Deliverable> {
        let good = |current: &&Arc<Generation>| {
            current.is_valid_at(now) && !self.memory.is_quarantined(current.number)
        };
        let generation = self.current.as_ref().filter(good)?;
        Some(Deliverable {
            generation: Arc::clone(generation),
            identifiers: self.config.identifiers.clone().into(),
            nodes: self.config.nodes.clone().map(Into::into),
            trust_anchors: trust_anchors.into(),
        })
    }
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;
