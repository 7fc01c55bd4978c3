//! The admin socket: what the command line asks is put to the loop, and steps are streamed back.

mod accounts;
mod authorities;
mod nodes;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use jiff::{SignedDuration, Timestamp};
use sealwire_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use sealwire_proto::v1::{
    AccountReply, AccountRequest, CaRootReply, CaRootRequest, CaRotateRequest, CaStatusReply,
    CaStatusRequest, ChainReply, ChainRequest, DrillRequest, HistoryReply, HistoryRequest, IncidentsReply,
    IncidentsRequest, NodeControlReply, NodeControlRequest, PlanRequest, PlannedOrder, RenewRequest,
    RevokeReply, RevokeRequest, StatusReply, StatusRequest, Step, StepKind, WatchRequest, WhyReply,
    WhyRequest, history_reply, why_reply,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::agent::{Command, PlanFacts, STATUS_PART};
use crate::drill;
use crate::lifecycle::explain::{self, Line};
use crate::steps::Steps;

/// Steps that wait for a slow caller before it holds up its own stream.
const BUFFERED: usize = 64;

/// The service behind the admin socket.
#[derive(Clone)]
pub struct Admin {
    commands: mpsc::Sender<Command>,
    steps: Arc<Steps>,
}

/// How far a plan may look ahead: ten years.
const MAX_PLAN_DAYS: u32 = 3650;
/// More orders than anybody reads: 10,000 certificates of six days for ten years.
const MAX_PLANNED: usize = 10_000_000;
/// Renewal information is asked for every 6 hours unless the CA says otherwise.
const QUESTIONS_PER_DAY: u32 = 4;

type StatusStream = Pin<Box<dyn Stream<Item = Result<StatusReply, Status>> + Send>>;
type PlanStream = Pin<Box<dyn Stream<Item = Result<PlannedOrder, Status>> + Send>>;
type StepStream = Pin<Box<dyn Stream<Item = Result<Step, Status>> + Send>>;

impl Admin {
    /// A service that puts requests to the loop behind `commands`.
    #[must_use]
    pub fn new(commands: mpsc::Sender<Command>, steps: Arc<Steps>) -> Self {
        Self { commands, steps }
    }

    /// For tonic's router.
    #[must_use]
    pub fn into_service(self) -> AdminServiceServer<Self> {
        AdminServiceServer::new(self)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Status> {
        let stopping = || Status::unavailable("the agent is stopping");
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    type RenewStream = StepStream;
    type WatchStream = StepStream;

    type StatusStream = StatusStream;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusStream>, Status> {
        // One part at a time, when the caller has taken the one before.
        let parts = futures_util::stream::try_unfold(Some((self.clone(), None)), |state| async {
            let Some((admin, after)) = state else { return Ok(None) };
            let part = admin.ask(|reply| Command::Status { after, reply }).await?;
            let last = (part.certificates.len() == STATUS_PART).then(|| part.certificates.last()).flatten();
            let next = last.map(|last| (admin, Some(last.name.clone())));
            Ok(Some((part, next)))
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<StepStream>, Status> {
        let RenewRequest { certificates, all, force } = request.into_inner();
        let (followed, steps) = self
            .ask(|reply| Command::Renew { certificates, all, force, reply })
            .await?
            .map_err(Status::invalid_argument)?;
        Ok(Response::new(follow(steps, Some(followed.into_iter().collect()))))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<StepStream>, Status> {
        Ok(Response::new(follow(self.steps.listen(), None)))
    }

    async fn chain(&self, request: Request<ChainRequest>) -> Result<Response<ChainReply>, Status> {
        let certificate = request.into_inner().certificate;
        let found = self
            .ask(|reply| Command::Current { certificate, reply })
            .await?
            .map_err(Status::not_found)?
            .ok_or_else(|| Status::not_found("it has no generation yet; see `sealwire status`"))?;
        let chain = found.chain.iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Response::new(ChainReply { generation: found.number, chain }))
    }

    type PlanStream = PlanStream;

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanStream>, Status> {
        let days = request.into_inner().days;
        if !(1..=MAX_PLAN_DAYS).contains(&days) {
            return Err(Status::invalid_argument(format!(
                "days: {days} is out of range, expected 1 to {MAX_PLAN_DAYS}"
            )));
        }
        let facts = self.ask(Command::Plan).await?;
        Ok(Response::new(planned(facts, days)))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyReply>, Status> {
        let certificate = request.into_inner().certificate;
        let (certificate, lines) =
            self.ask(|reply| Command::Why { certificate, reply }).await?.map_err(Status::not_found)?;
        let lines = lines.into_iter().map(|Line { label, text }| why_reply::Line { label, text }).collect();
        Ok(Response::new(WhyReply { certificate, lines }))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryReply>, Status> {
        let certificate = request.into_inner().certificate;
        let entries =
            self.ask(|reply| Command::History { certificate, reply }).await?.map_err(Status::not_found)?;
        let entries = entries.into_iter().map(|entry| history_reply::Entry {
            at_ms: entry.at.as_millisecond(),
            generation: entry.generation,
            what: entry.what,
            detail: entry.detail,
        });
        Ok(Response::new(HistoryReply { entries: entries.collect() }))
    }

    async fn ca_root(&self, request: Request<CaRootRequest>) -> Result<Response<CaRootReply>, Status> {
        let issuer = request.into_inner().issuer;
        let (issuer, pem) =
            self.ask(|reply| Command::Root { issuer, reply }).await?.map_err(Status::not_found)?;
        Ok(Response::new(CaRootReply { issuer, pem }))
    }

    async fn account(&self, request: Request<AccountRequest>) -> Result<Response<AccountReply>, Status> {
        Ok(Response::new(self.account_of(request.into_inner()).await?))
    }

    async fn incidents(
        &self,
        request: Request<IncidentsRequest>,
    ) -> Result<Response<IncidentsReply>, Status> {
        let all = request.into_inner().all;
        Ok(Response::new(self.ask(|reply| Command::Incidents { all, reply }).await?))
    }

    async fn node_control(
        &self,
        request: Request<NodeControlRequest>,
    ) -> Result<Response<NodeControlReply>, Status> {
        Ok(Response::new(self.control(request).await?))
    }

    type DrillStream = StepStream;

    async fn drill(&self, request: Request<DrillRequest>) -> Result<Response<StepStream>, Status> {
        let request = request.into_inner();
        let kind = request.kind();
        let facts = self
            .ask(|reply| Command::Drill { certificate: request.certificate, reply })
            .await?
            .map_err(Status::not_found)?;
        let (sender, receiver) = mpsc::channel(BUFFERED);
        let report = drill::Report::new(&facts.config.name, sender);
        // A task of its own: a caller that hangs up leaves no shadow behind.
        tokio::spawn(drill::run(kind, *facts, report, self.commands.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn ca_status(&self, request: Request<CaStatusRequest>) -> Result<Response<CaStatusReply>, Status> {
        Ok(Response::new(self.ca_status_of(request.into_inner().issuer).await?))
    }

    async fn ca_rotate(&self, request: Request<CaRotateRequest>) -> Result<Response<CaStatusReply>, Status> {
        Ok(Response::new(self.ca_rotate_of(request.into_inner()).await?))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeReply>, Status> {
        Ok(Response::new(self.revoke_of(request.into_inner()).await?))
    }
}

/// Plans on a thread of its own, for thousands of certificates take a second.
fn planned(facts: PlanFacts, days: u32) -> PlanStream {
    let (sender, receiver) = mpsc::channel(BUFFERED);
    tokio::task::spawn_blocking(move || {
        let PlanFacts { now, subjects, issuers } = facts;
        let until =
            now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX);
        for order in explain::plan(now, until, &subjects, &issuers, MAX_PLANNED) {
            let asked = issuers.get(&order.issuer).is_some_and(|state| state.renewal_info);
            let planned = PlannedOrder {
                certificate: subjects[order.subject].name.clone(),
                questions_per_day: if asked { QUESTIONS_PER_DAY } else { 0 },
                issuer: order.issuer,
                at_ms: order.at.as_millisecond(),
                why: order
                    .hold
                    .map_or_else(|| order.reason.to_string(), |hold| format!("{}; {hold}", order.reason)),
                survives_s: order.survives.map(|span| span.as_secs()),
            };
            if sender.blocking_send(Ok(planned)).is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// The steps of some certificates until each has come to its end, or all steps for ever.
fn follow(mut steps: broadcast::Receiver<Step>, mut open: Option<BTreeSet<String>>) -> StepStream {
    let (sender, receiver) = mpsc::channel(BUFFERED);
    tokio::spawn(async move {
        while open.as_ref().is_none_or(|open| !open.is_empty()) {
            let step = tokio::select! {
                step = steps.recv() => step,
                () = sender.closed() => return,
            };
            let step = match step {
                Ok(step) => step,
                Err(RecvError::Lagged(missed)) => {
                    let status =
                        Status::data_loss(format!("{missed} steps were missed; see `sealwire status`"));
                    let _ = sender.send(Err(status)).await;
                    return;
                }
                Err(RecvError::Closed) => return,
            };
            if let Some(open) = &mut open {
                if !open.contains(&step.certificate) {
                    continue;
                }
                if matches!(step.kind(), StepKind::Done | StepKind::Failed) {
                    open.remove(&step.certificate);
                }
            }
            if sender.send(Ok(step)).await.is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}
