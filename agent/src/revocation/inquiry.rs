//! Who asks: the loop's questions, and one bounded look at a chain that is not current yet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::ocsp::Status;

use super::crl::{self, Cache, Word, crl_id};
use super::fetch::Fetch;
use super::ocsp::{self, NONCE_BYTES};
use super::staple::Kept;
use super::subject::{Subject, subjects};
use super::watch::Ask;
use super::{Finding, Id, at_second};
use crate::clock::Clock;

/// A fresh chain waits for so long, whatever its sources do: what cannot be known in this time is found by the watch
/// once it is current.
const FRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// What asking may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one request to a responder.
    pub timeout: Duration,
    /// For one CRL.
    pub crl_timeout: Duration,
    /// Of a CRL, more is not read.
    pub crl_max_bytes: usize,
}

/// Asks responders and distribution points; shared by the loop and by attempts.
#[derive(Clone)]
pub struct Inquiry {
    fetch: Arc<dyn Fetch>,
    cache: Cache,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// [`FRESH_TIMEOUT`]; tests do not have the time.
    fresh_timeout: Duration,
}

/// What came of a question.
#[derive(Debug)]
pub enum Told {
    /// By a distribution point.
    Crl(Id, crl::Outcome),
    /// By a responder.
    Ocsp(Id, Result<ocsp::Answer, String>),
}

impl Inquiry {
    /// Over `fetch`, with the CRLs kept below `state_dir`.
    #[must_use]
    pub fn new(fetch: Arc<dyn Fetch>, state_dir: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let cache = Cache::new(state_dir);
        Self { fetch, cache, limits, clock, fresh_timeout: FRESH_TIMEOUT }
    }

    /// The CRLs on disk.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Asks and checks the answer; ends by its own limits.
    pub async fn ask(&self, ask: Ask) -> Told {
        match ask {
            Ask::Crl { id, url, issuer, subjects, fetch } => {
                let (timeout, max_bytes) = (self.limits.crl_timeout, self.limits.crl_max_bytes);
                let question = crl::Question { id, url, issuer, subjects, fetch, timeout, max_bytes };
                let outcome = crl::ask(question, &*self.fetch, self.cache.clone(), self.clock.now()).await;
                Told::Crl(id, outcome)
            }
            Ask::Ocsp(subject) => {
                let id = subject.id;
                Told::Ocsp(id, self.ocsp(subject).await)
            }
        }
    }

    async fn ocsp(&self, subject: Arc<Subject>) -> Result<ocsp::Answer, String> {
        let mut nonce = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "the system gives no random numbers".to_owned())?;
        let question = ocsp::Question { subject, nonce, timeout: self.limits.timeout };
        ocsp::ask(&question, &*self.fetch, self.clock.now()).await
    }

    /// Looks at a chain before it becomes current: the CRLs that are on disk (an intermediate's is, as a rule), and its
    /// responders if `ask_ocsp`, all within a few seconds. Who does not answer is not waited for; that is no
    /// reason to keep a chain out. Gives the response about the leaf to present from the start, if there is one.
    ///
    /// # Errors
    /// A certificate of it is revoked.
    pub async fn fresh(
        &self,
        chain: &[CertificateDer<'static>],
        anchors: &Anchors,
        ask_ocsp: bool,
    ) -> Result<Option<Kept>, Finding> {
        let looks = subjects(chain, anchors).into_iter().map(|subject| async move {
            let subject = Arc::new(subject);
            let by_ocsp = async { if ask_ocsp { self.fresh_ocsp(&subject).await } else { Ok(None) } };
            let (on_crl, by_ocsp) = tokio::join!(self.on_kept_crls(&subject), by_ocsp);
            on_crl.map_or(by_ocsp, Err)
        });
        let mut staple = None;
        for look in futures_util::future::join_all(looks).await {
            staple = staple.or(look?);
        }
        Ok(staple)
    }

    /// Asks every source about a chain anew, whatever is known: tells the first revocation that is found.
    ///
    /// # Errors
    /// No source could be asked, and why.
    pub async fn look(
        &self,
        chain: &[CertificateDer<'static>],
        anchors: &Anchors,
    ) -> Result<Option<Finding>, String> {
        let (mut answered, mut failure) = (false, "its certificates name nobody to ask".to_owned());
        for subject in subjects(chain, anchors).into_iter().map(Arc::new) {
            for url in subject.crls() {
                let outcome = crl::ask(
                    self.question(&subject, url, true),
                    &*self.fetch,
                    self.cache.clone(),
                    self.clock.now(),
                );
                let outcome = outcome.await;
                failure = outcome.error.unwrap_or(failure);
                let Some(mut answer) = outcome.answer else { continue };
                answered = true;
                if let Some(Word::Revoked { at, reason }) = answer.words.remove(&subject.id) {
                    let (which, source) = (subject.which.clone(), url.to_owned());
                    return Ok(Some(Finding { which, at, reason, source }));
                }
            }
            if subject.responders.is_empty() {
                continue;
            }
            match self.ocsp(Arc::clone(&subject)).await {
                Ok(answer) => {
                    answered = true;
                    if let Status::Revoked { at, reason } = answer.verified.status {
                        let (which, at) = (subject.which.clone(), at_second(at));
                        return Ok(Some(Finding { which, at, reason, source: answer.url }));
                    }
                }
                Err(error) => failure = error,
            }
        }
        if answered { Ok(None) } else { Err(failure) }
    }

    fn question(&self, subject: &Arc<Subject>, url: &str, fetch: bool) -> crl::Question {
        crl::Question {
            id: crl_id(url, &subject.issuer.id),
            url: url.to_owned(),
            issuer: Arc::clone(&subject.issuer),
            subjects: vec![Arc::clone(subject)],
            fetch,
            timeout: if fetch { self.limits.crl_timeout } else { FRESH_TIMEOUT },
            max_bytes: self.limits.crl_max_bytes,
        }
    }

    async fn on_kept_crls(&self, subject: &Arc<Subject>) -> Option<Finding> {
        for url in subject.crls() {
            let question = self.question(subject, url, false);
            let kept = crl::kept(question, self.cache.clone(), self.clock.now()).await;
            if let Some(Word::Revoked { at, reason }) =
                kept.and_then(|mut kept| kept.words.remove(&subject.id))
            {
                return Some(Finding { which: subject.which.clone(), at, reason, source: url.to_owned() });
            }
        }
        None
    }

    async fn fresh_ocsp(&self, subject: &Arc<Subject>) -> Result<Option<Kept>, Finding> {
        if subject.responders.is_empty() {
            return Ok(None);
        }
        let asked = tokio::time::timeout(self.fresh_timeout, self.ocsp(Arc::clone(subject)));
        let Ok(Ok(answer)) = asked.await else { return Ok(None) };
        if let Status::Revoked { at, reason } = answer.verified.status {
            let (which, at) = (subject.which.clone(), at_second(at));
            return Err(Finding { which, at, reason, source: answer.url });
        }
        Ok(Kept::of(&answer.response, &answer.verified).filter(|_| !subject.is_ca()))
    }
}

#[cfg(test)]
#[path = "inquiry_tests.rs"]
mod tests;
