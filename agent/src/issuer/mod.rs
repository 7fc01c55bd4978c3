//! Issuers: where certificates come from. One trait, an embedded CA and ACME behind it.

pub mod acme;
pub mod internal;
pub(crate) mod listen;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::StepKind;

use crate::clock::Skew;
use crate::replicas::ShareError;
use crate::store::StoreError;

/// What is asked of an issuer: one certificate for one key.
#[derive(Clone, Debug, Default)]
pub struct OrderRequest {
    /// Name of the configured certificate, for logs.
    pub certificate: String,
    /// DNS names, wildcards and IP addresses, as configured.
    pub identifiers: Vec<String>,
    /// PKCS#10 request (DER), signed by a key that is already on disk.
    pub csr_der: Vec<u8>,
    /// An order placed before a restart, to be taken up again instead of placing a second one.
    pub resume: Option<String>,
    /// An earlier attempt may have placed an order for this key whose URL was never learnt: look for it
    /// before placing another.
    pub unsure: bool,
    /// The profile to order, if one is configured; issuers without profiles ignore it.
    pub profile: Option<String>,
    /// The leaf that this order replaces (RFC 9773 section 5); only ever one from the same issuer.
    pub replaces: Option<CertificateDer<'static>>,
}

/// When the CA would like a certificate to be renewed (RFC 9773 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RenewalInfo {
    /// Start of the suggested window.
    pub start: Timestamp,
    /// End of the suggested window, after `start`.
    pub end: Timestamp,
    /// A page that tells why the window is what it is.
    pub explanation_url: Option<String>,
    /// When the CA wants to be asked again; as sent, not clamped.
    pub retry_after: Option<Duration>,
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1; the ones a subscriber may give).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RevocationReason {
    /// No reason given (0).
    Unspecified,
    /// The private key is or may be known to somebody else (1).
    KeyCompromise,
    /// The subject's name or other details changed (3).
    AffiliationChanged,
    /// A newer certificate takes its place (4).
    Superseded,
    /// The names are no longer in use (5).
    CessationOfOperation,
}

impl RevocationReason {
    /// Its number (RFC 5280 section 5.3.1).
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// The reason of a number; `None` for those that only a CA may give.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        let all = [
            Self::Unspecified,
            Self::KeyCompromise,
            Self::AffiliationChanged,
            Self::Superseded,
            Self::CessationOfOperation,
        ];
        all.into_iter().find(|reason| u32::from(reason.code()) == code)
    }
}

/// An account at a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// Name of the issuer.
    pub issuer: String,
    /// The CA's directory.
    pub directory: String,
    /// Names the account.
    pub url: String,
    /// In the CA's word: valid, deactivated, revoked.
    pub status: String,
    /// As the CA knows them; some do not tell.
    pub contacts: Vec<String>,
    /// Of its key (RFC 7638): what DNS and web servers answer challenges with.
    pub thumbprint: String,
    /// The terms of service that are in force.
    pub terms_of_service: Option<String>,
}

/// An order that the CA has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Names the order.
    pub url: String,
    /// It was accepted as the renewal of a certificate by `replaces`; Let's Encrypt exempts those from its
    /// limits (<https://letsencrypt.org/docs/rate-limits/>).
    pub replaces: bool,
}

/// Told by an issuer while it works.
#[async_trait]
pub trait Progress: Send + Sync {
    /// A step is done.
    fn step(&self, kind: StepKind, detail: String);

    /// The CA has accepted the order. Durable when it returns: from here on a crash resumes the order.
    ///
    /// # Errors
    /// The journal could not be written.
    async fn order_placed(&self, placed: &Placed) -> Result<(), StoreError>;
}

/// Whose fault a failure is decides when it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The network, a 5xx, a timeout: likely to pass by itself.
    Transient,
    /// Our machine or configuration.
    Ours,
    /// The CA could not validate, or will not issue for, one of the names.
    Identifier,
    /// The account is unknown, deactivated or not allowed to order.
    Account,
    /// The CA limits or refuses everyone for now.
    Ca,
    /// A node would not serve what was issued, or no handshake could prove that it does.
    Refused,
    /// The order named by [`OrderRequest::resume`] is gone or can no longer succeed: place a new one.
    OrderLost,
}

impl ErrorClass {
    /// In snake case, as metrics name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Ours => "ours",
            Self::Identifier => "identifier",
            Self::Account => "account",
            Self::Ca => "ca",
            Self::Refused => "refused",
            Self::OrderLost => "order_lost",
        }
    }
}

/// Why no certificate was obtained.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct IssueError {
    /// Decides the schedule of the next attempt.
    pub class: ErrorClass,
    /// What happened and, where we know it, what to do.
    pub message: String,
    /// The CA's own word on when to come back.
    pub retry_after: Option<Duration>,
    /// The CA's word is meant for every order, not for this certificate's.
    pub issuer_wide: bool,
    /// Something was issued, and did not pass the gate.
    pub gate: bool,
}

impl IssueError {
    /// An error of a class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None, issuer_wide: false, gate: false }
    }
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::new(ErrorClass::Ours, error.to_string())
    }
}

impl From<ShareError> for IssueError {
    fn from(error: ShareError) -> Self {
        Self::new(ErrorClass::Transient, error.to_string())
    }
}

/// A source of certificates.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// The name it has in the configuration.
    fn name(&self) -> &str;

    /// Obtains a chain (leaf first, without the root) for the request.
    ///
    /// # Errors
    /// [`IssueError`]; `OrderLost` only when the request asked to resume.
    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError>;

    /// The roots that its chains build to, where it is not a public CA; empty means the roots of the
    /// operating system.
    fn trust_anchors(&self) -> Vec<CertificateDer<'static>>;

    /// When the CA would like `leaf` to be renewed; `None` if it does not say (no ARI).
    ///
    /// # Errors
    /// [`IssueError`]; never a reason to stop asking.
    async fn renewal_info(&self, leaf: &CertificateDer<'_>) -> Result<Option<RenewalInfo>, IssueError> {
        let _ = leaf;
        Ok(None)
    }

    /// Whether this issuer's answers carry the time.
    fn tells_time(&self) -> bool {
        false
    }

    /// What the last answer said of our clock.
    fn clock_skew(&self) -> Option<Skew> {
        None
    }

    /// Fetches something small, so that [`Issuer::clock_skew`] is fresh.
    ///
    /// # Errors
    /// [`IssueError`].
    async fn ask_time(&self) -> Result<(), IssueError> {
        Ok(())
    }

    /// How long a certificate of this profile lives at most, where that is known; asked after an order.
    fn promised_lifetime(&self, profile: &str) -> Option<Duration> {
        let _ = profile;
        None
    }

    /// Organizations or common names, one of which the issuer of a leaf must have; empty: any.
    fn issued_by(&self) -> &[String] {
        &[]
    }

    /// Whether it orders with an account.
    fn has_account(&self) -> bool {
        false
    }

    /// The files of the account were changed by somebody else.
    async fn account_changed(&self) {}

    /// The account, as the CA sees it now.
    ///
    /// # Errors
    /// [`IssueError`]; class `Ours` where there are no accounts.
    async fn account(&self) -> Result<AccountInfo, IssueError> {
        Err(self.without("has no account"))
    }

    /// Gives the account a new key.
    ///
    /// # Errors
    /// [`IssueError`]; the account stays usable with the key that the CA knows.
    async fn roll_over_account(&self) -> Result<AccountInfo, IssueError> {
        Err(self.without("has no account"))
    }

    /// Ends the account for good.
    ///
    /// # Errors
    /// [`IssueError`].
    async fn deactivate_account(&self) -> Result<AccountInfo, IssueError> {
        Err(self.without("has no account"))
    }

    /// Revokes a certificate that it issued.
    ///
    /// # Errors
    /// [`IssueError`].
    async fn revoke(&self, leaf: &CertificateDer<'_>, reason: RevocationReason) -> Result<(), IssueError> {
        let _ = (leaf, reason);
        Err(self.without("cannot revoke"))
    }

    /// The embedded CA, where it is one.
    fn as_internal(&self) -> Option<&internal::InternalIssuer> {
        None
    }

    /// An error of class `Ours`: what was asked is not for this kind of issuer.
    fn without(&self, what: &str) -> IssueError {
        IssueError::new(ErrorClass::Ours, format!("issuer {}: an embedded CA {what}", self.name()))
    }

    /// The published roots in PEM, for an embedded CA.
    fn root_pem(&self) -> Option<String> {
        None
    }
}
