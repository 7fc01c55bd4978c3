//! What follows from an answer, or from none.

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::ocsp::Status;

use super::question::random;
use super::{ChainKey, JOINED_WAIT, Watch};
use crate::lifecycle::plus;
use crate::revocation::crl::{self, CrlId};
use crate::revocation::schedule::{after_answer, after_error};
use crate::revocation::staple::Kept;
use crate::revocation::{Id, at_second, ocsp};

impl Watch {
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
}
