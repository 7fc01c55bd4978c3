//! Challenges: one [`Solver`] for each type that the CA may validate a name by, and the choice between them.

mod choose;
mod dns;
mod dns01;
mod dns_persist01;
mod http01;
mod stateless;
pub(crate) mod survey;
mod tls_alpn01;

use async_trait::async_trait;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use tokio::time::Instant;

use crate::config::ChallengeKind;
use crate::issuer::ErrorClass;
use crate::store::StoreError;

pub use self::choose::Challenges;
pub(crate) use self::dns::{AliasError, DnsError, Resolver};
pub use self::http01::{Http01, Http01Error, Provisioned};
pub use self::tls_alpn01::TlsAlpn01;

pub(super) use self::dns_persist01::{Standing, issuer_domains};
pub(crate) use self::http01::PATH;

/// Challenges of one kind that are answered at a time: 40 orders of 100 names each.
const MAX_PENDING: usize = 4096;

/// What a solver is told about one authorization.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The identifier as ordered: `*.example.com`, `10.0.0.1`.
    pub(super) identifier: String,
    /// From the challenge; empty for dns-persist-01.
    pub(super) token: String,
    /// Token and thumbprint (RFC 8555 section 8.1).
    pub(super) key_authorization: String,
    /// URL of our account.
    pub(super) account_uri: String,
    /// Names by which the CA may be called in records; dns-persist-01 only.
    pub(super) issuer_domains: Vec<String>,
}

impl Facts {
    /// The name that is validated: without the `*.` of a wildcard.
    pub(super) fn name(&self) -> &str {
        self.identifier.strip_prefix("*.").unwrap_or(&self.identifier)
    }

    pub(super) fn wildcard(&self) -> bool {
        self.identifier.starts_with("*.")
    }

    /// SHA-256 of the key authorization.
    pub(super) fn digest(&self) -> [u8; 32] {
        sealwire_proto::validate::sha256(self.key_authorization.as_bytes())
    }

    /// What dns-01 puts into the record (RFC 8555 section 8.4).
    pub(super) fn dns_value(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.digest())
    }
}

/// Why a challenge cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ChallengeError {
    pub(super) class: ErrorClass,
    pub(super) message: String,
}

impl ChallengeError {
    pub(super) fn ours(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Ours, message: message.into() }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Transient, message: message.into() }
    }
}

impl From<StoreError> for ChallengeError {
    fn from(error: StoreError) -> Self {
        Self::ours(error.to_string())
    }
}

/// Answers challenges of one kind.
#[async_trait]
pub(super) trait Solver: Send + Sync {
    fn kind(&self) -> ChallengeKind;

    /// Makes everything ready for the CA to look, before `deadline`.
    ///
    /// # Errors
    /// [`ChallengeError`]; nothing is left behind.
    async fn prepare(&self, facts: &Facts, deadline: Instant) -> Result<Box<dyn Prepared>, ChallengeError>;
}

/// A challenge that is answered as long as this lives.
#[must_use = "the challenge is no longer answered when this is dropped"]
#[async_trait]
pub(super) trait Prepared: Send + Sync {
    /// Takes the answer away again. Dropping does the same, but nobody waits for it.
    async fn clean_up(self: Box<Self>) {}
}
