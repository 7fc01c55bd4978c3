//! CRLs: fetched from the distribution points that certificates name, or taken from the disk, checked, and read
//! once for everybody who waits for them.

mod cache;
mod check;
mod parse;
mod tlv;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Id;
use super::fetch::{Fetch, Request};
use super::subject::{Issuer, Subject};
pub use cache::{Cache, CrlId, crl_id};
pub use check::Word;
pub use parse::{Crl, CrlError, Entry, Number, Scope};

/// What is asked of one distribution point.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its name.
    pub id: CrlId,
    /// Where it is.
    pub url: String,
    /// Who signs it.
    pub issuer: Arc<Issuer>,
    /// Whom it is asked about.
    pub subjects: Vec<Arc<Subject>>,
    /// Fetch it although the one on disk still holds.
    pub fetch: bool,
    /// For the whole of it.
    pub timeout: Duration,
    /// More is not read.
    pub max_bytes: usize,
}

/// What a CRL that holds says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it was issued.
    pub this_update: Timestamp,
    /// Until when it holds.
    pub next_update: Timestamp,
    /// About each certificate in question.
    pub words: HashMap<Id, Word>,
}

/// What came of a question. Both: it could not be fetched, but the one on disk still holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the newest CRL says that can be believed.
    pub answer: Option<Answer>,
    /// Why it is not a newer one.
    pub error: Option<String>,
}

/// Asks.
pub async fn ask(question: Question, fetch: &dyn Fetch, cache: Cache, now: Timestamp) -> Outcome {
    let question = Arc::new(question);
    if !question.fetch {
        let kept = read_aside(&question, None, &cache, now).await;
        if kept.answer.is_some() {
            return kept;
        }
    }
    let request = Request {
        url: &question.url,
        body: None,
        accept: "application/pkix-crl, */*;q=0.1",
        max_bytes: question.max_bytes,
        timeout: question.timeout,
    };
    let fetched = fetch.fetch(request).await.map(|reply| reply.body).map_err(|error| error.to_string());
    read_aside(&question, Some(fetched), &cache, now).await
}

/// What the CRL on disk says, if it still holds; nobody is asked.
pub async fn kept(question: Question, cache: Cache, now: Timestamp) -> Option<Answer> {
    read_aside(&Arc::new(question), None, &cache, now).await.answer
}

/// A CRL may have many megabytes: not on the threads that others wait for.
async fn read_aside(
    question: &Arc<Question>,
    fetched: Option<Result<Vec<u8>, String>>,
    cache: &Cache,
    now: Timestamp,
) -> Outcome {
    let (question, cache) = (Arc::clone(question), cache.clone());
    let read = tokio::task::spawn_blocking(move || read(&question, fetched, &cache, now));
    read.await.unwrap_or_else(|error| Outcome {
        answer: None,
        error: Some(format!("reading the CRL broke off: {error}; this is a bug, please report it")),
    })
}

fn believed<'a>(bytes: &'a [u8], question: &Question) -> Result<Crl<'a>, CrlError> {
    let crl = Crl::parse(bytes)?;
    crl.verify(&question.issuer)?;
    Ok(crl)
}

/// What was fetched, else what is kept.
fn read(
    question: &Question,
    fetched: Option<Result<Vec<u8>, String>>,
    cache: &Cache,
    now: Timestamp,
) -> Outcome {
    let kept = cache.load(&question.id, question.max_bytes).unwrap_or_else(|error| {
        tracing::warn!(url = question.url, %error, "cannot read the CRL that was kept");
        None
    });
    // A file that was tampered with, or is another issuer's, says nothing, its number included.
    let kept = kept.as_deref().and_then(|bytes| believed(bytes, question).ok());
    let error = match fetched {
        None => None,
        Some(Err(error)) => Some(error),
        Some(Ok(bytes)) => match take(&bytes, kept.as_ref(), question, cache, now) {
            Ok(answer) => return Outcome { answer: Some(answer), error: None },
            Err(error) => Some(format!("sends what cannot be used: {error}")),
        },
    };
    let held = kept.filter(|crl| crl.check_time(now).is_ok());
    let answer = held.and_then(|crl| answer(&crl, question).ok());
    let error = error.map(|error| format!("{} {error}", question.url));
    Outcome { answer, error }
}

fn take(
    bytes: &[u8],
    kept: Option<&Crl<'_>>,
    question: &Question,
    cache: &Cache,
    now: Timestamp,
) -> Result<Answer, CrlError> {
    let crl = believed(bytes, question)?;
    crl.check_time(now)?;
    if let Some(kept) = kept {
        crl.check_follows(kept, &Cache::file(&question.id))?;
    }
    let answer = answer(&crl, question)?;
    let same = kept.is_some_and(|kept| kept.signed == crl.signed);
    if !same && let Err(error) = cache.save(&question.id, bytes) {
        // It says what it says; a restart fetches it again.
        tracing::warn!(url = question.url, %error, "cannot keep the CRL");
    }
    Ok(answer)
}

fn answer(crl: &Crl<'_>, question: &Question) -> Result<Answer, CrlError> {
    Ok(Answer {
        this_update: crl.this_update,
        next_update: crl.next_update,
        words: crl.words(&question.subjects)?,
    })
}

#[cfg(test)]
#[path = "crl_tests.rs"]
mod tests;
