//! What an operator does with an account: look at it, give it a new key, end it, revoke with it.

use http::StatusCode;
use instant_acme::Error;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::{Accounts, CREDENTIALS_FILE, DEACTIVATED_FILE, KEY_FILE, Session, Stored};
use super::jws::{AccountKey, encode};
use super::problem::{Ca, kind};
use super::wire::{Reply, Signer, Wire};
use crate::issuer::internal::read_secret;
use crate::issuer::{AccountInfo, ErrorClass, IssueError, RevocationReason};
use crate::store::{StoreError, durable};

/// The key of a rollover that may or may not have reached the CA.
pub(super) const NEXT_KEY_FILE: &str = "account.key.next.pem";

/// Left behind by a deactivation, so that no renewal registers a new account behind the operator's back.
#[derive(Serialize, Deserialize)]
struct Deactivated {
    account: String,
    at: Timestamp,
}

/// The members of an account object (RFC 8555 section 7.1.2) that people want to see.
#[derive(Deserialize)]
struct AccountObject {
    status: String,
    #[serde(default)]
    contact: Vec<String>,
}

impl Accounts {
    /// The account as the CA sees it; registered if there is none yet.
    ///
    /// # Errors
    /// [`IssueError`].
    pub(super) async fn show(&self, ca: &Ca) -> Result<AccountInfo, IssueError> {
        let session = self.session(ca).await?;
        self.look(ca, &session).await
    }

    async fn look(&self, ca: &Ca, session: &Session) -> Result<AccountInfo, IssueError> {
        let wire = self.wire(ca, session);
        let doing = "read the account";
        let reply = wire.ask(doing, &session.url, session.signer(), None).await?;
        let object: AccountObject = reply.json().map_err(|refused| wire.error(doing, &refused))?;
        Ok(info(ca, session, object))
    }

    /// Gives the account a new key (RFC 8555 section 7.3.5). Whenever it breaks off, the next load finds out
    /// which key the CA knows.
    ///
    /// # Errors
    /// [`IssueError`]; the account has its old key, or the next load will know.
    pub(super) async fn roll_over(&self, ca: &Ca) -> Result<AccountInfo, IssueError> {
        Box::pin(self.changing(ca, async {
            // An earlier rollover that broke off is settled by this.
            let session = self.load_or_register(ca).await?;
            let wire = self.wire(ca, &session);
            let Some(url) = &session.directory.key_change else {
                return Err(self.error(
                    ca,
                    ErrorClass::Ours,
                    "this CA cannot change account keys (no keyChange)",
                ));
            };
            let next = self.next_key(&self.new_key(NEXT_KEY_FILE)?)?;
            let inner = json!({"account": session.url, "oldKey": session.key.jwk()}).to_string();
            let inner = next
                .sign(json!({"jwk": next.jwk(), "url": url}), &inner)
                .map_err(|why| self.error(ca, ErrorClass::Ours, &why))?;
            let changed = wire.ask("change the account key", url, session.signer(), Some(&inner)).await;
            // Whatever the answer was: what counts is the key that the CA takes from now on.
            match (changed, self.settle_rollover(wire).await?) {
                (Err(error), None) => return Err(error),
                (Ok(_), None) => {
                    return Err(self.error(
                        ca,
                        ErrorClass::Ca,
                        "the CA agreed to the new account key but does not know it; the old one stays",
                    ));
                }
                (_, Some(_)) => {}
            }
            let session = self.load_or_register(ca).await?;
            tracing::info!(issuer = ca.issuer, account = session.url, "the account has a new key");
            self.look(ca, &session).await
        }))
        .await
    }

    /// After a rollover that may have broken off: asks the CA for the account of the new key, keeps the key that
    /// it knows, and drops the other. `None`: the old one stays, or there was no rollover.
    ///
    /// # Errors
    /// [`IssueError`]; both keys are kept.
    pub(super) async fn settle_rollover(&self, wire: Wire<'_>) -> Result<Option<Stored>, IssueError> {
        let path = self.dir.join(NEXT_KEY_FILE);
        let Some(pem) = read_secret(&path)? else { return Ok(None) };
        let next = self.next_key(&pem)?;
        let signer = Signer { key: &next, account: None };
        let payload = json!({"onlyReturnExisting": true});
        match wire.post(&wire.directory.new_account, signer, Some(&payload)).await {
            Ok(Reply { answer, .. }) if answer.location.is_some() => {
                let url = answer.location.unwrap_or_default();
                let stored = self.write_credentials(wire.ca, url, &next)?;
                durable::write(&self.dir.join(KEY_FILE), &pem, 0o600)?;
                durable::remove(&path)?;
                Ok(Some(stored))
            }
            Err((Error::Api(problem), Some(answer)))
                if answer.status == StatusCode::BAD_REQUEST && kind(&problem) == "accountDoesNotExist" =>
            {
                tracing::info!(
                    issuer = wire.ca.issuer,
                    "the CA has not taken the new account key; the old one stays"
                );
                durable::remove(&path)?;
                Ok(None)
            }
            Ok(_) => {
                Err(self.error(wire.ca, ErrorClass::Ca, "the CA did not name the account of the new key"))
            }
            Err(refused) => Err(wire.error("find out which account key is in use", &refused)),
        }
    }

    fn next_key(&self, pem: &[u8]) -> Result<AccountKey, StoreError> {
        let path = self.dir.join(NEXT_KEY_FILE);
        let detail =
            "it belongs to a key rollover that broke off; restore it, or remove it if the old key works";
        AccountKey::from_pem(pem).map_err(|error| StoreError::damaged(&path, format!("{error}; {detail}")))
    }

    /// Ends the account (RFC 8555 section 7.3.6). There is no way back.
    ///
    /// # Errors
    /// [`IssueError`].
    pub(super) async fn deactivate(&self, ca: &Ca) -> Result<AccountInfo, IssueError> {
        if self.stored(ca)?.is_none() {
            return Err(self.error(ca, ErrorClass::Ours, "there is no account to deactivate yet"));
        }
        Box::pin(self.changing(ca, async {
            let session = self.load_or_register(ca).await?;
            let wire = self.wire(ca, &session);
            let doing = "deactivate the account";
            let payload = json!({"status": "deactivated"});
            let reply = wire.ask(doing, &session.url, session.signer(), Some(&payload)).await?;
            let object: AccountObject = reply.json().map_err(|refused| wire.error(doing, &refused))?;
            if object.status != "deactivated" {
                let why = format!("the CA still calls the account {}", object.status);
                return Err(self.error(ca, ErrorClass::Ca, &why));
            }
            let note = Deactivated { account: session.url.clone(), at: Timestamp::now() };
            let note = serde_json::to_vec(&note).unwrap_or_default();
            durable::write(&self.dir.join(DEACTIVATED_FILE), &note, 0o600)?;
            Ok(info(ca, &session, object))
        }))
        .await
    }

    /// Refuses to work with an account that was deactivated.
    ///
    /// # Errors
    /// Class `Account`: it was.
    pub(super) fn check_deactivated(&self, ca: &Ca) -> Result<(), IssueError> {
        let path = self.dir.join(DEACTIVATED_FILE);
        let Some(text) = durable::read(&path)? else { return Ok(()) };
        let what = match serde_json::from_slice::<Deactivated>(&text) {
            Ok(Deactivated { account, at }) => format!("the account {account} was deactivated at {at:.0}"),
            Err(_) => "the account was deactivated".to_owned(),
        };
        let files = [CREDENTIALS_FILE, KEY_FILE, DEACTIVATED_FILE].join(", ");
        let why = format!("{what}; to register a new one, move {files} in {} away", self.dir.display());
        Err(self.error(ca, ErrorClass::Account, &why))
    }

    /// Revokes a certificate that the account obtained (RFC 8555 section 7.6). One that is revoked already is
    /// fine.
    ///
    /// # Errors
    /// [`IssueError`].
    pub(super) async fn revoke(
        &self,
        ca: &Ca,
        leaf: &CertificateDer<'_>,
        reason: RevocationReason,
    ) -> Result<(), IssueError> {
        let session = self.session(ca).await?;
        let Some(url) = &session.directory.revoke_cert else {
            return Err(self.error(ca, ErrorClass::Ours, "this CA cannot revoke (no revokeCert)"));
        };
        let wire = self.wire(ca, &session);
        let payload = json!({"certificate": encode(leaf), "reason": reason.code()});
        match wire.post(url, session.signer(), Some(&payload)).await {
            Ok(_) => Ok(()),
            Err((Error::Api(problem), _)) if kind(&problem) == "alreadyRevoked" => {
                tracing::info!(issuer = ca.issuer, "it was revoked before");
                Ok(())
            }
            Err(refused) => Err(wire.error("revoke the certificate", &refused)),
        }
    }

    fn wire<'a>(&'a self, ca: &'a Ca, session: &'a Session) -> Wire<'a> {
        Wire { http: &self.http, ca, directory: &session.directory }
    }

    fn error(&self, ca: &Ca, class: ErrorClass, why: &str) -> IssueError {
        IssueError::new(class, format!("issuer {}: {why}", ca.issuer))
    }
}

fn info(ca: &Ca, session: &Session, object: AccountObject) -> AccountInfo {
    AccountInfo {
        issuer: ca.issuer.clone(),
        directory: ca.directory.clone(),
        url: session.url.clone(),
        status: object.status,
        contacts: object.contact,
        thumbprint: session.key.thumbprint(),
        terms_of_service: session.directory.meta.terms_of_service.clone(),
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;
