//! Embedded CAs over the admin socket. Keys are made and files are written in the task of the call, never in
//! the loop.

use std::sync::Arc;

use sealwire_proto::v1::{CaRotateRequest, CaStatusReply, CaStep};
use tokio::task::JoinError;
use tonic::Status;

use super::Admin;
use crate::agent::Command;
use crate::issuer::internal::InternalIssuer;
use crate::issuer::{IssueError, Issuer, RevocationReason};

impl Admin {
    pub(super) async fn ca_status_of(&self, issuer: String) -> Result<CaStatusReply, Status> {
        let issuer = self.internal(issuer).await?;
        on_own_thread(issuer, |internal| Ok(internal.status())).await
    }

    pub(super) async fn ca_rotate_of(&self, request: CaRotateRequest) -> Result<CaStatusReply, Status> {
        let step = request.step();
        let CaRotateRequest { issuer, client, intermediate, reason, .. } = request;
        let reason = RevocationReason::from_code(reason)
            .ok_or_else(|| Status::invalid_argument(format!("{reason} is no reason that may be given")))?;
        let issuer = self.internal(issuer).await?;
        let (name, admin) = (issuer.name().to_owned(), self.clone());
        tracing::info!(issuer = name, step = step.as_str_name(), "asked by an operator");
        let work = move |internal: &InternalIssuer| {
            let mut revoked = None;
            match step {
                CaStep::Unspecified => {}
                CaStep::Root => internal.rotate_root()?,
                CaStep::Intermediate => internal.rotate_intermediate()?,
                CaStep::Confirm => internal.confirm(&client)?,
                CaStep::Force => internal.force()?,
                CaStep::Cancel => internal.cancel()?,
                CaStep::RevokeIntermediate => {
                    revoked = Some(internal.revoke_intermediate(intermediate, reason)?);
                }
            }
            Ok((internal.status(), revoked))
        };
        // A task of its own: what follows from a revocation is done even if the caller has hung up.
        let whole = tokio::spawn(async move {
            let (status, revoked) = on_own_thread(issuer, work).await?;
            if let Some(intermediate) = revoked {
                let below = |reply| Command::IntermediateRevoked { issuer: name, intermediate, reply };
                let renewed = admin.ask(below).await?;
                tracing::warn!(?renewed, "ordered anew: the intermediate above was revoked");
            }
            Ok(status)
        });
        whole.await.unwrap_or_else(|error| Err(bug(&error)))
    }

    async fn internal(&self, issuer: String) -> Result<Arc<dyn Issuer>, Status> {
        self.ask(|reply| Command::Internal { issuer, reply }).await?.map_err(Status::not_found)
    }
}

/// Runs to its end, whether or not the caller waits: a step of a change is never half done.
async fn on_own_thread<T: Send + 'static>(
    issuer: Arc<dyn Issuer>,
    work: impl FnOnce(&InternalIssuer) -> Result<T, IssueError> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(move || match issuer.as_internal() {
        Some(internal) => work(internal),
        None => Err(issuer.without("is not behind this name")),
    });
    match done.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Status::failed_precondition(error.message)),
        Err(error) => Err(bug(&error)),
    }
}

fn bug(error: &JoinError) -> Status {
    Status::internal(format!("this is a bug, please report it: {error}"))
}
