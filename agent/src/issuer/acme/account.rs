//! The ACME account: made once, kept in `account.key.pem` and `account.json`, loaded when first needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, Key};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};
use tokio::time::Instant;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::call::call;
use super::directory::{Directories, Directory, RELOAD_AFTER};
use super::eab;
use super::http::AcmeHttp;
use super::jws::{AccountKey, encode};
use super::operations::NEXT_KEY_FILE;
use super::problem::{Ca, kind};
use super::wire::{Reply, Signer, Wire};
use crate::config::EabConfig;
use crate::issuer::internal::read_secret;
use crate::issuer::{ErrorClass, IssueError};
use crate::store::{StoreError, durable};

/// The key alone, written before the CA hears of it.
pub(super) const KEY_FILE: &str = "account.key.pem";
/// Account URL, directory and key, in instant-acme's form.
pub(super) const CREDENTIALS_FILE: &str = "account.json";
/// The contacts the CA was last told.
pub(super) const CONTACTS_FILE: &str = "contacts.json";
/// When the account was deactivated by us.
pub(super) const DEACTIVATED_FILE: &str = "deactivated.json";

/// The account of one issuer.
pub(super) struct Accounts {
    pub(super) dir: PathBuf,
    contacts: Vec<String>,
    eab: Option<EabConfig>,
    pub(super) http: AcmeHttp,
    pub(super) directories: Directories,
    loaded: Mutex<Option<(Session, Instant)>>,
    orders: RwLock<()>,
}

/// How long a change of the account waits for orders under way; new ones wait behind it.
const ORDERS_TIMEOUT: Duration = Duration::from_secs(30);

/// A loaded account, with all that a request for it needs.
#[derive(Clone)]
pub(super) struct Session {
    /// For orders.
    pub(super) account: Account,
    /// For the rest.
    pub(super) key: Arc<AccountKey>,
    pub(super) url: String,
    pub(super) directory: Arc<Directory>,
}

impl Session {
    pub(super) fn signer(&self) -> Signer<'_> {
        Signer { key: &self.key, account: Some(&self.url) }
    }
}

/// What [`CREDENTIALS_FILE`] holds.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
pub(super) struct Stored {
    pub(super) id: String,
    /// PKCS#8 in base64url.
    pub(super) key_pkcs8: String,
    pub(super) directory: String,
}

impl Accounts {
    pub(super) fn new(dir: PathBuf, contacts: Vec<String>, eab: Option<EabConfig>, http: AcmeHttp) -> Self {
        Self {
            dir,
            contacts,
            eab,
            http,
            directories: Directories::default(),
            loaded: Mutex::new(None),
            orders: RwLock::new(()),
        }
    }

    /// Refuses keys that others may read; files that are not there yet are fine.
    ///
    /// # Errors
    /// [`StoreError::TooOpen`] with the command that mends it, [`StoreError::System`].
    pub(super) fn check_private(&self) -> Result<(), StoreError> {
        for file in [KEY_FILE, CREDENTIALS_FILE, NEXT_KEY_FILE] {
            read_secret(&self.dir.join(file))?;
        }
        Ok(())
    }

    /// The account; loaded or registered if that was not done yet.
    ///
    /// # Errors
    /// [`IssueError`]: the files, the network, or the CA's refusal.
    pub(super) async fn session(&self, ca: &Ca) -> Result<Session, IssueError> {
        // Held over the network calls: two first orders must not register at the same time.
        let mut loaded = self.loaded.lock().await;
        if let Some((session, since)) = &*loaded
            && since.elapsed() < RELOAD_AFTER
        {
            return Ok(session.clone());
        }
        let session = self.load_or_register(ca).await?;
        *loaded = Some((session.clone(), Instant::now()));
        Ok(session)
    }

    /// To be held by an order: what changes the account waits for it.
    pub(super) async fn ordering(&self) -> RwLockReadGuard<'_, ()> {
        self.orders.read().await
    }

    /// Runs a change of the account while no order uses it and nobody else loads it; it is loaded anew
    /// afterwards.
    pub(super) async fn changing<T>(
        &self,
        ca: &Ca,
        change: impl Future<Output = Result<T, IssueError>>,
    ) -> Result<T, IssueError> {
        let Ok(_alone) = tokio::time::timeout(ORDERS_TIMEOUT, self.orders.write()).await else {
            let message =
                format!("issuer {}: orders are under way with this account; try again later", ca.issuer);
            return Err(IssueError::new(ErrorClass::Transient, message));
        };
        let mut loaded = self.loaded.lock().await;
        // At once: the change may be cut short.
        *loaded = None;
        change.await
    }

    /// Reads the files again at the next order: what an operator mended counts without a restart.
    pub(super) async fn forget(&self) {
        *self.loaded.lock().await = None;
        self.directories.forget();
    }

    /// As [`Accounts::session`], without looking at what is loaded.
    pub(super) async fn load_or_register(&self, ca: &Ca) -> Result<Session, IssueError> {
        self.check_deactivated(ca)?;
        // First of all what needs no network.
        let stored = self.stored(ca)?;
        if stored.is_none() {
            self.key()?;
        }
        let directory = self.directories.directory(&self.http, ca).await?;
        let wire = Wire { http: &self.http, ca, directory: &directory };
        let stored = match (self.settle_rollover(wire).await?, stored) {
            (Some(stored), _) | (None, Some(stored)) => stored,
            (None, None) => {
                let key = AccountKey::from_pem(&self.key()?).map_err(|error| {
                    let detail = format!("{error}; restore it, or move it away to register a new account");
                    StoreError::damaged(&self.dir.join(KEY_FILE), detail)
                })?;
                self.register(wire, &key).await?
            }
        };
        let session = self.open(ca, &stored, directory).await?;
        self.tell_contacts(ca, &session.account).await;
        Ok(session)
    }

    /// After the CA has refused the account of `session`: if it does not know its key any more (it was set up
    /// anew, or lost its data), the same key is registered again. Tells whether there is another account now.
    ///
    /// # Errors
    /// [`IssueError`]: the registration was refused.
    pub(super) async fn restore(&self, ca: &Ca, session: &Session) -> Result<bool, IssueError> {
        let mut loaded = self.loaded.lock().await;
        *loaded = None;
        if self.stored(ca)?.is_some_and(|stored| stored.id != session.url) {
            // Another order has done it.
            return Ok(true);
        }
        let wire = Wire { http: &self.http, ca, directory: &session.directory };
        let signer = Signer { key: &session.key, account: None };
        let known = json!({"onlyReturnExisting": true});
        match wire.post(&session.directory.new_account, signer, Some(&known)).await {
            Err((instant_acme::Error::Api(problem), _)) if kind(&problem) == "accountDoesNotExist" => {
                tracing::warn!(
                    issuer = ca.issuer,
                    account = session.url,
                    "the CA has lost the account; registering its key again"
                );
                self.register(wire, &session.key).await.map(|_| true)
            }
            // It has moved.
            Ok(Reply { answer, .. }) if answer.location.as_ref().is_some_and(|url| *url != session.url) => {
                let url = answer.location.unwrap_or_default();
                self.write_credentials(ca, url, &session.key).map(|_| true)
            }
            // It is there, and refused for another reason; or that cannot be told.
            _ => Ok(false),
        }
    }

    /// The stored credentials, if there are any.
    pub(super) fn stored(&self, ca: &Ca) -> Result<Option<Stored>, IssueError> {
        let path = self.dir.join(CREDENTIALS_FILE);
        let Some(text) = read_secret(&path)? else { return Ok(None) };
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| self.damaged(&error))?;
        if stored.directory == ca.directory {
            return Ok(Some(stored));
        }
        Err(IssueError::new(
            ErrorClass::Ours,
            format!(
                "{} is an account at {}, but `directory` of [acme.{}] is {}: give the other CA an issuer name of \
                 its own, or move the file and {KEY_FILE} away",
                path.display(),
                stored.directory,
                ca.issuer,
                ca.directory
            ),
        ))
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> StoreError {
        let detail = format!("{error}; restore it, or move it away: the account is found again by its key");
        StoreError::damaged(&self.dir.join(CREDENTIALS_FILE), detail)
    }

    async fn open(&self, ca: &Ca, stored: &Stored, directory: Arc<Directory>) -> Result<Session, IssueError> {
        use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
        let der = BASE64_URL_SAFE_NO_PAD.decode(stored.key_pkcs8.as_bytes()).map(Zeroizing::new);
        let der = der.map_err(|error| self.damaged(&error))?;
        let key = AccountKey::from_pkcs8(&der).map_err(|error| self.damaged(&error))?;
        let key = Arc::new(key);
        // An account that another client registered may have a key that instant-acme cannot use. It gets one of
        // no account then, and what it signs with that is signed anew on its way out.
        let (http, key_pkcs8) = if key.is_es256() {
            (self.http.clone(), Zeroizing::new(stored.key_pkcs8.clone()))
        } else {
            let (_, substitute) = Key::generate_pkcs8().map_err(|error| self.damaged(&error))?;
            let substitute = Zeroizing::new(encode(substitute.secret_pkcs8_der()));
            (self.http.signing_with(Arc::clone(&key)), substitute)
        };
        // With the URLs instead of the directory instant-acme does not fetch it once more.
        #[derive(Serialize)]
        struct WithUrls<'a> {
            id: &'a str,
            key_pkcs8: &'a str,
            urls: &'a Value,
        }
        let text =
            serde_json::to_vec(&WithUrls { id: &stored.id, key_pkcs8: &key_pkcs8, urls: &directory.whole });
        let text = Zeroizing::new(text.map_err(|error| self.damaged(&error))?);
        let account = call!(ca, "load the account", async {
            // Parsed anew for each try: the credentials are moved into the account.
            let credentials: AccountCredentials = serde_json::from_slice(&text)?;
            Account::builder_with_http(Box::new(http.clone())).from_credentials(credentials).await
        })?;
        Ok(Session { account, key, url: stored.id.clone(), directory })
    }

    /// Registers the key, which is on disk before the CA hears of it. The CA answers a known key with its
    /// account (RFC 8555 section 7.3.1), so a crash at any point ends in one account.
    async fn register(&self, wire: Wire<'_>, key: &AccountKey) -> Result<Stored, IssueError> {
        let doing = "register the account";
        let mut payload = json!({"termsOfServiceAgreed": true});
        if let Some(binding) = eab::binding(self.eab.as_ref(), key, wire)? {
            payload["externalAccountBinding"] = binding;
        }
        let without_contacts = payload.clone();
        if !self.contacts.is_empty() {
            payload["contact"] = self.contacts.clone().into();
        }
        let url = &wire.directory.new_account;
        let signer = Signer { key, account: None };
        let reply = match wire.post(url, signer, Some(&payload)).await {
            // No certificate waits for a contact: it is told (in vain, with a warning) once there is an account.
            Err((instant_acme::Error::Api(problem), _))
                if matches!(kind(&problem), "invalidContact" | "unsupportedContact") =>
            {
                let reply = wire.ask(doing, url, signer, Some(&without_contacts)).await?;
                self.keep_registered(wire.ca, &reply, key, false)
            }
            Ok(reply) => {
                // 200 instead of 201: the account was there before, and what it was told then counts.
                let told = reply.answer.status == http::StatusCode::CREATED;
                self.keep_registered(wire.ca, &reply, key, told)
            }
            Err(refused) => return Err(wire.error(doing, &refused)),
        };
        let stored = reply?;
        tracing::info!(issuer = wire.ca.issuer, account = stored.id, "account registered");
        Ok(stored)
    }

    fn keep_registered(
        &self,
        ca: &Ca,
        reply: &Reply,
        key: &AccountKey,
        told_contacts: bool,
    ) -> Result<Stored, IssueError> {
        let Some(url) = reply.answer.location.clone() else {
            return Err(IssueError::new(
                ErrorClass::Ca,
                format!(
                    "issuer {}: the CA registered the account but did not name it (no Location)",
                    ca.issuer
                ),
            ));
        };
        // What another account was told does not count for this one.
        durable::remove(&self.dir.join(CONTACTS_FILE))?;
        if told_contacts {
            self.note_contacts()?;
        }
        self.write_credentials(ca, url, key)
    }

    /// Puts account and key on disk.
    pub(super) fn write_credentials(
        &self,
        ca: &Ca,
        url: String,
        key: &AccountKey,
    ) -> Result<Stored, IssueError> {
        Ok(write_credentials(&self.dir, &ca.directory, url, key)?)
    }

    /// The account key (PEM): the one on disk, else a new one that is on disk when this returns.
    fn key(&self) -> Result<Zeroizing<Vec<u8>>, IssueError> {
        let path = self.dir.join(KEY_FILE);
        if let Some(pem) = read_secret(&path)? {
            return Ok(pem);
        }
        self.new_key(KEY_FILE)
    }

    /// A new key, on disk under `file` when this returns.
    pub(super) fn new_key(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, IssueError> {
        let ours =
            |error: String| IssueError::new(ErrorClass::Ours, format!("cannot make an account key: {error}"));
        let (_, pkcs8) = Key::generate_pkcs8().map_err(|error| ours(error.to_string()))?;
        // rcgen only writes the PEM.
        let mut pair = KeyPair::try_from(&pkcs8).map_err(|error| ours(error.to_string()))?;
        let pem = Zeroizing::new(pair.serialize_pem().into_bytes());
        pair.zeroize();
        durable::create_dir(&self.dir)?;
        durable::write(&self.dir.join(file), &pem, 0o600)?;
        Ok(pem)
    }

    /// Tells the CA the contacts where they changed. No certificate waits for this, so a refusal is only told.
    async fn tell_contacts(&self, ca: &Ca, account: &Account) {
        let path = self.dir.join(CONTACTS_FILE);
        let told: Vec<String> = durable::read(&path)
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        if told == self.contacts {
            return;
        }
        let contacts: Vec<&str> = self.contacts.iter().map(String::as_str).collect();
        let result = call!(ca, "tell the contacts", account.update_contacts(&contacts))
            .and_then(|()| Ok(self.note_contacts()?));
        if let Err(error) = result {
            tracing::warn!(issuer = ca.issuer, %error, "the CA does not have the contacts; check `contacts`");
        }
    }

    fn note_contacts(&self) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&self.contacts).unwrap_or_default();
        durable::write(&self.dir.join(CONTACTS_FILE), &text, 0o600)
    }
}

/// Writes [`CREDENTIALS_FILE`] into `dir`.
pub(super) fn write_credentials(
    dir: &Path,
    directory: &str,
    url: String,
    key: &AccountKey,
) -> Result<Stored, StoreError> {
    let path = dir.join(CREDENTIALS_FILE);
    let stored = Stored { id: url, key_pkcs8: encode(key.pkcs8()), directory: directory.to_owned() };
    let text = serde_json::to_vec_pretty(&stored)
        .map(Zeroizing::new)
        .map_err(|error| StoreError::damaged(&path, format!("cannot be written as JSON: {error}")))?;
    durable::write(&path, &text, 0o600)?;
    Ok(stored)
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
