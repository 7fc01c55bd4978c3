//! What is known of a chain, by all answers together.

use std::sync::Arc;

use jiff::Timestamp;
use sealwire_proto::ocsp::Status;

use super::question::Question;
use super::{ChainKey, Judged, Responder, State, Unstapled, Watch};
use crate::delivery::Staple;
use crate::lifecycle::plus;
use crate::revocation::crl::{Word, crl_id};
use crate::revocation::{Finding, Subject, Verdict, at_second};

impl Watch {
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
