//! Revocation in the loop: which generations are followed, questions beside the loop, and what follows from the
//! answers.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::{Id as TaskId, JoinError, JoinSet};

use super::Agent;
use crate::config::{Config, OcspMode, signed};
use crate::obtain::Fresh;
use crate::revocation::inquiry::{Inquiry, Told};
use crate::revocation::staple::Staples;
use crate::revocation::subject::{Subject, subjects};
use crate::revocation::watch::{Ask, ChainKey, Settings, Watch};
use crate::revocation::{Id, crl};

/// Questions to OCSP responders that are under way at the same time.
const PARALLEL_OCSP: usize = 16;
/// The same for CRLs: each may take `revocation.crl_max_bytes` of memory, twice.
const PARALLEL_CRL: usize = 2;

/// What the loop has of revocation.
pub(super) struct Revocations {
    pub(super) watch: Watch,
    /// Asks; none when `revocation.check` is off.
    pub(super) inquiry: Option<Inquiry>,
    staples: Staples,
    asking: JoinSet<Told>,
    /// What each task asks, should it panic.
    underway: HashMap<TaskId, Asked>,
    pub(super) unknown_after: SignedDuration,
}

/// A question that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Crl(Id),
    Ocsp(Id),
}

impl Revocations {
    pub(super) fn new(config: &Config, inquiry: Option<Inquiry>, seed: u64) -> Self {
        let unknown_after = signed(config.revocation.unknown_after);
        let settings = Settings { bounds: config.revocation.bounds(), unknown_after, seed };
        Self {
            watch: Watch::new(settings),
            inquiry,
            staples: Staples::new(&config.state_dir),
            asking: JoinSet::new(),
            underway: HashMap::new(),
            unknown_after,
        }
    }

    /// What an attempt looks at revocation with.
    pub(super) fn fresh(&self, ocsp: OcspMode) -> Option<Fresh> {
        let (inquiry, staples) = (self.inquiry.clone()?, self.staples.clone());
        Some(Fresh { inquiry, staples, ocsp: ocsp != OcspMode::Off })
    }

    /// The next question that ends.
    pub(super) async fn next(&mut self) -> Option<Result<(TaskId, Told), JoinError>> {
        self.asking.join_next_with_id().await
    }

    /// Places for questions about CRLs and to responders.
    fn places(&self) -> (usize, usize) {
        let crls = self.underway.values().filter(|asked| matches!(asked, Asked::Crl(_))).count();
        (PARALLEL_CRL.saturating_sub(crls), PARALLEL_OCSP.saturating_sub(self.underway.len() - crls))
    }

    /// When there is something to do next.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let (crls, ocsps) = self.places();
        self.watch.wake(crls > 0, ocsps > 0)
    }
}

impl Agent {
    /// Follows every certificate; at the start.
    pub(super) fn follow_all(&mut self) {
        for name in self.certificates.keys().cloned().collect::<Vec<_>>() {
            self.follow(&name);
        }
        let Some(inquiry) = &self.revocations.inquiry else { return };
        let swept = inquiry.cache().retain(self.revocations.watch.crls());
        let swept = swept.and(self.revocations.staples.retain(|name| self.certificates.contains_key(name)));
        if let Err(error) = swept {
            tracing::warn!(%error, "CRLs and OCSP responses that nobody needs any more stay");
        }
    }

    /// Follows the current generation of a certificate and those that nodes still serve, and no others.
    pub(super) fn follow(&mut self, name: &str) {
        let Some(managed) = self.certificates.get_mut(name) else { return };
        let mut wanted: Vec<u64> = self
            .records
            .nodes()
            .filter_map(|(_, node)| node.certificates.get(name))
            .map(|record| record.serving)
            .filter(|serving| *serving != 0)
            .chain(managed.current.as_ref().map(|current| current.number))
            .chain(managed.serving.as_ref().map(|serving| serving.number))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let key = Arc::clone(&managed.name);
        managed.staples.retain(|(number, _)| wanted.contains(number));
        if *managed.followed == *wanted {
            return;
        }
        let before = std::mem::take(&mut managed.followed);
        for number in before.iter().filter(|number| !wanted.contains(number)) {
            self.revocations.watch.unfollow(&(Arc::clone(&key), *number));
            if let Err(error) = self.revocations.staples.remove(name, *number) {
                tracing::debug!(certificate = name, %error, "an OCSP response stays");
            }
        }
        let mut followed = Vec::with_capacity(wanted.len());
        for number in wanted {
            if before.contains(&number) || self.follow_generation(name, number) {
                followed.push(number);
            }
        }
        let judged: Vec<_> = followed.iter().map(|number| (Arc::clone(&key), *number)).collect();
        if let Some(managed) = self.certificates.get_mut(name) {
            managed.followed = followed.into();
        }
        for key in judged {
            self.review(&key);
        }
        self.tell_revoked(name);
    }

    /// A generation was obtained. Its number may be one that was followed: numbers start again when somebody has
    /// emptied the store.
    pub(super) fn follow_new(&mut self, name: &str, number: u64) {
        if let Some(managed) = self.certificates.get_mut(name) {
            managed.followed = managed.followed.iter().copied().filter(|other| *other != number).collect();
        }
        self.revocations.watch.unfollow(&(name.into(), number));
        self.follow(name);
    }

    /// Tells whether it is there to be followed.
    fn follow_generation(&mut self, name: &str, number: u64) -> bool {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get(name) else { return false };
        let generation = match managed.current.as_ref().filter(|current| current.number == number) {
            Some(current) => Arc::clone(current),
            // What a node serves may be gone from our disk: then nothing can be asked about it.
            None => match managed.store.generation(number) {
                Ok(stored) => Arc::new(stored),
                Err(_) => return false,
            },
        };
        if self.revocations.inquiry.is_none() {
            return true;
        }
        let Some(source) = self.sources.get(&generation.metadata.issuer) else { return false };
        let subjects = subjects(&generation.chain.to_vec(), &source.anchors);
        let ocsp = managed.config.ocsp != OcspMode::Off;
        // Nobody to ask and nothing to tell: ten thousand of them cost nothing.
        let told = |subject: &Subject| !subject.notes.is_empty() || subject.crls().next().is_some();
        let asked = |subject: &Subject| told(subject) || (ocsp && !subject.responders.is_empty());
        if managed.config.ocsp != OcspMode::Require && !subjects.iter().any(asked) {
            return true;
        }
        let leaf = subjects.first().filter(|leaf| ocsp && !leaf.is_ca() && !leaf.responders.is_empty());
        let kept = leaf.and_then(|leaf| {
            self.revocations.staples.load(name, number, generation.chain.leaf(), &leaf.issuer, now)
        });
        let key = (Arc::clone(&managed.name), number);
        self.revocations.watch.follow(&key, subjects, ocsp, kept, now);
        true
    }

    /// Asks whom it is time to ask, and looks at what lapsed.
    pub(super) fn check_revocation(&mut self) {
        let now = self.clock.now();
        for key in self.revocations.watch.lapsed(now) {
            self.review(&key);
        }
        let Some(inquiry) = self.revocations.inquiry.clone() else { return };
        let (crls, ocsps) = self.revocations.places();
        for ask in self.revocations.watch.take(now, crls, ocsps) {
            let asked = match &ask {
                Ask::Crl { id, .. } => Asked::Crl(*id),
                Ask::Ocsp(subject) => Asked::Ocsp(subject.id),
            };
            let inquiry = inquiry.clone();
            let task = self.revocations.asking.spawn(async move { inquiry.ask(ask).await });
            self.revocations.underway.insert(task.id(), asked);
        }
    }

    /// A question ended.
    pub(super) fn told(&mut self, ended: Result<(TaskId, Told), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(asked) = self.revocations.underway.remove(&id) else { return };
        let told = ended.map(|(_, told)| told).unwrap_or_else(|error| {
            self.panics += 1;
            let error = format!("the question broke off: {error}; this is a bug, please report it");
            match asked {
                Asked::Crl(id) => Told::Crl(id, crl::Outcome { answer: None, error: Some(error) }),
                Asked::Ocsp(id) => Told::Ocsp(id, Err(error)),
            }
        });
        let now = self.clock.now();
        let (touched, stapled) = match told {
            Told::Crl(id, outcome) => {
                self.tally.crl(&outcome);
                if let Some(error) = &outcome.error {
                    tracing::warn!(error, "a CRL was not to be had");
                }
                (self.revocations.watch.crl_answered(&id, outcome, now), Vec::new())
            }
            Told::Ocsp(id, answer) => {
                self.tally.ocsp(&answer);
                if let Err(error) = &answer {
                    tracing::warn!(error, "no OCSP response");
                }
                self.revocations.watch.ocsp_answered(&id, answer, now)
            }
        };
        for key in &stapled {
            self.keep_staple(key, now);
        }
        for key in touched {
            self.review(&key);
        }
    }

    fn keep_staple(&self, (name, number): &ChainKey, now: Timestamp) {
        let key = (Arc::clone(name), *number);
        let Some(staple) = self.revocations.watch.staple(&key, now) else { return };
        tracing::debug!(certificate = %name, generation = number, until = %staple.next_update, "new OCSP response");
        if let Err(error) = self.revocations.staples.save(name, *number, &staple) {
            tracing::warn!(certificate = %name, %error, "cannot keep the OCSP response; a restart would fetch it again");
        }
    }
}
