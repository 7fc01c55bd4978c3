//! The Lease: looked at every few seconds, renewed while it is ours, taken when it is free, released at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::News;
use super::api::{ApiError, Lease};
use super::contents::Contents;
use super::copies::{Copies, ShareError};
use super::election::{Record, Step};
use super::place::Part;
use super::secret::Verdict;

/// Runs until `tasks` is cancelled.
pub(super) async fn keep(copies: Arc<Copies>, tasks: CancellationToken) {
    let mut told = None;
    loop {
        let retry = copies.place.terms.retry;
        if let Err(error) = look(&copies).await {
            copies.trouble(&copies.place.name, error.to_string()).await;
        } else {
            copies.mended(&copies.place.name).await;
        }
        tell(&copies, &mut told).await;
        // Replicas that start together do not ask together for ever.
        let pause = retry.mul_f64(0.8 + 0.4 * fastrand::f64());
        tokio::select! {
            () = tasks.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    release(&copies).await;
}

/// Copies what has changed, beside the Lease: an API server that is slow must not cost it. Runs until `tasks` is
/// cancelled.
pub(super) async fn copy(copies: Arc<Copies>, tasks: CancellationToken) {
    loop {
        tokio::select! {
            () = tasks.cancelled() => return,
            () = tokio::time::sleep(copies.place.terms.retry) => {}
        }
        flush(&copies).await;
    }
}

/// One look at the Lease, and what follows from it.
async fn look(copies: &Copies) -> Result<(), ApiError> {
    let lease = copies.api.lease(&copies.place.name).await?;
    let read = lease.record();
    let step = {
        let mut election = copies.election();
        election.saw(read.clone(), Instant::now());
        election.step(Instant::now())
    };
    match step {
        Step::Follow => Ok(()),
        Step::Renew => write(copies, lease, read.transitions).await,
        Step::Take(term) => write(copies, lease, term).await,
    }
}

async fn write(copies: &Copies, lease: Lease, term: u64) -> Result<(), ApiError> {
    let (me, terms) = {
        let election = copies.election();
        (election.me().to_owned(), election.terms())
    };
    let record = Record {
        holder: me,
        seconds: terms.lease.as_secs(),
        renewed: format!("{:.6}", Timestamp::now()),
        transitions: term,
    };
    // Before it is asked: the others count from when they see it, which is later.
    let asked = Instant::now();
    match copies.api.replace_lease(&copies.place.name, &lease.with(&record)).await {
        Ok(written) => {
            copies.election().wrote(Record { renewed: written.record().renewed, ..record }, asked);
            Ok(())
        }
        // Another was faster; the next look tells who.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tells the loop who leads, if that is news.
async fn tell(copies: &Copies, told: &mut Option<(Option<u64>, String)>) {
    let now = {
        let election = copies.election();
        let leader = election.leader();
        // What stands still may be gone; what was ours and is in doubt is nobody's.
        let leader = if leader == election.me() { "" } else { leader };
        (election.term(Instant::now()), leader.to_owned())
    };
    if told.as_ref() == Some(&now) {
        return;
    }
    let news = match &now {
        (Some(term), _) => {
            tracing::info!(term, lease = copies.place.name, "this replica leads");
            News::Leads { term: *term, certificates: read_all(copies).await }
        }
        (None, leader) => {
            tracing::info!(leader, lease = copies.place.name, "this replica follows");
            News::Follows { leader: leader.clone() }
        }
    };
    if copies.news.send(news).await.is_ok() {
        *told = Some(now);
    }
}

/// What the certificates' Secrets hold. One that cannot be read holds up no other: its own is tried again when it is
/// written.
async fn read_all(copies: &Copies) -> BTreeMap<String, Contents> {
    let mut found = BTreeMap::new();
    for part in copies.parts() {
        let Ok(ours) = copies.local(&part, None) else { continue };
        let name = copies.place.secret(&part);
        let secret = match copies.api.secret(&name).await {
            Ok(secret) => secret,
            Err(error) => {
                copies.trouble(&name, error.to_string()).await;
                continue;
            }
        };
        let verdict = secret.judge(&ours);
        copies.shelve(&part, Some(secret)).await;
        let have_nothing = match part {
            Part::Certificate(_) => ours.generation().is_none(),
            Part::Account(_) => ours.is_empty(),
        };
        let theirs = match verdict {
            Verdict::Other(contents) => contents,
            // Better than an order or another account, if it is found whole; we have nothing else.
            Verdict::Edited(Some(contents), _) if have_nothing => contents,
            _ => continue,
        };
        match part {
            Part::Certificate(certificate) => {
                found.insert(certificate, theirs);
            }
            Part::Account(issuer) => {
                if let Err(error) = copies.take_account(&issuer, &theirs) {
                    copies.trouble(&name, error.to_string()).await;
                }
            }
        }
    }
    found
}

async fn flush(copies: &Copies) {
    if !copies.leads() {
        return;
    }
    for part in copies.take_dirty() {
        let name = copies.place.secret(&part);
        match copies.copy_part(&part, None).await {
            Ok(()) => copies.mended(&name).await,
            Err(error) => {
                // Back first: we may lead again without having noticed that we did not.
                copies.put_back(part);
                if !matches!(error, ShareError::NotLeading(_)) {
                    copies.trouble(&name, error.to_string()).await;
                }
            }
        }
    }
}

/// Gives the Lease up, so that the next one need not wait for its end.
async fn release(copies: &Copies) {
    if copies.election().term(Instant::now()).is_none() {
        return;
    }
    let released = async {
        let lease = copies.api.lease(&copies.place.name).await?;
        let record = lease.record();
        if record.holder != copies.election().me() {
            return Ok(());
        }
        let record = Record { holder: String::new(), seconds: 1, ..record };
        copies.api.replace_lease(&copies.place.name, &lease.with(&record)).await.map(|_| ())
    };
    if let Err(error) = released.await {
        tracing::warn!(%error, "the Lease is not released; another replica takes it when it ends");
    }
}
