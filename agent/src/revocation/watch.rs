//! Who is asked what and when, what was answered, and what follows. Pure: it asks nobody and reads no clock.
//!
//! Many chains share a CRL, and all chains of an issuer share its intermediates: what is asked is kept by source,
//! so that ten thousand certificates of one CRL cost one question, and at rest nothing at all.

mod agenda;
mod answers;
mod question;
mod verdict;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::ocsp::Status;

use super::Verdict;
use super::crl::{CrlId, Word, crl_id};
use super::schedule::{Bounds, after_answer};
use super::staple::Kept;
use super::subject::{Id, Issuer, Subject};
use crate::lifecycle::plus;
use question::{Question, random};

/// A certificate of the configuration and the number of a generation of it.
pub type ChainKey = (Arc<str>, u64);

/// Somebody new asks about a CRL that was read already: those who come within this time are answered together.
const JOINED_WAIT: SignedDuration = SignedDuration::from_secs(2);

/// How it is watched.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often a source is asked.
    pub bounds: Bounds,
    /// Not knowing for this long is worth telling.
    pub unknown_after: SignedDuration,
    /// Spreads the questions of this agent from those of others.
    pub seed: u64,
}

/// Everything that is followed.
#[derive(Debug)]
pub struct Watch {
    settings: Settings,
    chains: HashMap<ChainKey, Box<Chain>>,
    watched: HashMap<Id, Watched>,
    /// One of each in memory, however many chains name it.
    issuers: HashMap<Id, Weak<Issuer>>,
    crls: HashMap<CrlId, Crl>,
    responders: HashMap<Id, Responder>,
    crl_agenda: BTreeSet<(Timestamp, CrlId)>,
    ocsp_agenda: BTreeSet<(Timestamp, Id)>,
    /// When what is known of a chain changes by itself.
    lapses: BTreeSet<(Timestamp, ChainKey)>,
}

/// One generation.
#[derive(Debug)]
struct Chain {
    /// Certificates of it that name somebody to ask, leaf first.
    ids: Vec<Id>,
    leaf: Option<Id>,
    notes: Vec<String>,
    since: Timestamp,
    /// Responders are asked, and the answer about the leaf is presented.
    ocsp: bool,
    kept: Option<Kept>,
    /// The end of the last one.
    staple_ended: Option<Timestamp>,
    state: Option<(State, Timestamp)>,
    lapse: Option<Timestamp>,
}

/// A verdict without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unasked,
    Good,
    Revoked,
    Unknown,
}

/// One certificate, in whichever chains.
#[derive(Debug)]
struct Watched {
    subject: Arc<Subject>,
    chains: Vec<ChainKey>,
}

#[derive(Debug)]
struct Crl {
    url: String,
    issuer: Arc<Issuer>,
    /// Who asks, and what it says of them, if it has been looked at for them.
    words: HashMap<Id, Option<Word>>,
    question: Question,
}

#[derive(Debug, Default)]
struct Responder {
    status: Option<Status>,
    url: String,
    question: Question,
}

/// What to ask now.
#[derive(Clone, Debug)]
pub enum Ask {
    /// A distribution point about some certificates.
    Crl {
        /// Its name.
        id: CrlId,
        /// Where it is.
        url: String,
        /// Who signs it.
        issuer: Arc<Issuer>,
        /// About whom.
        subjects: Vec<Arc<Subject>>,
        /// Although the one on disk still holds.
        fetch: bool,
    },
    /// The responders of one certificate.
    Ocsp(Arc<Subject>),
}

/// What is known of a chain now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Since when it has been the same.
    pub since: Timestamp,
}

/// A staple that is wanted and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstapled {
    /// Since when.
    pub since: Timestamp,
    /// There was one before.
    pub had: bool,
    /// The leaf names a responder.
    pub asked: bool,
    /// Why there is none.
    pub why: String,
}

impl Watch {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            chains: HashMap::new(),
            watched: HashMap::new(),
            issuers: HashMap::new(),
            crls: HashMap::new(),
            responders: HashMap::new(),
            crl_agenda: BTreeSet::new(),
            ocsp_agenda: BTreeSet::new(),
            lapses: BTreeSet::new(),
        }
    }

    /// Whether a generation is followed.
    #[must_use]
    pub fn follows(&self, key: &ChainKey) -> bool {
        self.chains.contains_key(key)
    }

    /// CRLs that are asked for.
    pub fn crls(&self) -> impl Iterator<Item = CrlId> {
        self.crls.keys().copied()
    }

    /// Follows a generation from now on. `ocsp`: its responders are asked, too; `kept` is the response about its
    /// leaf from before a restart.
    pub fn follow(
        &mut self,
        key: &ChainKey,
        subjects: Vec<Subject>,
        ocsp: bool,
        kept: Option<Kept>,
        now: Timestamp,
    ) {
        if self.follows(key) {
            return;
        }
        let mut chain = Chain {
            ids: Vec::new(),
            leaf: None,
            notes: Vec::new(),
            since: now,
            ocsp,
            kept: None,
            staple_ended: None,
            state: None,
            lapse: None,
        };
        for mut subject in subjects {
            chain.notes.extend(subject.notes.iter().map(|note| format!("{} names {note}", subject.which)));
            let asked = subject.crls().next().is_some() || (ocsp && !subject.responders.is_empty());
            if !asked {
                continue;
            }
            match self.issuers.get(&subject.issuer.id).and_then(Weak::upgrade) {
                Some(known) => subject.issuer = known,
                None => {
                    self.issuers.insert(subject.issuer.id, Arc::downgrade(&subject.issuer));
                }
            }
            let id = subject.id;
            chain.ids.push(id);
            if !subject.is_ca() {
                chain.leaf = Some(id);
            }
            let watched = self
                .watched
                .entry(id)
                .or_insert_with(|| Watched { subject: Arc::new(subject), chains: Vec::new() });
            watched.chains.push(key.clone());
            let subject = Arc::clone(&watched.subject);
            self.join_crls(&subject, now);
            if ocsp && !subject.responders.is_empty() {
                self.join_responder(id, now);
            }
        }
        if let (Some(leaf), Some(kept)) = (chain.leaf, kept)
            && let Some(responder) = self.responders.get_mut(&leaf)
        {
            let next_update = kept.staple.next_update;
            responder.status = Some(Status::Good);
            responder.question.answered(kept.this_update, next_update);
            let random = random(self.settings.seed, &leaf, now);
            let due = after_answer(now, kept.this_update, next_update, &self.settings.bounds, random);
            responder.question.put_off(&mut self.ocsp_agenda, leaf, due, due);
            chain.kept = Some(kept);
        }
        self.chains.insert(key.clone(), Box::new(chain));
    }

    fn join_crls(&mut self, subject: &Arc<Subject>, now: Timestamp) {
        for url in subject.crls() {
            let id = crl_id(url, &subject.issuer.id);
            let crl = self.crls.entry(id).or_insert_with(|| Crl {
                url: url.to_owned(),
                issuer: Arc::clone(&subject.issuer),
                words: HashMap::new(),
                question: Question::default(),
            });
            if crl.words.contains_key(&subject.id) {
                continue;
            }
            crl.words.insert(subject.id, None);
            let question = &mut crl.question;
            // The one that is under way did not ask for it.
            if !question.asking {
                let soon = if question.due.is_some() { plus(now, JOINED_WAIT) } else { now };
                let next = question.next.map_or(soon, |next| next.min(soon));
                let due = question.due.unwrap_or(now);
                question.put_off(&mut self.crl_agenda, id, next, due);
            }
        }
    }

    fn join_responder(&mut self, id: Id, now: Timestamp) {
        let responder = self.responders.entry(id).or_default();
        if responder.question.next.is_none() && !responder.question.asking {
            responder.question.put_off(&mut self.ocsp_agenda, id, now, now);
        }
    }

    /// Follows a generation no more; what nobody else asks about is forgotten.
    pub fn unfollow(&mut self, key: &ChainKey) {
        let Some(chain) = self.chains.remove(key) else { return };
        if let Some(lapse) = chain.lapse {
            self.lapses.remove(&(lapse, key.clone()));
        }
        for id in chain.ids {
            let Some(watched) = self.watched.get_mut(&id) else { continue };
            watched.chains.retain(|other| other != key);
            let asked = watched.chains.iter().any(|other| self.chains.get(other).is_some_and(|one| one.ocsp));
            if !asked && let Some(responder) = self.responders.remove(&id) {
                responder.question.forget(&mut self.ocsp_agenda, id);
            }
            if !watched.chains.is_empty() {
                continue;
            }
            let subject = Arc::clone(&watched.subject);
            self.watched.remove(&id);
            for url in subject.crls() {
                let crl_id = crl_id(url, &subject.issuer.id);
                let Some(crl) = self.crls.get_mut(&crl_id) else { continue };
                crl.words.remove(&id);
                if crl.words.is_empty()
                    && let Some(crl) = self.crls.remove(&crl_id)
                {
                    crl.question.forget(&mut self.crl_agenda, crl_id);
                }
            }
        }
        self.issuers.retain(|_, issuer| issuer.strong_count() > 0);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
