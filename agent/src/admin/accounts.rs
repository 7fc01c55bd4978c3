//! Accounts and revocation over the admin socket. A CA may take its time: this waits in the task of the
//! call, never in the loop.

use std::time::Duration;

use sealwire_proto::v1::{AccountAction, AccountReply, AccountRequest, RevokeReply, RevokeRequest};
use tonic::Status;

use super::Admin;
use crate::agent::{Command, Found};
use crate::issuer::{AccountInfo, ErrorClass, IssueError, RevocationReason};

/// A rollover is up to five requests behind orders that are under way.
const CA_TIMEOUT: Duration = Duration::from_secs(120);

impl Admin {
    pub(super) async fn account_of(&self, request: AccountRequest) -> Result<AccountReply, Status> {
        let action = request.action();
        let issuer = self
            .ask(|reply| Command::Account { issuer: request.issuer, reply })
            .await?
            .map_err(Status::not_found)?;
        // A task of its own: a caller that hangs up does not break off a change of the account.
        let info = finished(async move {
            match action {
                AccountAction::Unspecified => issuer.account().await,
                AccountAction::Rollover => issuer.roll_over_account().await,
                AccountAction::Deactivate => issuer.deactivate_account().await,
            }
        })
        .await?;
        let AccountInfo { issuer, directory, url, status, contacts, thumbprint, terms_of_service } = info;
        let terms_of_service = terms_of_service.unwrap_or_default();
        Ok(AccountReply { issuer, directory, url, status, contacts, thumbprint, terms_of_service })
    }

    pub(super) async fn revoke_of(&self, request: RevokeRequest) -> Result<RevokeReply, Status> {
        let RevokeRequest { certificate, generation, reason } = request;
        let reason = RevocationReason::from_code(reason).ok_or_else(|| {
            Status::invalid_argument(format!("{reason} is no reason a subscriber may give"))
        })?;
        let Found { generation, issuer } = self
            .ask(|reply| Command::Stored { certificate: certificate.clone(), generation, reply })
            .await?
            .map_err(Status::not_found)?;
        let name = issuer.name().to_owned();
        let leaf = generation.chain.leaf().clone();
        let commands = self.commands.clone();
        let number = generation.number;
        // The loop hears of it even if the caller has hung up.
        let renewing = finished(async move {
            issuer.revoke(&leaf, reason).await?;
            tracing::warn!(certificate, generation = number, ?reason, "revoked");
            let (reply, answer) = tokio::sync::oneshot::channel();
            let told = commands.send(Command::Revoked { certificate, generation: number, reply }).await;
            Ok(told.is_ok() && answer.await.unwrap_or(false))
        })
        .await?;
        let serial = generation.leaf.serial.clone();
        Ok(RevokeReply { generation: number, serial, issuer: name, renewing })
    }
}

/// Runs to its end, or to the time limit.
async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, IssueError>> + Send + 'static,
) -> Result<T, Status> {
    let task = tokio::spawn(tokio::time::timeout(CA_TIMEOUT, work));
    match task.await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(match error.class {
            ErrorClass::Transient => Status::unavailable(error.message),
            _ => Status::failed_precondition(error.message),
        }),
        Ok(Err(_)) => Err(Status::deadline_exceeded(format!(
            "the CA has not answered within {} s; look at the account again",
            CA_TIMEOUT.as_secs()
        ))),
        Err(error) => Err(Status::internal(format!("this is a bug, please report it: {error}"))),
    }
}
