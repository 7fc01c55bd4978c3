//! The ACME account: made once, kept in `account.key.pem` and `account.json`, loaded when first needed.

use std::path::PathBuf;
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, Key};
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use super::call::call;
use super::http::AcmeHttp;
use super::problem::Ca;
use crate::issuer::internal::read_secret;
use crate::issuer::{ErrorClass, IssueError};
use crate::store::{StoreError, durable};

/// The key alone, written before the CA hears of it.
pub(super) const KEY_FILE: &str = "account.key.pem";
/// Account URL, directory and key, as instant-acme keeps them.
pub(super) const CREDENTIALS_FILE: &str = "account.json";
/// The contacts the CA was last told.
const CONTACTS_FILE: &str = "contacts.json";

/// instant-acme reads the directory once per loaded account; a CA may move its resources.
const RELOAD_AFTER: Duration = Duration::from_hours(24);

/// The account of one issuer.
pub(super) struct Accounts {
    dir: PathBuf,
    contacts: Vec<String>,
    http: AcmeHttp,
    loaded: Mutex<Option<(Account, Instant)>>,
}

impl Accounts {
    pub(super) fn new(dir: PathBuf, contacts: Vec<String>, http: AcmeHttp) -> Self {
        Self { dir, contacts, http, loaded: Mutex::new(None) }
    }

    /// The account; loaded or registered if that was not done yet.
    ///
    /// # Errors
    /// [`IssueError`]: the files, the network, or the CA's refusal.
    pub(super) async fn account(&self, ca: &Ca) -> Result<Account, IssueError> {
        // Held over the network calls: two first orders must not register at the same time.
        let mut loaded = self.loaded.lock().await;
        if let Some((account, since)) = &*loaded
            && since.elapsed() < RELOAD_AFTER
        {
            return Ok(account.clone());
        }
        let account = match self.load(ca).await? {
            Some(account) => account,
            None => self.register(ca).await?,
        };
        self.tell_contacts(ca, &account).await;
        *loaded = Some((account.clone(), Instant::now()));
        Ok(account)
    }

    /// Reads the files again at the next order: what an operator mended counts without a restart.
    pub(super) async fn forget(&self) {
        *self.loaded.lock().await = None;
    }

    /// The account from its stored credentials, if there are any.
    async fn load(&self, ca: &Ca) -> Result<Option<Account>, IssueError> {
        let path = self.dir.join(CREDENTIALS_FILE);
        let Some(text) = read_secret(&path)? else { return Ok(None) };
        let damaged = |error: serde_json::Error| {
            let detail =
                format!("{error}; restore it, or move it away: the account is found again by its key");
            StoreError::damaged(&path, detail)
        };
        let directory = directory_of(&text).map_err(damaged)?;
        if directory != ca.directory {
            return Err(IssueError::new(
                ErrorClass::Ours,
                format!(
                    "{} is an account at {directory}, but `directory` of [acme.{}] is {}: give the other CA an \
                     issuer name of its own, or move the file and {KEY_FILE} away",
                    path.display(),
                    ca.issuer,
                    ca.directory
                ),
            ));
        }
        let account = call!(ca, "load the account", async {
            // Parsed anew for each try: the credentials are moved into the account.
            let credentials: AccountCredentials = serde_json::from_slice(&text)?;
            self.builder().from_credentials(credentials).await
        })?;
        Ok(Some(account))
    }

    /// Registers the key, which is on disk before the CA hears of it. The CA answers a known key with its
    /// account (RFC 8555 section 7.3.1), so a crash at any point ends in one account.
    async fn register(&self, ca: &Ca) -> Result<Account, IssueError> {
        let key_pem = self.key()?;
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&key_pem).map_err(|error| {
            let detail = format!("{error}; restore it, or move it away to register a new account");
            StoreError::damaged(&self.dir.join(KEY_FILE), detail)
        })?;
        let (account, credentials) = call!(ca, "register the account", async {
            let key = Key::from_pkcs8_der(pkcs8.clone_key())?;
            let key = (key, PrivateKeyDer::Pkcs8(pkcs8.clone_key()));
            self.builder().create_from_key(key, ca.directory.clone()).await
        })?;
        let text = serde_json::to_vec_pretty(&credentials).map_err(|error| {
            IssueError::new(ErrorClass::Ours, format!("cannot write down the account: {error}"))
        })?;
        // What another account was told does not count for this one.
        durable::remove(&self.dir.join(CONTACTS_FILE))?;
        durable::write(&self.dir.join(CREDENTIALS_FILE), &Zeroizing::new(text), 0o600)?;
        tracing::info!(issuer = ca.issuer, account = account.id(), "account registered");
        Ok(account)
    }

    /// The account key (PEM): the one on disk, else a new one that is on disk when this returns.
    fn key(&self) -> Result<Zeroizing<Vec<u8>>, IssueError> {
        let path = self.dir.join(KEY_FILE);
        if let Some(pem) = read_secret(&path)? {
            return Ok(pem);
        }
        let ours =
            |error: String| IssueError::new(ErrorClass::Ours, format!("cannot make an account key: {error}"));
        let (_, pkcs8) = Key::generate_pkcs8().map_err(|error| ours(error.to_string()))?;
        // rcgen only writes the PEM.
        let mut pair = KeyPair::try_from(&pkcs8).map_err(|error| ours(error.to_string()))?;
        let pem = Zeroizing::new(pair.serialize_pem().into_bytes());
        pair.zeroize();
        durable::create_dir(&self.dir)?;
        durable::write(&path, &pem, 0o600)?;
        Ok(pem)
    }

    /// Tells the CA the contacts where they changed: `create_from_key` drops them, and the configuration
    /// may change. No certificate waits for this, so a refusal is only told.
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
        let result = call!(ca, "tell the contacts", account.update_contacts(&contacts)).and_then(|()| {
            let text = serde_json::to_vec(&self.contacts).unwrap_or_default();
            Ok(durable::write(&path, &text, 0o600)?)
        });
        if let Err(error) = result {
            tracing::warn!(issuer = ca.issuer, %error, "the CA does not have the contacts; check `contacts`");
        }
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.http.clone()))
    }
}

/// Which CA the credentials are for; instant-acme reads but does not tell it.
fn directory_of(text: &[u8]) -> Result<String, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Stored {
        directory: String,
    }
    let _: AccountCredentials = serde_json::from_slice(text)?;
    serde_json::from_slice::<Stored>(text).map(|stored| stored.directory)
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
