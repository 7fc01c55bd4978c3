//! Revocation in the loop: which generations are followed, questions beside the loop, and what follows from the
//! answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::v1::{RevocationStatus, StepKind};
use tokio::task::{Id as TaskId, JoinError, JoinSet};

use super::Agent;
use super::managed::Managed;
use crate::config::{Config, OcspMode, signed};
use crate::incident::Kind;
use crate::obtain::Fresh;
use crate::revocation::inquiry::{Inquiry, Told};
use crate::revocation::staple::Staples;
use crate::revocation::subject::subjects;
use crate::revocation::watch::{Ask, ChainKey, Judged, Settings, Watch};
use crate::revocation::{Finding, Id, Verdict, crl};
use crate::store::Generation;

/// Questions to OCSP responders that are under way at the same time.
const PARALLEL_OCSP: usize = 16;
/// The same for CRLs: each may take `revocation.crl_max_bytes` of memory, twice.
const PARALLEL_CRL: usize = 2;

/// What the loop has of revocation.
pub(super) struct Revocations {
    watch: Watch,
    /// Asks; none when `revocation.check` is off.
    inquiry: Option<Inquiry>,
    staples: Staples,
    asking: JoinSet<Told>,
    /// What each task asks, should it panic.
    underway: HashMap<TaskId, Asked>,
    /// Generations by certificate: the current one, and what nodes still serve.
    followed: BTreeMap<Arc<str>, Vec<u64>>,
    unknown_after: SignedDuration,
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
            followed: BTreeMap::new(),
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
        let before = self.revocations.followed.get(name).cloned().unwrap_or_default();
        if before == wanted {
            return;
        }
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
        self.revocations.followed.insert(key, followed);
        for key in judged {
            self.review(&key);
        }
        self.tell_revoked(name);
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
        let subjects = subjects(&generation.chain, &source.anchors);
        let ocsp = managed.config.ocsp != OcspMode::Off;
        let leaf = subjects.first().filter(|leaf| ocsp && !leaf.is_ca() && !leaf.responders.is_empty());
        let kept = leaf.and_then(|leaf| {
            self.revocations.staples.load(name, number, &generation.chain[0], &leaf.issuer, now)
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
                if let Some(error) = &outcome.error {
                    tracing::warn!(error, "a CRL was not to be had");
                }
                (self.revocations.watch.crl_answered(&id, outcome, now), Vec::new())
            }
            Told::Ocsp(id, answer) => {
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

    /// Draws the conclusions from what is known of a generation now.
    fn review(&mut self, key: &ChainKey) {
        let now = self.clock.now();
        let Some(judged) = self.revocations.watch.judge(key, now) else { return };
        if let Verdict::Revoked(finding) = &judged.verdict {
            self.distrust(key, finding);
        }
        let Some(managed) = self.certificates.get_mut(&*key.0) else { return };
        let staple = self.revocations.watch.staple(key, now);
        let place = managed.staples.iter().position(|(number, _)| *number == key.1);
        let before = place.map(|place| managed.staples.swap_remove(place).1);
        self.unpublished |= before != staple;
        managed.staples.extend(staple.map(|staple| (key.1, staple)));
        if managed.current.as_ref().is_none_or(|current| current.number != key.1) {
            return;
        }
        let name = Arc::clone(&managed.name);
        self.tell_unknown(&name, &judged, now);
        self.tell_unstapled(key, &judged, now);
        if let Some(managed) = self.certificates.get_mut(&*name) {
            managed.revocation = Some(judged);
        }
    }

    /// A revocation was found: remembered, told, and replaced at once if it is the current generation.
    fn distrust(&mut self, (name, number): &ChainKey, finding: &Finding) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get_mut(&**name) else { return };
        if managed.memory.revocation(*number).is_some() {
            return;
        }
        let why = finding.to_string();
        managed.memory.revoke_because(*number, now, why.clone());
        let is_current = managed.current.as_ref().is_some_and(|current| current.number == *number);
        self.save_memory(name);
        self.step(name, *number, StepKind::Distrusted, why);
        self.tell_revoked(name);
        // Nodes are told of it, too.
        self.unpublished = true;
        if is_current {
            self.look_at(name);
        }
    }

    /// Raises the incident of revoked generations that are current or still served, or ends it.
    pub(super) fn tell_revoked(&mut self, name: &str) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get(name) else { return };
        let numbers = self.revocations.followed.get(name).into_iter().flatten();
        let revoked: Vec<_> = numbers.filter_map(|number| managed.memory.revocation(*number)).collect();
        if revoked.is_empty() {
            self.incidents.clear(Kind::Revoked, name, now);
            return;
        }
        let current = managed.current.as_ref().map_or(0, |current| current.number);
        let text = revoked
            .iter()
            .map(|revoked| {
                let place = if revoked.generation == current {
                    "another one is being ordered"
                } else {
                    "a node still serves it"
                };
                format!("generation {}: {}; {place}", revoked.generation, revoked.why())
            })
            .collect::<Vec<_>>()
            .join("; ");
        self.incidents.raise(Kind::Revoked, name, now, text);
    }

    fn tell_unknown(&mut self, name: &str, judged: &Judged, now: Timestamp) {
        match &judged.verdict {
            Verdict::Unknown { since, why }
                if now.duration_since(*since) >= self.revocations.unknown_after =>
            {
                let text = format!("since {since:.0} nobody could say whether it is revoked: {why}");
                self.incidents.raise(Kind::RevocationUnknown, name, now, text);
            }
            _ => self.incidents.clear(Kind::RevocationUnknown, name, now),
        }
    }

    fn tell_unstapled(&mut self, key: &ChainKey, judged: &Judged, now: Timestamp) {
        let name = &*key.0;
        let required =
            self.certificates.get(name).is_some_and(|managed| managed.config.ocsp == OcspMode::Require);
        // What is revoked has no good response; that is told as what it is.
        let missing = self
            .revocations
            .watch
            .unstapled(key, now)
            .filter(|_| !matches!(judged.verdict, Verdict::Revoked(_)))
            .filter(|missing| {
                let long = now.duration_since(missing.since) >= self.revocations.unknown_after;
                // A leaf without a responder is what its CA makes it: a fault only if one is required.
                required || (missing.asked && (missing.had || long))
            });
        match missing {
            Some(missing) => {
                let text = format!("no OCSP response to present since {:.0}: {}", missing.since, missing.why);
                self.incidents.raise(Kind::StapleStale, name, now, text);
            }
            None => self.incidents.clear(Kind::StapleStale, name, now),
        }
    }

    /// A new generation has the key of one that is revoked: an attempt that reuses the key was under way when that
    /// was found.
    pub(super) fn tainted(&self, name: &str, new: &Generation) -> Option<String> {
        let managed = self.certificates.get(name)?;
        let old = managed.current.as_ref().filter(|current| current.key == new.key)?;
        managed.memory.revocation(old.number)?;
        Some(format!("its key is that of generation {}, which is revoked", old.number))
    }

    /// For the status.
    pub(super) fn revocation_status(&self, managed: &Managed) -> Option<RevocationStatus> {
        let current = managed.current.as_ref()?;
        let key = (Arc::clone(&managed.name), current.number);
        let next = self.revocations.watch.next_question(&key);
        let mut status = RevocationStatus {
            next_ms: next.map_or(0, Timestamp::as_millisecond),
            staple_next_update_ms: managed
                .staple(current.number, self.clock.now())
                .map_or(0, |staple| staple.next_update.as_millisecond()),
            ..RevocationStatus::default()
        };
        let (state, detail, since) = self.revocation_words(managed)?;
        (status.state, status.detail) = (state.to_owned(), detail);
        status.since_ms = since.map_or(0, Timestamp::as_millisecond);
        Some(status)
    }

    /// State, detail, and since when.
    fn revocation_words(&self, managed: &Managed) -> Option<(&'static str, String, Option<Timestamp>)> {
        if let Some(revoked) = managed.revoked() {
            return Some(("revoked", revoked.why().to_owned(), Some(revoked.at)));
        }
        if self.revocations.inquiry.is_none() {
            return Some(("", "revocation.check is off".to_owned(), None));
        }
        let judged = managed.revocation.as_ref()?;
        let since = Some(judged.since);
        Some(match &judged.verdict {
            Verdict::Unasked { notes } if notes.is_empty() => ("", "names nobody to ask".to_owned(), None),
            Verdict::Unasked { notes } => ("", format!("nobody to ask: {}", notes.join("; ")), None),
            Verdict::Good { source, until } => ("good", format!("says {source} until {until:.0}"), since),
            Verdict::Revoked(finding) => ("revoked", finding.to_string(), since),
            Verdict::Unknown { why, .. } => ("unknown", why.clone(), since),
        })
    }

    /// For `why`: what is known, and a hint where the CA wants it gone.
    pub(super) fn explain_revocation(&self, managed: &Managed, now: Timestamp) -> Option<String> {
        let (state, detail, since) = self.revocation_words(managed)?;
        let mut text = match (state, since) {
            ("", _) => detail,
            (state, Some(since)) => format!("{state} since {since:.0}: {detail}"),
            (state, None) => format!("{state}: {detail}"),
        };
        let current = managed.current.as_ref()?;
        if let Some(staple) = managed.staple(current.number, now) {
            text.push_str(&format!("; OCSP response until {:.0}", staple.next_update));
        }
        let ari = managed.memory.ari.as_ref().filter(|ari| ari.generation == current.number);
        let window = ari.and_then(|ari| ari.info.as_ref());
        if window.is_some_and(|window| window.end <= now) && current.is_valid_at(now) {
            text.push_str(
                "; the CA's renewal window lies in the past, as it does when a CA is about to revoke",
            );
        }
        Some(text)
    }
}
