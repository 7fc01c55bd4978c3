//! One order from start to chain (RFC 8555 section 7.4), taken up from wherever the CA says it stands.

use std::time::Duration;

use http::StatusCode;
use instant_acme::{Account, Error, Order, OrderStatus};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::StepKind;
use tokio::time::Instant;

use super::call::call;
use super::chain::{check_key, parse_chain};
use super::challenge::Challenges;
use super::http::Answer;
use super::place::Unsure;
use super::problem::{Ca, describe, kind};
use super::validate::clean_up;
use super::wire::{Signer, Wire};
use crate::issuer::{ErrorClass, IssueError, OrderRequest, Progress};

/// CAs on one machine are done in milliseconds, public ones in seconds.
const FIRST_POLL: Duration = Duration::from_millis(250);
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// The CA's own word (RFC 8555 section 7.5.1), within reason.
const ASKED_POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Polls in a row that may fail before the attempt is given up. The order stays in the journal.
const FAILED_POLLS: usize = 3;

/// An order under way.
pub(super) struct OrderRun<'a> {
    pub(super) ca: &'a Ca,
    pub(super) account: &'a Account,
    pub(super) challenges: &'a Challenges,
    /// For requests that instant-acme has no call for.
    pub(super) wire: Wire<'a>,
    pub(super) signer: Signer<'a>,
    /// What the CA is to be asked for.
    pub(super) profile: Option<&'a str>,
    /// The chain that is wanted, by the name of its root.
    pub(super) preferred_chain: Option<&'a str>,
    /// Orders that the CA may have accepted without our knowing.
    pub(super) unsure: &'a Unsure,
    pub(super) request: &'a OrderRequest,
    pub(super) progress: &'a dyn Progress,
    /// After this nothing new is begun.
    pub(super) deadline: Instant,
    /// The same as a duration, for messages.
    pub(super) timeout: Duration,
}

impl OrderRun<'_> {
    /// Obtains the chain.
    ///
    /// # Errors
    /// [`IssueError`], by what is to be done next.
    pub(super) async fn run(&self) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let mut order = match &self.request.resume {
            Some(url) => self.resume(url).await?,
            None => self.place(self.profile).await?,
        };
        if order.state().status == OrderStatus::Pending {
            let answered = self.answer_challenges(&mut order).await?;
            let polled = self.poll(&mut order, &[OrderStatus::Pending], None, "validated the names").await;
            clean_up(answered).await;
            polled?;
        }
        if order.state().status == OrderStatus::Ready {
            self.challenges.succeeded(&self.ca.issuer, &self.request.identifiers);
            self.progress.step(StepKind::Authorized, self.request.identifiers.join(", "));
            let asked = self.finalize(&mut order).await?;
            let waiting = [OrderStatus::Ready, OrderStatus::Processing];
            self.poll(&mut order, &waiting, asked, "issued the certificate").await?;
        } else if order.state().status == OrderStatus::Processing {
            self.poll(&mut order, &[OrderStatus::Processing], None, "issued the certificate").await?;
        }
        if order.state().status != OrderStatus::Valid {
            return Err(self.refusal(&mut order).await);
        }
        self.download(&mut order).await
    }

    /// An order of an earlier attempt.
    async fn resume(&self, url: &str) -> Result<Order, IssueError> {
        match call!(raw, self.account.order(url.to_owned())) {
            Ok((mut order, _)) => {
                if order.state().status == OrderStatus::Invalid {
                    return Err(self.lost("it has failed or expired"));
                }
                self.progress.step(StepKind::Ordered, format!("resumed {url}"));
                Ok(order)
            }
            Err((error, answer)) if is_gone(&error, answer.as_ref()) => {
                let why = match &error {
                    Error::Api(problem) => describe(problem),
                    _ => "the CA does not know it".to_owned(),
                };
                Err(self.lost(&why))
            }
            Err((error, answer)) => Err(self.ca.error("read the order", &error, answer.as_ref())),
        }
    }

    fn lost(&self, why: &str) -> IssueError {
        let url = self.request.resume.as_deref().unwrap_or_default();
        IssueError::new(
            ErrorClass::OrderLost,
            format!("issuer {}: the order {url} cannot be resumed: {why}", self.ca.issuer),
        )
    }

    /// `OrderLost` for a resumed order, else an error of `class`.
    pub(super) fn unusable(&self, class: ErrorClass, why: &str) -> IssueError {
        if self.request.resume.is_some() {
            return self.lost(why);
        }
        IssueError::new(class, format!("issuer {}: {why}", self.ca.issuer))
    }

    /// Sends the CSR. Gives the CA's wish on when to look again.
    async fn finalize(&self, order: &mut Order) -> Result<Option<Duration>, IssueError> {
        self.check_deadline("issued the certificate")?;
        match call!(raw, order.finalize_csr(&self.request.csr_der)) {
            Ok(((), answer)) => Ok(answer.and_then(|answer| answer.retry_after)),
            Err((error, answer)) => Err(self.ca.error("finalize the order", &error, answer.as_ref())),
        }
    }

    /// Refreshes the order until it has none of the states in `waiting`.
    async fn poll(
        &self,
        order: &mut Order,
        waiting: &[OrderStatus],
        mut asked: Option<Duration>,
        doing: &str,
    ) -> Result<(), IssueError> {
        let mut delay = FIRST_POLL;
        let mut failed = 0;
        while waiting.contains(&order.state().status) {
            self.check_deadline(doing)?;
            let wait = asked.map_or(delay, |asked| asked.clamp(ASKED_POLL.0, ASKED_POLL.1));
            // The last look is at the deadline.
            tokio::time::sleep_until(self.deadline.min(Instant::now() + wait)).await;
            delay = (delay * 2).min(LONGEST_POLL);
            match call!(raw, async { order.refresh().await.map(|_| ()) }) {
                Ok(((), answer)) => {
                    failed = 0;
                    asked = answer.and_then(|answer| answer.retry_after);
                }
                Err((error, answer)) => {
                    let error = self.ca.error("read the order", &error, answer.as_ref());
                    failed += 1;
                    if error.class != ErrorClass::Transient || failed == FAILED_POLLS {
                        return Err(error);
                    }
                    tracing::debug!(issuer = self.ca.issuer, %error, "polling goes on");
                    asked = error.retry_after;
                }
            }
        }
        Ok(())
    }

    pub(super) fn check_deadline(&self, doing: &str) -> Result<(), IssueError> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(IssueError::new(
            ErrorClass::Transient,
            format!(
                "issuer {}: the CA has not {doing} within {} s; the order is kept and taken up again",
                self.ca.issuer,
                self.timeout.as_secs()
            ),
        ))
    }

    async fn download(&self, order: &mut Order) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let downloaded = call!(raw, order.certificate());
        let (pem, answer) = downloaded
            .map_err(|(error, answer)| self.ca.error("download the certificate", &error, answer.as_ref()))?;
        let chain =
            parse_chain(&pem.unwrap_or_default()).map_err(|why| self.unusable(ErrorClass::Ca, &why))?;
        let chain = self.preferred(chain, answer.as_ref()).await;
        let leaf =
            check_key(&chain[0], &self.request.csr_der).map_err(|why| self.unusable(ErrorClass::Ca, &why))?;
        let until = Timestamp::from_second(leaf.not_after).unwrap_or(Timestamp::MAX);
        self.progress.step(StepKind::Issued, format!("serial {}, valid until {until}", leaf.serial));
        Ok(chain)
    }
}

/// Whether the CA no longer has the order: unknown, or of another account.
fn is_gone(error: &Error, answer: Option<&Answer>) -> bool {
    match error {
        Error::Api(problem) if kind(problem) == "accountDoesNotExist" => false,
        Error::Api(problem) if matches!(kind(problem), "malformed" | "unauthorized") => true,
        _ => answer.is_some_and(|answer| answer.status == StatusCode::NOT_FOUND),
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
