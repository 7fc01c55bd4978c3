//! HTTP-01 without a list of tokens: the key authorization is the token and the account's thumbprint (RFC 8555
//! section 8.1), so whoever has the account can answer, and any replica may be asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::issuer::acme::account::{CREDENTIALS_FILE, KEY_FILE};
use crate::issuer::acme::jws::AccountKey;
use crate::issuer::internal::read_secret;

/// How long a thumbprint is taken for true: the account may be made, or its key changed, while we run, and
/// everybody may ask port 80 a thousand times a second.
const KEEP: Duration = Duration::from_secs(5);

/// An account and where its key is.
struct Account {
    dir: PathBuf,
    known: Mutex<Option<(Instant, Option<String>)>>,
}

/// Which account answers for which name.
pub(super) struct Stateless {
    accounts: BTreeMap<String, Account>,
    /// Issuer by identifier.
    hosts: BTreeMap<String, String>,
}

impl Stateless {
    /// `accounts`: directories by issuer; `hosts`: issuers by identifier.
    pub(super) fn new(accounts: BTreeMap<String, PathBuf>, hosts: BTreeMap<String, String>) -> Self {
        let account = |(issuer, dir)| (issuer, Account { dir, known: Mutex::default() });
        Self { accounts: accounts.into_iter().map(account).collect(), hosts }
    }

    /// The answer to a token that was asked for at `host` (as in the Host header).
    pub(super) fn answer(&self, token: &str, host: Option<&str>) -> Option<String> {
        let by_host =
            host.and_then(|host| self.hosts.get(&bare(host))).and_then(|issuer| self.accounts.get(issuer));
        let only = || self.accounts.values().next().filter(|_| self.accounts.len() == 1);
        let thumbprint = by_host.or_else(only)?.thumbprint()?;
        Some(format!("{token}.{thumbprint}"))
    }
}

impl Account {
    fn thumbprint(&self) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, thumbprint)) = &*known
            && since.elapsed() < KEEP
        {
            return thumbprint.clone();
        }
        let thumbprint = match key_of(&self.dir) {
            Ok(key) => key.map(|key| key.thumbprint()),
            Err(error) => {
                tracing::warn!(error, "http01.stateless: no account to answer with");
                None
            }
        };
        *known = Some((Instant::now(), thumbprint.clone()));
        thumbprint
    }
}

/// Host names are not case-sensitive; a port and the brackets of an address are no part of them.
fn bare(host: &str) -> String {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The key in use: the one of the credentials, else the one about to be registered.
fn key_of(dir: &Path) -> Result<Option<AccountKey>, String> {
    #[derive(serde::Deserialize, Zeroize, ZeroizeOnDrop)]
    struct Stored {
        key_pkcs8: String,
    }
    let text = |error: crate::store::StoreError| error.to_string();
    let path = dir.join(CREDENTIALS_FILE);
    if let Some(stored) = read_secret(&path).map_err(text)? {
        let damaged = |error: String| format!("{}: {error}", path.display());
        let stored: Stored =
            serde_json::from_slice(&stored).map_err(|error| damaged(format!("line {}", error.line())))?;
        let der = Zeroizing::new(
            BASE64_URL_SAFE_NO_PAD
                .decode(&stored.key_pkcs8)
                .map_err(|_| damaged("the key is not base64url".to_owned()))?,
        );
        return AccountKey::from_pkcs8(&der).map(Some).map_err(damaged);
    }
    let path = dir.join(KEY_FILE);
    let Some(pem) = read_secret(&path).map_err(text)? else { return Ok(None) };
    AccountKey::from_pem(&pem).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[path = "stateless_tests.rs"]
mod tests;
