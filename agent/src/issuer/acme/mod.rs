//! CAs that speak ACME (RFC 8555), over instant-acme.

mod account;
mod alternate;
mod ari;
mod call;
mod chain;
mod challenge;
mod directory;
mod eab;
mod http;
mod jws;
mod nonces;
mod operations;
mod order;
mod place;
mod problem;
mod profile;
mod refusal;
pub(crate) mod survey;
mod takeover;
mod time;
mod validate;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use tokio::time::Instant;

use self::account::{Accounts, Session};
use self::http::{AcmeHttp, needs_roots};
use self::order::OrderRun;
use self::place::Unsure;
use self::problem::Ca;
use self::profile::Profiles;
use self::wire::Wire;

use super::{
    AccountInfo, ErrorClass, IssueError, Issuer, OrderRequest, Progress, RenewalInfo, RevocationReason,
};
use crate::clock::Skew;
use crate::config::AcmeConfig;

pub(crate) use self::challenge::survey as challenge_survey;
pub(crate) use self::challenge::{AliasError, DnsError, PATH, Resolver};
pub use self::challenge::{Challenges, Http01, Http01Error, Provisioned, TlsAlpn01};
pub use self::http::Gate;
pub use self::takeover::{ForeignAccount, TakenOver, take_over};

/// A configured ACME CA with our account there.
pub struct AcmeIssuer {
    ca: Ca,
    accounts: Accounts,
    challenges: Challenges,
    /// The roots of `trust_roots`; empty: those of the operating system.
    trust: Vec<CertificateDer<'static>>,
    profiles: Profiles,
    preferred_chain: Option<String>,
    issued_by: Vec<String>,
    unsure: Unsure,
    timeout: Duration,
}

impl AcmeIssuer {
    /// Sets up the issuer `[acme.NAME]` without asking the network; the account in `dir` is loaded, or
    /// registered, by the first order. The listeners of `challenges` must be served.
    ///
    /// # Errors
    /// Class `Ours`: the terms of service are not agreed to, a file with roots cannot be used, or the
    /// account's key may be read by others.
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
        let accounts = Accounts::new(dir.clone(), config.contacts, config.eab, AcmeHttp::new(&anchors)?);
        // Now rather than at the first order, which may be weeks away.
        accounts.check_private()?;
        let ca = Ca { issuer: name, directory: config.directory, account_dir: dir };
        let challenges = challenges.into();
        Ok(Self {
            ca,
            accounts,
            challenges,
            trust,
            profiles: Profiles::new(
                config.lifetimes.into_iter().map(|(name, life)| (name, life.0)).collect(),
            ),
            preferred_chain: config.preferred_chain,
            issued_by: config.issued_by,
            unsure: Unsure::default(),
            timeout: config.timeout,
        })
    }

    /// The same issuer, asking `gate` before each signed request.
    #[must_use]
    pub fn gated(mut self, gate: Arc<dyn Gate>) -> Self {
        self.accounts.http = self.accounts.http.gated(gate, &self.ca.issuer);
        self
    }

    /// One order, with the account as it is.
    async fn order(
        &self,
        session: &Session,
        request: &OrderRequest,
        progress: &dyn Progress,
        deadline: Instant,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        // An order that is there has its profile.
        let wanted = request.profile.as_deref().filter(|_| request.resume.is_none());
        let profile = self.profiles.choose(&self.ca, &session.directory, wanted)?;
        let run = OrderRun {
            ca: &self.ca,
            account: &session.account,
            challenges: &self.challenges,
            wire: Wire { http: &self.accounts.http, ca: &self.ca, directory: &session.directory },
            signer: session.signer(),
            profile,
            preferred_chain: self.preferred_chain.as_deref(),
            unsure: &self.unsure,
            request,
            progress,
            deadline,
            timeout: self.timeout,
        };
        Box::pin(run.run()).await
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
        let _ordering = self.accounts.ordering().await;
        let session = self.accounts.session(&self.ca).await?;
        let mut result = self.order(&session, request, progress, deadline).await;
        if matches!(&result, Err(IssueError { class: ErrorClass::Account, .. }))
            && self.accounts.restore(&self.ca, &session).await?
        {
            let session = self.accounts.session(&self.ca).await?;
            result = self.order(&session, request, progress, deadline).await;
        }
        // What failed for another reason than a name may go better with the directory and the files of then.
        if result.as_ref().is_err_and(|error| error.class != ErrorClass::Identifier) {
            self.accounts.forget().await;
        }
        result
    }

    async fn account_changed(&self) {
        self.accounts.forget().await;
    }

    fn tells_time(&self) -> bool {
        true
    }

    fn clock_skew(&self) -> Option<Skew> {
        self.accounts.http.time.skew()
    }

    async fn ask_time(&self) -> Result<(), IssueError> {
        let directory = &self.ca.directory;
        let wire =
            |refused: wire::Refused| self.ca.error("read the directory", &refused.0, refused.1.as_deref());
        wire::get(&self.accounts.http, directory).await.map(|_| ()).map_err(wire)
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        self.trust.clone()
    }

    async fn renewal_info(&self, leaf: &CertificateDer<'_>) -> Result<Option<RenewalInfo>, IssueError> {
        let directory = self.accounts.directories.directory(&self.accounts.http, &self.ca).await?;
        ari::renewal_info(Wire { http: &self.accounts.http, ca: &self.ca, directory: &directory }, leaf).await
    }

    fn promised_lifetime(&self, profile: &str) -> Option<Duration> {
        self.profiles.lifetime(&self.ca, &*self.accounts.directories.last()?, profile)
    }

    fn issued_by(&self) -> &[String] {
        &self.issued_by
    }

    fn has_account(&self) -> bool {
        true
    }

    async fn account(&self) -> Result<AccountInfo, IssueError> {
        Box::pin(self.accounts.show(&self.ca)).await
    }

    async fn roll_over_account(&self) -> Result<AccountInfo, IssueError> {
        Box::pin(self.accounts.roll_over(&self.ca)).await
    }

    async fn deactivate_account(&self) -> Result<AccountInfo, IssueError> {
        Box::pin(self.accounts.deactivate(&self.ca)).await
    }

    async fn revoke(&self, leaf: &CertificateDer<'_>, reason: RevocationReason) -> Result<(), IssueError> {
        Box::pin(self.accounts.revoke(&self.ca, leaf, reason)).await
    }
}

#[cfg(test)]
mod script_ca;

#[cfg(test)]
#[path = "acme_tests.rs"]
mod tests;
