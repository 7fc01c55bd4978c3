//! From a pending order to one whose authorizations the CA looks at: choose, prepare, tell.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Order};
use sealwire_proto::v1::StepKind;
use tokio::time::{timeout, timeout_at};

use super::call::call;
use super::challenge::{ChallengeError, Facts, Prepared, Solver, Standing, issuer_domains};
use super::order::OrderRun;
use super::problem::kind;
use crate::config::ChallengeKind;
use crate::issuer::{ErrorClass, IssueError};

/// How long an order waits for what is taken away; it goes on without us after that.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// An authorization that waits for us.
struct Pending {
    /// Among the order's authorizations.
    index: usize,
    identifier: String,
    url: String,
    /// The first choice first.
    offers: Vec<Offer>,
}

/// A challenge that we could answer.
struct Offer {
    solver: Arc<dyn Solver>,
    token: String,
    key_authorization: String,
    /// The CA was told already, by an earlier attempt.
    told: bool,
}

/// A challenge that is answered now.
struct Answered {
    index: usize,
    identifier: String,
    kind: ChallengeKind,
    told: bool,
    prepared: Box<dyn Prepared>,
}

impl OrderRun<'_> {
    /// Serves the answers of all pending authorizations, then tells the CA to ask for them.
    pub(super) async fn answer_challenges(
        &self,
        order: &mut Order,
    ) -> Result<Vec<Box<dyn Prepared>>, IssueError> {
        let mut pending = Vec::new();
        for index in 0..order.state().authorizations.len() {
            pending.extend(self.authorization(order, index).await?);
        }
        // At the same time: a hundred records that take a minute each to be seen must not take a hundred.
        let mut answered = Vec::new();
        let mut first_error = None;
        for result in join_all(pending.iter().map(|one| self.answer(one))).await {
            match result {
                Ok(one) => answered.push(one),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            clean_up(answered.into_iter().map(|one| one.prepared).collect()).await;
            return Err(error);
        }
        for one in answered.iter().filter(|one| !one.told) {
            self.tell_ready(order, one.index, &one.identifier, one.kind).await?;
        }
        Ok(answered.into_iter().map(|one| one.prepared).collect())
    }

    /// Looks at one authorization; `None` if it is valid already. instant-acme fetches it at the first look and
    /// keeps it until the next refresh of the order; a list that failed must be started anew, for it has passed
    /// the one that failed.
    async fn authorization(&self, order: &mut Order, index: usize) -> Result<Option<Pending>, IssueError> {
        self.check_deadline("validated the names")?;
        let thumbprint = self.signer.key.thumbprint();
        let looked = call!(self.ca, "read the authorizations", async {
            let mut list = order.authorizations();
            for _ in 0..index {
                list.next().await.transpose()?;
            }
            let Some(handle) = list.next().await.transpose()? else {
                return Ok(Err((String::new(), "is missing".to_owned())));
            };
            let (status, identifier) = (handle.status, handle.identifier().to_string());
            match status {
                AuthorizationStatus::Valid => return Ok(Ok(None)),
                AuthorizationStatus::Pending => {}
                status => return Ok(Err((identifier, format!("is {status:?}").to_lowercase()))),
            }
            let candidates =
                self.challenges.candidates(&self.ca.issuer, &self.request.certificate, &identifier);
            let wanted = candidates.iter().map(|solver| solver.kind().name()).collect::<Vec<_>>().join(", ");
            let mut offers = Vec::new();
            for solver in candidates {
                let wanted = type_of(solver.kind());
                let Some(challenge) = handle.challenges.iter().find(|one| one.r#type == wanted) else {
                    continue;
                };
                offers.push(Offer {
                    token: challenge.token.clone(),
                    // RFC 8555 section 8.1.
                    key_authorization: format!("{}.{thumbprint}", challenge.token),
                    told: challenge.status != ChallengeStatus::Pending,
                    solver,
                });
            }
            if offers.iter().any(|offer| offer.told) {
                // The CA looks at this one and will not look at another (RFC 8555 section 7.5.1).
                offers.retain(|offer| offer.told);
            }
            if offers.is_empty() {
                return Ok(Err((identifier, format!("is not offered for {wanted} (`challenges`)"))));
            }
            let url = handle.url().to_owned();
            Ok::<_, Error>(Ok(Some(Pending { index, identifier, url, offers })))
        })?;
        looked.map_err(|(identifier, state)| {
            self.unusable(ErrorClass::Identifier, &format!("the authorization of {identifier} {state}"))
        })
    }

    /// Prepares the first choice that can be.
    async fn answer(&self, pending: &Pending) -> Result<Answered, IssueError> {
        let Pending { index, identifier, .. } = pending;
        let mut class = None;
        let mut reasons = Vec::new();
        for offer in &pending.offers {
            let kind = offer.solver.kind();
            match self.prepare(pending, offer).await {
                Ok(prepared) => {
                    self.progress.step(StepKind::ChallengeReady, format!("{kind} for {identifier}"));
                    return Ok(Answered {
                        index: *index,
                        identifier: identifier.clone(),
                        kind,
                        told: offer.told,
                        prepared,
                    });
                }
                Err(error) => {
                    tracing::debug!(issuer = self.ca.issuer, identifier, %kind, %error, "cannot be prepared");
                    self.challenges.failed_with(&self.ca.issuer, identifier, kind);
                    class = class.or(Some(error.class));
                    reasons.push(format!("{kind}: {error}"));
                }
            }
        }
        let message = format!("issuer {}: {identifier}: {}", self.ca.issuer, reasons.join("; "));
        Err(IssueError::new(class.unwrap_or(ErrorClass::Ours), message))
    }

    async fn prepare(&self, pending: &Pending, offer: &Offer) -> Result<Box<dyn Prepared>, ChallengeError> {
        let mut facts = Facts {
            identifier: pending.identifier.clone(),
            token: offer.token.clone(),
            key_authorization: offer.key_authorization.clone(),
            account_uri: self.account.id().to_owned(),
            issuer_domains: Vec::new(),
        };
        let preparing = async {
            if offer.solver.kind() == ChallengeKind::DnsPersist01 {
                facts.issuer_domains = self.issuer_domains(&pending.url).await;
            }
            offer.solver.prepare(&facts, self.deadline).await
        };
        timeout_at(self.deadline, preparing)
            .await
            .unwrap_or_else(|_| Err(ChallengeError::transient("the order's time was over")))
    }

    /// By which names the CA may be called. instant-acme reads an authorization and keeps that to itself; asked
    /// for an *order* at the same URL, it sends the same request and our client keeps the answer.
    async fn issuer_domains(&self, authorization: &str) -> Vec<String> {
        let answer = match call!(raw, self.account.order(authorization.to_owned())) {
            Ok((_, answer)) | Err((_, answer)) => answer,
        };
        let issuer_domains = answer.map(|answer| issuer_domains(&answer.body)).unwrap_or_default();
        let standing = Standing { account_uri: self.account.id().to_owned(), issuer_domains };
        if !standing.issuer_domains.is_empty() {
            standing.remember(&self.ca.account_dir);
        }
        standing.issuer_domains
    }

    async fn tell_ready(
        &self,
        order: &mut Order,
        index: usize,
        identifier: &str,
        challenge_kind: ChallengeKind,
    ) -> Result<(), IssueError> {
        self.check_deadline("validated the names")?;
        let told = call!(raw, async {
            let mut list = order.authorizations();
            for _ in 0..index {
                list.next().await.transpose()?;
            }
            let Some(mut handle) = list.next().await.transpose()? else { return Ok(()) };
            match handle.challenge(type_of(challenge_kind)) {
                Some(mut challenge) => challenge.set_ready().await,
                None => Ok(()),
            }
        });
        match told {
            Ok(_) => Ok(()),
            // Another order of ours that shares the authorization was faster: polling will tell.
            Err((Error::Api(problem), _)) if kind(&problem) == "malformed" => {
                tracing::debug!(identifier, detail = problem.detail, "the challenge is under way already");
                Ok(())
            }
            Err((error, answer)) => {
                Err(self.ca.error(&format!("have {identifier} validated"), &error, answer.as_ref()))
            }
        }
    }
}

/// Takes all answers away. What takes long goes on by itself.
pub(super) async fn clean_up(prepared: Vec<Box<dyn Prepared>>) {
    let all = join_all(prepared.into_iter().map(Prepared::clean_up));
    if timeout(CLEAN_UP, all).await.is_err() {
        tracing::debug!("records of challenges are still being removed");
    }
}

/// What instant-acme calls it.
pub(super) fn type_of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
        ChallengeKind::DnsPersist01 => ChallengeType::Unknown(kind.name().to_owned()),
    }
}

/// What we call it; `None` for types that we do not do.
pub(super) fn kind_of(challenge: &ChallengeType) -> Option<ChallengeKind> {
    use ChallengeKind::{Dns01, DnsPersist01, Http01, TlsAlpn01};
    [Http01, TlsAlpn01, Dns01, DnsPersist01].into_iter().find(|kind| type_of(*kind) == *challenge)
}
