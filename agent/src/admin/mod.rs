//! The admin socket: what the command line asks is put to the loop, and steps are streamed back.

mod accounts;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use sealwire_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use sealwire_proto::v1::{
    AccountReply, AccountRequest, CaRootReply, CaRootRequest, ChainReply, ChainRequest, RenewRequest,
    RevokeReply, RevokeRequest, StatusReply, StatusRequest, Step, StepKind, WatchRequest,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::agent::Command;
use crate::steps::Steps;

/// Steps that wait for a slow caller before it holds up its own stream.
const BUFFERED: usize = 64;

/// The service behind the admin socket.
pub struct Admin {
    commands: mpsc::Sender<Command>,
    steps: Arc<Steps>,
}

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

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.ask(Command::Status).await?))
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

    async fn ca_root(&self, request: Request<CaRootRequest>) -> Result<Response<CaRootReply>, Status> {
        let issuer = request.into_inner().issuer;
        let (issuer, pem) =
            self.ask(|reply| Command::Root { issuer, reply }).await?.map_err(Status::not_found)?;
        Ok(Response::new(CaRootReply { issuer, pem }))
    }

    async fn account(&self, request: Request<AccountRequest>) -> Result<Response<AccountReply>, Status> {
        Ok(Response::new(self.account_of(request.into_inner()).await?))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeReply>, Status> {
        Ok(Response::new(self.revoke_of(request.into_inner()).await?))
    }
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
