//! CAs that speak ACME (RFC 8555), over instant-acme.

mod account;
mod call;
mod chain;
mod challenge;
mod http;
mod order;
mod problem;
mod refusal;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use tokio::time::Instant;

use self::account::Accounts;
use self::http::{AcmeHttp, needs_roots};
use self::order::OrderRun;
use self::problem::Ca;

use super::{ErrorClass, IssueError, Issuer, OrderRequest, Progress};
use crate::config::AcmeConfig;

pub use self::challenge::{Challenges, Http01, Http01Error, Provisioned, TlsAlpn01};

/// A configured ACME CA with our account there.
pub struct AcmeIssuer {
    ca: Ca,
    accounts: Accounts,
    challenges: Challenges,
    /// The roots of `trust_roots`; empty: those of the operating system.
    trust: Vec<CertificateDer<'static>>,
    timeout: Duration,
}

impl AcmeIssuer {
    /// Sets up the issuer `[acme.NAME]` without asking the network; the account in `dir` is loaded, or
    /// registered, by the first order. The listeners of `challenges` must be served.
    ///
    /// # Errors
    /// Class `Ours`: the terms of service are not agreed to, or a file with roots cannot be used.
    pub fn open(
        name: String,
        dir: PathBuf,
        config: AcmeConfig,
        challenges: impl Into<Challenges>,
    ) -> Result<Self, IssueError> {
        let ours = |detail: String| IssueError::new(ErrorClass::Ours, format!("issuer {name}: {detail}"));
        if !config.terms_of_service_agreed {
            return Err(ours(format!(
                "read the CA's terms of service and set `terms_of_service_agreed = true` in [acme.{name}]"
            )));
        }
        let anchors = match &config.ca_file {
            Some(path) => Anchors::from_pem_file(path).map_err(|error| ours(error.to_string()))?,
            None => Anchors::platform(),
        };
        if anchors.is_empty() && needs_roots(&config.directory) {
            return Err(ours(format!(
                "the operating system has no root certificates to check {} with: install its package \
                 (ca-certificates), or set `ca_file` in [acme.{name}]",
                config.directory
            )));
        }
        let trust = match &config.trust_roots {
            Some(path) => {
                Anchors::from_pem_file(path).map_err(|error| ours(error.to_string()))?.certificates().to_vec()
            }
            None => Vec::new(),
        };
        let accounts = Accounts::new(dir.clone(), config.contacts, AcmeHttp::new(&anchors)?);
        let ca = Ca { issuer: name, directory: config.directory, account_dir: dir };
        let challenges = challenges.into();
        Ok(Self { ca, accounts, challenges, trust, timeout: config.timeout })
    }
}

#[async_trait]
impl Issuer for AcmeIssuer {
    fn name(&self) -> &str {
        &self.ca.issuer
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let deadline = Instant::now() + self.timeout;
        self.challenges.check(&self.ca.issuer, &request.certificate, &request.identifiers)?;
        let account = self.accounts.account(&self.ca).await?;
        let run = OrderRun {
            ca: &self.ca,
            account: &account,
            challenges: &self.challenges,
            request,
            progress,
            deadline,
            timeout: self.timeout,
        };
        let result = Box::pin(run.run()).await;
        if let Err(IssueError { class: ErrorClass::Account, .. }) = &result {
            self.accounts.forget().await;
        }
        result
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        self.trust.clone()
    }
}

#[cfg(test)]
#[path = "acme_tests.rs"]
mod tests;
