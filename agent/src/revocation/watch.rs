//! Who is asked what and when, what was answered, and what follows. Pure: it asks nobody and reads no clock.
//!
//! Many chains share a CRL, and all chains of an issuer share its intermediates: what is asked is kept by source,
//! so that ten thousand certificates of one CRL cost one question, and at rest nothing at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::ocsp::Status;

use super::crl::{self, CrlId, Word, crl_id};
use super::ocsp;
use super::schedule::{Bounds, after_answer, after_error};
use super::staple::Kept;
use super::subject::{Id, Issuer, Subject};
use super::{Finding, Verdict, at_second};
use crate::delivery::Staple;
use crate::lifecycle::{backoff::fraction, plus};

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
    chains: HashMap<ChainKey, Chain>,
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

/// A question that is asked again and again.
#[derive(Debug, Default)]
struct Question {
    /// Where it stands on the agenda.
    next: Option<Timestamp>,
    /// When the source is asked anew; before that, what it said serves.
    due: Option<Timestamp>,
    asking: bool,
    errors: u32,
    error: Option<String>,
    this_update: Option<Timestamp>,
    holds_until: Option<Timestamp>,
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
        self.chains.insert(key.clone(), chain);
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

    /// Takes up to so many questions whose time has come; each is under way until it is answered.
    pub fn take(&mut self, now: Timestamp, crls: usize, ocsps: usize) -> Vec<Ask> {
        let mut asks = Vec::new();
        while asks.len() < crls
            && let Some((at, id)) = self.crl_agenda.first().copied()
            && at <= now
        {
            self.crl_agenda.pop_first();
            let Some(crl) = self.crls.get_mut(&id) else { continue };
            crl.question.begin();
            let subjects = crl.words.keys().filter_map(|id| self.watched.get(id));
            asks.push(Ask::Crl {
                id,
                url: crl.url.clone(),
                issuer: Arc::clone(&crl.issuer),
                subjects: subjects.map(|watched| Arc::clone(&watched.subject)).collect(),
                // The first look is at the disk.
                fetch: crl.question.this_update.is_some() && crl.question.due.is_none_or(|due| due <= now),
            });
        }
        let most = asks.len() + ocsps;
        while asks.len() < most
            && let Some((at, id)) = self.ocsp_agenda.first().copied()
            && at <= now
        {
            self.ocsp_agenda.pop_first();
            let (Some(responder), Some(watched)) = (self.responders.get_mut(&id), self.watched.get(&id))
            else {
                continue;
            };
            responder.question.begin();
            asks.push(Ask::Ocsp(Arc::clone(&watched.subject)));
        }
        asks
    }

    /// When there is something to do next, with or without room for questions of either kind.
    #[must_use]
    pub fn wake(&self, crls: bool, ocsps: bool) -> Option<Timestamp> {
        let crl = self.crl_agenda.first().filter(|_| crls).map(|(at, _)| *at);
        let ocsp = self.ocsp_agenda.first().filter(|_| ocsps).map(|(at, _)| *at);
        let lapse = self.lapses.first().map(|(at, _)| *at);
        [crl, ocsp, lapse].into_iter().flatten().min()
    }

    /// Chains about which something lapsed: an answer, a staple, or the time that not knowing is left untold.
    pub fn lapsed(&mut self, now: Timestamp) -> Vec<ChainKey> {
        let mut lapsed = Vec::new();
        while let Some((at, _)) = self.lapses.first()
            && *at <= now
            && let Some((_, key)) = self.lapses.pop_first()
        {
            if let Some(chain) = self.chains.get_mut(&key) {
                chain.lapse = None;
            }
            lapsed.push(key);
        }
        lapsed
    }

    /// A question to a distribution point ended. Gives the chains that it is about.
    pub fn crl_answered(&mut self, id: &CrlId, outcome: crl::Outcome, now: Timestamp) -> Vec<ChainKey> {
        let Some(crl) = self.crls.get_mut(id) else { return Vec::new() };
        let question = &mut crl.question;
        question.asking = false;
        let random = random(self.settings.seed, id, now);
        let bounds = &self.settings.bounds;
        let answered = outcome.answer.is_some();
        let mut due = question.due.unwrap_or(now);
        if let Some(answer) = outcome.answer {
            // One that was read for those who joined leaves the time of the next fetch as it is.
            if due <= now || question.this_update.is_none() {
                due = after_answer(now, answer.this_update, answer.next_update, bounds, random);
            }
            question.answered(answer.this_update, answer.next_update);
            for (id, word) in answer.words {
                // Those who have left meanwhile are not brought back.
                crl.words.entry(id).and_modify(|known| *known = Some(word));
            }
        }
        if let Some(error) = outcome.error {
            question.failed(error);
            due = after_error(now, question.errors, question.holds_until, bounds, random);
        } else if !answered {
            question.failed(format!("{} says nothing", crl.url));
            due = after_error(now, question.errors, question.holds_until, bounds, random);
        }
        let joined = answered && crl.words.values().any(Option::is_none);
        let next = if joined { due.min(plus(now, JOINED_WAIT)) } else { due };
        question.put_off(&mut self.crl_agenda, *id, next, due);
        let ids: Vec<Id> = crl.words.keys().copied().collect();
        let mut touched: Vec<ChainKey> = ids
            .iter()
            .filter_map(|id| self.watched.get(id))
            .flat_map(|watched| watched.chains.iter().cloned())
            .collect();
        touched.sort();
        touched.dedup();
        touched
    }

    /// A question to the responders of a certificate ended. Gives the chains that it is about, and those that have
    /// a new staple.
    ///
    /// A good answer is never undone by a worse one: not by an error, not by "unknown", not by an older answer.
    pub fn ocsp_answered(
        &mut self,
        id: &Id,
        answer: Result<ocsp::Answer, String>,
        now: Timestamp,
    ) -> (Vec<ChainKey>, Vec<ChainKey>) {
        let (Some(responder), Some(watched)) = (self.responders.get_mut(id), self.watched.get(id)) else {
            return (Vec::new(), Vec::new());
        };
        let question = &mut responder.question;
        question.asking = false;
        let random = random(self.settings.seed, id, now);
        let bounds = &self.settings.bounds;
        let answer = answer.and_then(|answer| match answer.verified.status {
            Status::Unknown => Err(format!("{} does not know the certificate", answer.url)),
            _ if question.this_update.is_some_and(|held| at_second(answer.verified.this_update) < held) => {
                Err(format!("{} gives an answer that is older than the one before", answer.url))
            }
            _ => Ok(answer),
        });
        let mut stapled = Vec::new();
        let due = match answer {
            Err(error) => {
                question.failed(error);
                after_error(now, question.errors, question.holds_until, bounds, random)
            }
            Ok(answer) => {
                let this_update = at_second(answer.verified.this_update);
                let age = SignedDuration::from_secs(sealwire_proto::ocsp::MAX_AGE_WITHOUT_END_S);
                let next_update = answer.verified.next_update.map_or(plus(this_update, age), at_second);
                question.answered(this_update, next_update);
                responder.status = Some(answer.verified.status);
                responder.url.clone_from(&answer.url);
                let kept = Kept::of(&answer.response, &answer.verified);
                for key in watched.chains.iter().filter(|_| !watched.subject.is_ca()) {
                    let Some(chain) = self.chains.get_mut(key).filter(|chain| chain.ocsp) else { continue };
                    if let Some(kept) = &kept
                        && chain.kept.as_ref().is_none_or(|held| held.staple.sha256 != kept.staple.sha256)
                    {
                        chain.kept = Some(kept.clone());
                        stapled.push(key.clone());
                    }
                }
                after_answer(now, this_update, next_update, bounds, random)
            }
        };
        question.put_off(&mut self.ocsp_agenda, *id, due, due);
        (watched.chains.clone(), stapled)
    }

    /// What is known of a generation, and since when; `None` if it is not followed.
    pub fn judge(&mut self, key: &ChainKey, now: Timestamp) -> Option<Judged> {
        let verdict = self.verdict(key, now)?;
        let unknown_after = self.settings.unknown_after;
        let chain = self.chains.get_mut(key)?;
        let (word, begun) = match &verdict {
            Verdict::Unasked { .. } => (State::Unasked, now),
            Verdict::Good { .. } => (State::Good, now),
            Verdict::Revoked(_) => (State::Revoked, now),
            Verdict::Unknown { since, .. } => (State::Unknown, *since),
        };
        let since = match chain.state {
            Some((before, since)) if before == word => since,
            _ => begun,
        };
        chain.state = Some((word, since));
        if let Some(kept) = chain.kept.take_if(|kept| kept.staple.next_update <= now) {
            chain.staple_ended = Some(kept.staple.next_update);
        }
        let worth_telling = plus(since, unknown_after);
        let unstapled = plus(chain.staple_ended.unwrap_or(chain.since), unknown_after);
        let lapse = [
            match &verdict {
                Verdict::Good { until, .. } => Some(*until),
                Verdict::Unknown { .. } => Some(worth_telling),
                _ => None,
            },
            match &chain.kept {
                Some(kept) => Some(kept.staple.next_update),
                None if chain.ocsp => Some(unstapled),
                None => None,
            },
        ];
        let lapse = lapse.into_iter().flatten().filter(|at| *at > now).min();
        if chain.lapse != lapse {
            if let Some(before) = chain.lapse {
                self.lapses.remove(&(before, key.clone()));
            }
            if let Some(lapse) = lapse {
                self.lapses.insert((lapse, key.clone()));
            }
            chain.lapse = lapse;
        }
        Some(Judged { verdict, since })
    }

    fn verdict(&self, key: &ChainKey, now: Timestamp) -> Option<Verdict> {
        let chain = self.chains.get(key)?;
        let mut good: Option<(String, Timestamp)> = None;
        let mut unknown: Option<(Timestamp, String)> = None;
        for watched in chain.ids.iter().filter_map(|id| self.watched.get(id)) {
            let said = self.said(&watched.subject, chain.ocsp, chain.since, now);
            if let Some(finding) = said.revoked {
                return Some(Verdict::Revoked(finding));
            }
            match said.good {
                Some((source, until)) => {
                    good = Some(match good.take() {
                        None => (source, until),
                        Some((first, earlier)) => (first, earlier.min(until)),
                    });
                }
                None => {
                    let why = format!("{}: {}", watched.subject.which, said.why());
                    unknown = Some(match unknown.take() {
                        None => (said.since, why),
                        Some((since, first)) => (since.min(said.since), format!("{first}; {why}")),
                    });
                }
            }
        }
        Some(match (unknown, good) {
            (Some((since, why)), _) => Verdict::Unknown { since, why },
            (None, Some((source, until))) => Verdict::Good { source, until },
            (None, None) => Verdict::Unasked { notes: chain.notes.clone() },
        })
    }

    /// What all sources said of one certificate.
    fn said(&self, subject: &Subject, ocsp: bool, since: Timestamp, now: Timestamp) -> Said {
        let mut said = Said { revoked: None, good: None, since, errors: Vec::new() };
        let finding = |at, reason, source: &str| Finding {
            which: subject.which.clone(),
            at,
            reason,
            source: source.to_owned(),
        };
        if ocsp && let Some(responder) = self.responders.get(&subject.id) {
            let url = if responder.url.is_empty() { &subject.responders[0] } else { &responder.url };
            match responder.status {
                Some(Status::Revoked { at, reason }) => {
                    said.revoked = Some(finding(at_second(at), reason, url))
                }
                Some(Status::Good) => said.holds(&responder.question, url, now),
                Some(Status::Unknown) | None => {}
            }
            said.errors.extend(responder.question.error.clone());
        }
        for url in subject.crls() {
            let Some(crl) = self.crls.get(&crl_id(url, &subject.issuer.id)) else { continue };
            match crl.words.get(&subject.id).and_then(Option::as_ref) {
                Some(Word::Revoked { at, reason }) => {
                    said.revoked.get_or_insert(finding(*at, *reason, url));
                }
                Some(Word::Good) => said.holds(&crl.question, url, now),
                Some(Word::OutOfScope(why)) => said.errors.push(format!("{url}: {why}")),
                None => {}
            }
            said.errors.extend(crl.question.error.clone());
        }
        said
    }

    /// The response to present with a generation now.
    #[must_use]
    pub fn staple(&self, key: &ChainKey, now: Timestamp) -> Option<Arc<Staple>> {
        let chain = self.chains.get(key)?;
        // A good answer of yesterday is not presented for what is known to be revoked.
        if chain.state.is_some_and(|(word, _)| word == State::Revoked) {
            return None;
        }
        let kept = chain.kept.as_ref().filter(|kept| kept.staple.next_update > now)?;
        Some(Arc::clone(&kept.staple))
    }

    /// Why there is no response to present, although one is wanted; `None` if there is one, none is wanted, or it is
    /// being asked for.
    #[must_use]
    pub fn unstapled(&self, key: &ChainKey, now: Timestamp) -> Option<Unstapled> {
        let chain = self.chains.get(key).filter(|chain| chain.ocsp)?;
        if chain.kept.as_ref().is_some_and(|kept| kept.staple.next_update > now) {
            return None;
        }
        let responder = chain.leaf.and_then(|leaf| self.responders.get(&leaf));
        let why = match responder {
            None => "the leaf names no OCSP responder that could be asked".to_owned(),
            Some(Responder { status: Some(Status::Good), question, .. }) if question.error.is_none() => {
                "the responder does not say until when its answers hold (nextUpdate)".to_owned()
            }
            Some(responder) => responder.question.error.clone()?,
        };
        Some(Unstapled {
            since: chain.staple_ended.unwrap_or(chain.since),
            had: chain.staple_ended.is_some(),
            asked: responder.is_some(),
            why,
        })
    }

    /// When something is asked about a generation next.
    #[must_use]
    pub fn next_question(&self, key: &ChainKey) -> Option<Timestamp> {
        let chain = self.chains.get(key)?;
        let subjects = chain.ids.iter().filter_map(|id| self.watched.get(id)).map(|watched| &watched.subject);
        let of_one = |subject: &Arc<Subject>| {
            let crls = subject.crls().filter_map(|url| self.crls.get(&crl_id(url, &subject.issuer.id)));
            let crls = crls.filter_map(|crl| crl.question.next);
            let ocsp = self.responders.get(&subject.id).filter(|_| chain.ocsp);
            crls.chain(ocsp.and_then(|responder| responder.question.next)).min()
        };
        subjects.filter_map(of_one).min()
    }
}

/// The words about one certificate.
struct Said {
    revoked: Option<Finding>,
    good: Option<(String, Timestamp)>,
    /// Since when nothing good holds, if nothing does.
    since: Timestamp,
    errors: Vec<String>,
}

impl Said {
    /// A good word of a source; it may be over.
    fn holds(&mut self, question: &Question, source: &str, now: Timestamp) {
        let Some(until) = question.holds_until else { return };
        if until > now {
            // The one that holds longest: one source is enough.
            if self.good.as_ref().is_none_or(|(_, held)| *held < until) {
                self.good = Some((source.to_owned(), until));
            }
        } else {
            self.since = self.since.max(until);
        }
    }

    fn why(&self) -> String {
        if self.errors.is_empty() { "no answer yet".to_owned() } else { self.errors.join("; ") }
    }
}

impl Question {
    fn begin(&mut self) {
        self.next = None;
        self.asking = true;
    }

    fn answered(&mut self, this_update: Timestamp, next_update: Timestamp) {
        (self.errors, self.error) = (0, None);
        (self.this_update, self.holds_until) = (Some(this_update), Some(next_update));
    }

    fn failed(&mut self, error: String) {
        self.errors = self.errors.saturating_add(1);
        self.error = Some(error);
    }

    /// Puts it on the agenda, in place of where it stood.
    fn put_off(&mut self, agenda: &mut BTreeSet<(Timestamp, Id)>, id: Id, next: Timestamp, due: Timestamp) {
        if let Some(before) = self.next.replace(next) {
            agenda.remove(&(before, id));
        }
        self.due = Some(due);
        agenda.insert((next, id));
    }

    fn forget(&self, agenda: &mut BTreeSet<(Timestamp, Id)>, id: Id) {
        if let Some(next) = self.next {
            agenda.remove(&(next, id));
        }
    }
}

/// In 0..1, other for each question and each time it is asked.
fn random(seed: u64, id: &Id, now: Timestamp) -> f64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id[..8]);
    fraction(seed ^ u64::from_le_bytes(bytes), now.as_second().unsigned_abs())
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
