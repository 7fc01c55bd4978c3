//! Accounts that another client registered, made ours: no network is asked.

use std::path::Path;

use zeroize::Zeroizing;

use super::account::{
    CONTACTS_FILE, CREDENTIALS_FILE, DEACTIVATED_FILE, KEY_FILE, Stored, write_credentials,
};
use super::jws::AccountKey;
use super::operations::NEXT_KEY_FILE;
use crate::issuer::internal::read_secret;
use crate::store::{StoreError, durable};

/// An account as another client kept it.
pub struct ForeignAccount {
    url: Option<String>,
    key: AccountKey,
    key_pem: Zeroizing<String>,
}

impl ForeignAccount {
    /// Of the URL, if the client knew it, and the key as PKCS#8, in DER and in PEM.
    ///
    /// # Errors
    /// The URL is none, or the key is of a kind that cannot sign for ACME.
    pub fn new(url: Option<String>, pkcs8: &[u8], key_pem: Zeroizing<String>) -> Result<Self, String> {
        if let Some(url) = &url
            && !reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
        {
            return Err(format!("\"{}\" is not the URL of an account", url.escape_debug()));
        }
        Ok(Self { url, key: AccountKey::from_pkcs8(pkcs8)?, key_pem })
    }

    /// Its URL; `None` if the client did not write it down.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The RFC 7638 thumbprint of its key.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }
}

/// What became of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenOver {
    /// It is the issuer's account now (or would be, in a dry run).
    Stored,
    /// It was the issuer's account before.
    Same,
    /// The issuer has another one, which stays: what it is.
    Kept(String),
}

/// Makes it the account of the issuer whose account directory is `dir`, unless that has one. A crash half-way
/// leaves its key, with which the CA finds the account; the next call ends what was begun.
///
/// # Errors
/// [`StoreError`]: what is there is damaged or may be read by others, or nothing can be written. An account
/// that is there is never touched.
pub fn take_over(
    dir: &Path,
    directory: &str,
    account: &ForeignAccount,
    dry_run: bool,
) -> Result<TakenOver, StoreError> {
    if let Some(present) = present(dir, account)? {
        return Ok(present);
    }
    if dry_run {
        return Ok(TakenOver::Stored);
    }
    durable::create_dir(dir)?;
    // What another account was told does not count for this one.
    durable::remove(&dir.join(CONTACTS_FILE))?;
    durable::write(&dir.join(KEY_FILE), account.key_pem.as_bytes(), 0o600)?;
    // Without its URL it is found again by its key.
    if let Some(url) = &account.url {
        write_credentials(dir, directory, url.clone(), &account.key)?;
    }
    Ok(TakenOver::Stored)
}

/// What keeps the account from being stored; `None`: nothing does.
fn present(dir: &Path, account: &ForeignAccount) -> Result<Option<TakenOver>, StoreError> {
    let place = |file: &str| dir.join(file);
    if place(DEACTIVATED_FILE).exists() {
        let what = format!("one that was deactivated ({})", place(DEACTIVATED_FILE).display());
        return Ok(Some(TakenOver::Kept(what)));
    }
    if place(NEXT_KEY_FILE).exists() {
        let what = format!("one whose key is being changed ({})", place(NEXT_KEY_FILE).display());
        return Ok(Some(TakenOver::Kept(what)));
    }
    if let Some(text) = read_secret(&place(CREDENTIALS_FILE))? {
        let stored: Stored = serde_json::from_slice(&text)
            .map_err(|error| StoreError::damaged(&place(CREDENTIALS_FILE), error.to_string()))?;
        let same = account.url.as_ref().is_none_or(|url| *url == stored.id)
            && stored.key_pkcs8 == super::jws::encode(account.key.pkcs8());
        return Ok(Some(if same { TakenOver::Same } else { TakenOver::Kept(stored.id.clone()) }));
    }
    let Some(pem) = read_secret(&place(KEY_FILE))? else { return Ok(None) };
    let own = AccountKey::from_pem(&pem).map_err(|error| StoreError::damaged(&place(KEY_FILE), error))?;
    if own.thumbprint() != account.key.thumbprint() {
        return Ok(Some(TakenOver::Kept(format!("the one of the key {}", place(KEY_FILE).display()))));
    }
    Ok(account.url.is_none().then_some(TakenOver::Same))
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;
