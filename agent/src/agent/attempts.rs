//! What runs beside the loop: orders, rehearsals, questions for renewal information. Each is a task of its
//! own, bounded per issuer, so that one that is stuck holds up nobody else; one that panics is caught,
//! counted and tried again.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sealwire_proto::v1::StepKind;
use tokio::task::{Id, JoinError};

use super::Agent;
use crate::issuer::{ErrorClass, IssueError, Placed, RenewalInfo};
use crate::lifecycle::limits::OrderKind;
use crate::obtain::Attempt;
use crate::rehearse::rehearse;
use crate::store::Generation;

/// A question for renewal information is one small request.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What a task is about.
#[derive(Clone, Debug)]
pub(super) struct Underway {
    certificate: String,
    issuer: String,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    Obtain {
        /// What the order was charged as when the attempt began; `None`: it was charged before a restart.
        charged: Option<OrderKind>,
        placed: Arc<OnceLock<Placed>>,
    },
    /// For this issuer, at the one of [`Underway`].
    Rehearse {
        of: String,
    },
    Ask {
        generation: u64,
    },
}

/// How a task ended.
pub(super) enum Ended {
    Obtained(Result<Box<Generation>, IssueError>),
    Rehearsed(Result<(), IssueError>),
    Answered(Result<Option<RenewalInfo>, IssueError>),
}

impl Agent {
    pub(super) fn obtain(&mut self, name: &str, issuer: &str) {
        let now = self.now_at(issuer);
        let (Some(managed), Some(source)) = (self.certificates.get_mut(name), self.sources.get(issuer))
        else {
            return;
        };
        // What is charged is what the model says now; what the CA makes of it is known later.
        let kind = managed.facts().order_kind(issuer);
        let charged = (!managed.resumes(issuer)).then_some(kind);
        if let (Some(kind), Some(state)) = (charged, self.issuers.get_mut(issuer)) {
            state.ledger.charge_order(now, &state.limits, kind, &managed.policy.charges);
            self.issuers_changed.get_or_insert_with(Instant::now);
        }
        let replaces = managed.replaces(issuer);
        // Embedded CAs have no profiles.
        let acme = self.config.acme.get(issuer);
        let profile = acme.and_then(|acme| managed.config.profile.clone().or_else(|| acme.profile.clone()));
        let because = managed.begin();
        let placed = Arc::<OnceLock<Placed>>::default();
        let attempt = Attempt {
            certificate: name.to_owned(),
            identifiers: managed.config.identifiers.clone(),
            issuer: Arc::clone(&source.issuer),
            anchors: Arc::clone(&source.anchors),
            store: managed.store.clone(),
            steps: Arc::clone(&self.steps),
            clock: Arc::clone(&self.clock),
            profile,
            key_type: managed.config.key_type,
            reuse: managed.reusable().cloned(),
            replaces,
            replicas: self.replicas.as_ref().map(|replicas| Arc::clone(&replicas.copies)),
            placed: Arc::clone(&placed),
            revocation: self.revocations.fresh(managed.config.ocsp),
        };
        self.step(name, 0, StepKind::Started, format!("from {issuer}: {because}"));
        self.save_memory(name);
        self.spawn(name, issuer, Work::Obtain { charged, placed }, async move {
            Ended::Obtained(attempt.run().await.map(Box::new))
        });
    }

    pub(super) fn rehearse(&mut self, name: &str, at: &str, issuer: &str) {
        let (Some(managed), Some(source)) = (self.certificates.get_mut(name), self.sources.get(at)) else {
            return;
        };
        let because = managed.begin();
        let (config, staging) = (Arc::clone(&managed.config), Arc::clone(&source.issuer));
        self.step(name, 0, StepKind::Started, format!("rehearsed at {at} for {issuer}: {because}"));
        let certificate = name.to_owned();
        let steps = Arc::clone(&self.steps);
        self.spawn(name, at, Work::Rehearse { of: issuer.to_owned() }, async move {
            Ended::Rehearsed(rehearse(&certificate, &config.identifiers, &*staging, &steps).await)
        });
    }

    pub(super) fn ask(&mut self, name: &str, issuer: &str) {
        let (Some(managed), Some(source)) = (self.certificates.get_mut(name), self.sources.get(issuer))
        else {
            return;
        };
        let Some(current) = managed.current.clone() else { return };
        managed.asking = true;
        let issuer_handle = Arc::clone(&source.issuer);
        let work = Work::Ask { generation: current.number };
        self.spawn(name, issuer, work, async move {
            let asked =
                tokio::time::timeout(QUESTION_TIMEOUT, issuer_handle.renewal_info(current.chain.leaf()))
                    .await;
            Ended::Answered(asked.unwrap_or_else(|_| {
                let text = format!("no answer within {} s", QUESTION_TIMEOUT.as_secs());
                Err(IssueError::new(ErrorClass::Transient, text))
            }))
        });
    }

    fn spawn(
        &mut self,
        name: &str,
        issuer: &str,
        work: Work,
        task: impl Future<Output = Ended> + Send + 'static,
    ) {
        let Some(source) = self.sources.get(issuer) else { return };
        let places = Arc::clone(match work {
            Work::Ask { .. } => &source.questions,
            _ => &source.places,
        });
        let task = self.attempts.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            task.await
        });
        let underway = Underway { certificate: name.to_owned(), issuer: issuer.to_owned(), work };
        self.underway.insert(task.id(), underway);
    }

    pub(super) fn attempt_ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(Underway { certificate, issuer, work }) = self.underway.remove(&id) else { return };
        let ended = ended.map(|(_, ended)| ended).map_err(|error| {
            self.panics += 1;
            let message = format!("the attempt broke off: {error}; this is a bug, please report it");
            IssueError::new(ErrorClass::Ours, message)
        });
        match work {
            Work::Obtain { charged, placed } => {
                let result = match ended {
                    Ok(Ended::Obtained(result)) => result.map(|generation| *generation),
                    Ok(_) => return,
                    Err(error) => Err(error),
                };
                self.tally.attempt(&issuer, "order", result.as_ref().err());
                self.settle_charges(&certificate, &issuer, charged, placed.get(), result.as_ref().err());
                self.obtained(&certificate, &issuer, result);
            }
            Work::Rehearse { of } => {
                let result = match ended {
                    Ok(Ended::Rehearsed(result)) => result,
                    Ok(_) => return,
                    Err(error) => Err(error),
                };
                self.tally.attempt(&issuer, "rehearsal", result.as_ref().err());
                self.rehearsed(&certificate, &of, result);
            }
            Work::Ask { generation } => {
                let answer = match ended {
                    Ok(Ended::Answered(answer)) => answer,
                    Ok(_) => return,
                    Err(error) => Err(error),
                };
                self.tally.attempt(&issuer, "renewal_info", answer.as_ref().err());
                self.answered(&certificate, generation, answer);
            }
        }
        self.look_at(&certificate);
    }

    /// Brings the model of the CA's limits in line with what became of an order.
    fn settle_charges(
        &mut self,
        name: &str,
        issuer: &str,
        charged: Option<OrderKind>,
        placed: Option<&Placed>,
        error: Option<&IssueError>,
    ) {
        let now = self.now_at(issuer);
        let (Some(state), Some(managed)) = (self.issuers.get_mut(issuer), self.certificates.get(name)) else {
            return;
        };
        let charges = &managed.policy.charges;
        self.issuers_changed.get_or_insert_with(Instant::now);
        if let Some(mut kind) = charged {
            match placed {
                None => state.ledger.refund_order(&state.limits, kind, charges),
                Some(placed) => {
                    // The CA did not take it for what we did.
                    let took = match (kind, placed.replaces) {
                        (OrderKind::Replaces, false) => OrderKind::Renewal,
                        (_, true) => OrderKind::Replaces,
                        (kind, false) => kind,
                    };
                    if took != kind {
                        state.ledger.refund_order(&state.limits, kind, charges);
                        state.ledger.charge_order(now, &state.limits, took, charges);
                        kind = took;
                    }
                    if error.is_some() {
                        state.ledger.refund_certificate(&state.limits, kind, charges);
                    }
                }
            }
        }
        let Some(error) = error else { return };
        match error.class {
            ErrorClass::Identifier => state.ledger.charge_failure(now, &state.limits, charges),
            ErrorClass::Ca => {
                state.refused(now, name, error);
                if let Some(block) = &state.blocked {
                    tracing::warn!(issuer, until = %block.until, why = block.why, "no orders from this CA until then");
                }
            }
            _ => {}
        }
    }

    pub(super) fn obtained(&mut self, name: &str, issuer: &str, result: Result<Generation, IssueError>) {
        let now = self.now_for(name);
        // Held, then swapped in, then seen.
        let limit = 2 * self.config.delivery.ack_timeout + self.config.delivery.proof_timeout;
        if let Err(error) = &result
            && !self.leads()
        {
            // The journal is in the Secret: whoever leads goes on with it, and counts.
            let text = format!("this replica does not lead any more: {error}");
            if let Some(managed) = self.certificates.get_mut(name) {
                managed.given_up();
            }
            self.end_run(name, 0, Err(text));
            return;
        }
        self.judge_attempt(name, result.as_ref().err());
        let tainted = result.as_ref().ok().and_then(|generation| self.tainted(name, generation));
        let Some(managed) = self.certificates.get_mut(name) else { return };
        match result {
            Ok(generation) => {
                let number = generation.number;
                let deadline = Instant::now() + limit + Duration::from_secs(2);
                managed.obtained(generation, deadline);
                if let Some(why) = tainted {
                    managed.memory.revoke_because(number, now, why);
                }
                let key = Arc::clone(&managed.name);
                self.runs.push(std::cmp::Reverse((deadline, key)));
                self.begin_swap(name);
                self.follow_new(name, number);
                self.settle(name);
                tracing::debug!(certificate = name, generation = number, "published");
            }
            Err(error) => {
                managed.failed(now, issuer, &error);
                let next = managed.decide(now, &self.issuers).at.max(now);
                self.save_memory(name);
                self.end_run(name, 0, Err(format!("{error}; next attempt at {next:.0}")));
            }
        }
    }

    fn rehearsed(&mut self, name: &str, issuer: &str, result: Result<(), IssueError>) {
        let now = self.now_for(name);
        let Some(managed) = self.certificates.get_mut(name) else { return };
        managed.obtaining = false;
        managed.memory.rehearsed(now, issuer, result.as_ref().map(|_| ()));
        let next = managed.decide(now, &self.issuers).at.max(now);
        self.save_memory(name);
        let text = match result {
            Ok(()) => format!("the rehearsal went well; ordering from {issuer} at {next:.0}"),
            Err(error) => format!("rehearsal: {error}; next attempt at {next:.0}"),
        };
        self.end_run(name, 0, Err(text));
    }

    fn answered(&mut self, name: &str, generation: u64, answer: Result<Option<RenewalInfo>, IssueError>) {
        let now = self.now_for(name);
        let Some(managed) = self.certificates.get_mut(name) else { return };
        managed.asking = false;
        if managed.current.as_ref().is_none_or(|current| current.number != generation) {
            return;
        }
        let before = managed.memory.ari.as_ref().and_then(|ari| ari.info.clone());
        managed.answered(now, generation, answer);
        if let Some(ari) = &managed.memory.ari {
            match (&ari.error, &ari.info) {
                (Some(error), _) => {
                    tracing::warn!(certificate = name, error, next = %ari.next, "no renewal information; asking again");
                }
                (None, Some(info)) if before.as_ref() != Some(info) => tracing::info!(
                    certificate = name,
                    start = %info.start,
                    end = %info.end,
                    drawn = ari.instant.map(|at| at.to_string()),
                    explanation = info.explanation_url,
                    "the CA tells when to renew"
                ),
                _ => {}
            }
        }
        self.save_memory(name);
    }
}
