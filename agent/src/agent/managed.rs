//! One certificate in the agent's care.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::config::{CertificateConfig, OnRevoked};
use crate::delivery::swap::Swap;
use crate::delivery::{Bundle, Deliverable, Distrust, NodeInfo, Staple, route};
use crate::issuer::{ErrorClass, IssueError, RenewalInfo};
use crate::lifecycle::explain::{Held, Line, Subject};
use crate::lifecycle::{
    self, Change, Current, Decision, Facts, Issuers, Memory, Policy, Quarantine, Reason, Request, Revoked,
};
use crate::revocation::watch::Judged;
use crate::store::{CertificateStore, Generation};

/// A certificate: what is wanted, what there is, what is going on.
pub(super) struct Managed {
    pub(super) name: Arc<str>,
    pub(super) config: Arc<CertificateConfig>,
    pub(super) policy: Policy,
    pub(super) store: CertificateStore,
    pub(super) memory: Memory,
    pub(super) current: Option<Arc<Generation>>,
    /// What nodes serve; differs from `current` while a swap is under way.
    pub(super) serving: Option<Arc<Generation>>,
    pub(super) swap: Option<Box<Swap>>,
    /// What was wrong with the stored generation at the start, until a new one is stored.
    pub(super) damage: Option<String>,
    /// The issuer of an order in the journal whose outcome is not known.
    pub(super) order_pending: Option<String>,
    pub(super) request: Option<Request>,
    pub(super) obtaining: bool,
    /// A question for renewal information is under way.
    pub(super) asking: bool,
    pub(super) decision: Option<Decision>,
    /// The entry of the schedule that counts.
    pub(super) scheduled: Option<Timestamp>,
    /// Issuers that have profiles.
    pub(super) profiles: Arc<[String]>,
    /// Generations whose revocation is followed: the current one, and what nodes still serve.
    pub(super) followed: Box<[u64]>,
    /// OCSP responses of the generations that are followed.
    pub(super) staples: Vec<(u64, Arc<Staple>)>,
    /// What is known of the revocation of the current generation.
    pub(super) revocation: Option<Box<Judged>>,
    seed: u64,
    run: Option<Run>,
    /// The attempt under way was wanted by a window that lies in the past.
    hurries: bool,
}

/// From the start of an attempt to its proof.
#[derive(Clone, Copy, Debug)]
enum Run {
    Obtaining,
    Delivering { generation: u64, deadline: Instant },
}

impl Managed {
    pub(super) fn new(
        config: CertificateConfig,
        policy: Policy,
        store: CertificateStore,
        memory: Memory,
        seed: u64,
    ) -> Self {
        Self {
            name: Arc::clone(store.name()),
            profiles: [].into(),
            config: Arc::new(config),
            policy,
            store,
            memory,
            current: None,
            serving: None,
            swap: None,
            damage: None,
            order_pending: None,
            request: None,
            obtaining: false,
            asking: false,
            decision: None,
            scheduled: None,
            followed: Box::default(),
            staples: Vec::new(),
            revocation: None,
            seed,
            run: None,
            hurries: false,
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            current: self.current.as_ref().map(|generation| Current {
                generation: generation.number,
                issuer: &generation.metadata.issuer,
                identifiers: &generation.metadata.identifiers,
                not_before: generation.not_before(),
                not_after: generation.not_after(),
                stored_at: generation.metadata.stored_at,
            }),
            changed: self.changed(),
            damaged: self.damage.is_some(),
            quarantined: self.refusal().is_some(),
            order_pending: self.order_pending.as_deref(),
            memory: &self.memory,
            request: self.request,
        }
    }

    /// What the configuration wants different from the current generation.
    fn changed(&self) -> Option<Change> {
        let metadata = &self.current.as_ref()?.metadata;
        if !lifecycle::same_set(&metadata.identifiers, &self.config.identifiers) {
            return Some(Change::Identifiers);
        }
        if !self.policy.issuers.contains(&metadata.issuer) {
            return Some(Change::Issuer);
        }
        if metadata.key_type != self.config.key_type {
            return Some(Change::KeyType);
        }
        // An issuer's own profile is a default: changing it waits for the next renewal.
        let profile = self.config.profile.as_ref().filter(|_| self.profiles.contains(&metadata.issuer))?;
        (metadata.profile.as_ref() != Some(profile)).then_some(Change::Profile)
    }

    /// As [`lifecycle::explain::plan`] wants it.
    pub(super) fn subject(&self) -> Subject {
        Subject {
            name: self.config.name.clone(),
            policy: self.policy.clone(),
            seed: self.seed,
            memory: self.memory.clone(),
            current: self.current.as_ref().map(|generation| Held {
                generation: generation.number,
                issuer: generation.metadata.issuer.clone(),
                identifiers: generation.metadata.identifiers.clone(),
                not_before: generation.not_before(),
                not_after: generation.not_after(),
            }),
            changed: self.changed(),
            damaged: self.damage.is_some(),
            quarantined: self.refusal().is_some(),
        }
    }

    pub(super) fn explain(&self, now: Timestamp, issuers: &Issuers) -> Vec<Line> {
        lifecycle::explain::explain(now, &self.facts(), &self.policy, issuers, self.seed)
    }

    /// The issuer of the order in the journal, if the CA has accepted it.
    pub(super) fn pending(&self) -> Option<String> {
        // What cannot be read cannot be resumed; the attempt itself tells the error.
        let journal = self.store.journal().ok().flatten()?;
        journal.order_url.is_some().then_some(journal.issuer)
    }

    /// Whether an attempt with `issuer` takes up an order that was placed before a restart.
    pub(super) fn resumes(&self, issuer: &str) -> bool {
        self.order_pending.as_deref() == Some(issuer)
    }

    /// The leaf that an order at `issuer` may name as replaced (RFC 9773 section 5: from the same CA, with an
    /// identifier in common).
    pub(super) fn replaces(&self, issuer: &str) -> Option<CertificateDer<'static>> {
        let current = self.current.as_ref().filter(|current| current.metadata.issuer == issuer)?;
        let shared = current.metadata.identifiers.iter().any(|name| self.config.identifiers.contains(name));
        shared.then(|| current.chain.leaf().clone())
    }

    /// The refusal of the newest generation, if it was refused: the current one, or one that we went back
    /// from.
    pub(super) fn refusal(&self) -> Option<&Quarantine> {
        let current = self.current.as_ref().map_or(0, |current| current.number);
        self.memory.quarantined.iter().rfind(|quarantine| quarantine.generation >= current)
    }

    pub(super) fn decide(&mut self, now: Timestamp, issuers: &Issuers) -> &Decision {
        let decision = lifecycle::decide(now, &self.facts(), &self.policy, issuers, self.seed);
        self.decision.insert(decision)
    }

    /// The generation whose key may serve for the next one.
    pub(super) fn reusable(&self) -> Option<&Arc<Generation>> {
        let current = self.current.as_ref().filter(|_| self.config.reuse_key)?;
        self.memory.revocation(current.number).is_none().then_some(current)
    }

    /// An attempt starts; returns the reason for it.
    pub(super) fn begin(&mut self) -> String {
        self.obtaining = true;
        self.request = None;
        self.order_pending = None;
        self.scheduled = None;
        self.run = Some(Run::Obtaining);
        self.memory.orders += 1;
        let Some(decision) = &self.decision else { return String::new() };
        self.hurries =
            matches!(&decision.reason, Reason::RenewalInfo { window, .. } if window.1 <= decision.wake);
        decision.reason.to_string()
    }

    /// The CA answered a question for renewal information, or did not.
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        generation: u64,
        answer: Result<Option<RenewalInfo>, IssueError>,
    ) {
        self.memory.renewal_info(now, generation, answer.map_err(|error| error.message), self.seed);
    }

    /// The attempt ended well.
    pub(super) fn obtained(&mut self, generation: Generation, deadline: Instant) {
        self.obtaining = false;
        self.damage = None;
        self.run = Some(Run::Delivering { generation: generation.number, deadline });
        // Numbers start again when somebody has emptied the store: what was refused then is not this one.
        self.memory.quarantined.retain(|quarantine| quarantine.generation < generation.number);
        self.memory.revoked.retain(|revoked| revoked.generation < generation.number);
        self.current = Some(Arc::new(generation));
        self.revocation = None;
        self.memory.ari = None;
        self.memory.hurried = if self.hurries { self.memory.hurried.saturating_add(1) } else { 0 };
        // After a refusal only a proof is good news: or each new order would start the back-off afresh.
        if self.memory.last_failure.as_ref().is_none_or(|failure| failure.class != ErrorClass::Refused) {
            self.memory.forget_failures();
        }
    }

    /// The revocation of the current generation, if it is revoked.
    pub(super) fn revoked(&self) -> Option<&Revoked> {
        self.memory.revocation(self.current.as_ref()?.number)
    }

    /// The OCSP response to present with a generation now: none past its end, none that says good of what is known to
    /// be revoked.
    pub(super) fn staple(&self, generation: u64, now: Timestamp) -> Option<&Arc<Staple>> {
        let (_, staple) = self.staples.iter().find(|(number, _)| *number == generation)?;
        Some(staple).filter(|staple| staple.next_update > now && self.memory.revocation(generation).is_none())
    }

    /// The attempt is another replica's now.
    pub(super) fn given_up(&mut self) {
        self.obtaining = false;
        self.order_pending = None;
    }

    /// The attempt failed.
    pub(super) fn failed(&mut self, now: Timestamp, issuer: &str, error: &IssueError) {
        self.obtaining = false;
        self.memory.failed(now, Some(issuer), error);
        self.order_pending = self.pending();
    }

    /// The current generation was seen in service; tells whether that is news for the memory.
    pub(super) fn proven(&mut self) -> bool {
        let news = self.memory.failures > 0 && self.refusal().is_none();
        if news {
            self.memory.forget_failures();
        }
        news
    }

    /// A generation must not be served. An attempt that is under way goes on. Who issued what nobody can use is
    /// to `blame`: after some of them the next issuer gets its turn.
    pub(super) fn quarantine(
        &mut self,
        generation: u64,
        reason: String,
        now: Timestamp,
        blame: Option<&str>,
    ) {
        self.memory.failed(now, blame, &IssueError::new(ErrorClass::Refused, reason.clone()));
        self.memory.quarantine(Quarantine { generation, reason, at: now });
    }

    /// An older generation is current again, and served at once.
    pub(super) fn go_back_to(&mut self, generation: Arc<Generation>) {
        self.memory.committed = generation.number;
        self.serving = Some(Arc::clone(&generation));
        self.current = Some(generation);
        self.revocation = None;
        self.swap = None;
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

    /// Whether it is for files only; a good part of the certificates of a large agent may be.
    pub(super) fn goes_nowhere(&self) -> bool {
        self.config.goes_nowhere()
    }

    pub(super) fn is_for(&self, node: &NodeInfo) -> bool {
        route::goes_to(&self.config, node)
    }

    /// Whether a generation may be sent to nodes: they would refuse one that has expired, and that would say
    /// nothing about what comes next.
    pub(super) fn is_deliverable(&self, generation: &Generation, now: Timestamp) -> bool {
        generation.is_valid_at(now) && !self.memory.is_quarantined(generation.number)
    }

    /// What nodes should serve, and hold; `anchors` tells the roots of an issuer.
    pub(super) fn deliverable(
        &self,
        anchors: impl Fn(&str) -> Arc<[CertificateDer<'static>]>,
        now: Timestamp,
    ) -> Option<Deliverable> {
        if self.goes_nowhere() {
            return None;
        }
        let bundle = |generation: &Arc<Generation>| Bundle {
            generation: Arc::clone(generation),
            trust_anchors: anchors(&generation.metadata.issuer),
            staple: self.staple(generation.number, now).cloned(),
        };
        let good = |generation: &&Arc<Generation>| self.is_deliverable(generation, now);
        let serving = self.serving.as_ref().filter(good)?;
        let candidate = self.swap.as_ref().and_then(|_| self.current.as_ref().filter(good));
        let revoked = self.memory.revocation(serving.number);
        Some(Deliverable {
            config: Arc::clone(&self.config),
            serve: bundle(serving),
            candidate: candidate.map(bundle),
            distrust: revoked.map(|revoked| Distrust {
                generation: serving.number,
                reason: revoked.why().to_owned(),
                halt: self.config.on_revoked == OnRevoked::Halt,
            }),
        })
    }
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;
