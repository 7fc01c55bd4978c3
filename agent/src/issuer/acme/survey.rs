//! What can be seen of a CA without an account: its directory, a nonce, its clock. No order, no registration.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::SignedDuration;
use sealwire_proto::anchors::Anchors;
use tokio::time::timeout;

use super::account::{CREDENTIALS_FILE, KEY_FILE, Stored};
use super::directory::Directory;
use super::http::{AcmeHttp, needs_roots};
use super::nonces::NONCE_HEADER;
use super::operations::NEXT_KEY_FILE;
use super::problem::Ca;
use super::wire;
use crate::config::AcmeConfig;
use crate::issuer::internal::read_secret;
use crate::store::StoreError;

/// What a CA says about itself.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Until the directory was there.
    pub(crate) took: Duration,
    /// Names by which it may be called in CAA records.
    pub(crate) caa_identities: Vec<String>,
    pub(crate) external_account_required: bool,
    /// Names of the profiles it offers.
    pub(crate) profiles: Vec<String>,
    pub(crate) terms_of_service: Option<String>,
    /// How far our clock is ahead of its Date header, if it sent one.
    pub(crate) ahead: Option<SignedDuration>,
    /// Why it gave no nonce.
    pub(crate) nonce: Result<(), String>,
}

/// Asks for the directory and for one nonce, each within `limit`.
///
/// # Errors
/// Why there is no directory, in one line.
pub(crate) async fn survey(issuer: &str, config: &AcmeConfig, limit: Duration) -> Result<Survey, String> {
    let anchors = match &config.ca_file {
        Some(path) => Anchors::from_pem_file(path).map_err(|error| error.to_string())?,
        None => Anchors::platform(),
    };
    if anchors.is_empty() && needs_roots(&config.directory) {
        return Err(format!("no root certificates to check {} with", config.directory));
    }
    let http = AcmeHttp::new(&anchors).map_err(|error| error.message)?;
    let ca = Ca {
        issuer: issuer.to_owned(),
        directory: config.directory.clone(),
        account_dir: Default::default(),
    };
    let started = Instant::now();
    let late = |_| format!("no answer from {} within {} s", config.directory, limit.as_secs());
    let reply = timeout(limit, wire::get(&http, &config.directory)).await.map_err(late)?;
    let took = started.elapsed();
    let directory: Directory = reply
        .and_then(|reply| reply.json())
        .map_err(|(error, answer)| ca.error("read the directory", &error, answer.as_deref()).message)?;
    let nonce = timeout(limit, nonce(&http, &directory.new_nonce)).await;
    let late = |_| Err(format!("no answer from {} within {} s", directory.new_nonce, limit.as_secs()));
    Ok(Survey {
        took,
        caa_identities: directory.meta.caa_identities,
        external_account_required: directory.meta.external_account_required,
        profiles: directory.meta.profiles.into_keys().collect(),
        terms_of_service: directory.meta.terms_of_service,
        ahead: http.time.skew().map(|skew| skew.ahead),
        nonce: nonce.unwrap_or_else(late),
    })
}

async fn nonce(http: &AcmeHttp, url: &str) -> Result<(), String> {
    let uri = url.parse().map_err(|_| format!("newNonce \"{url}\" is not a URL"))?;
    let sent = Box::pin(http.send(Method::HEAD, &uri, HeaderMap::new(), Bytes::new())).await;
    let (parts, _) = sent.map_err(|fault| fault.to_string())?;
    if !parts.status.is_success() {
        return Err(format!("{url} answers {}", parts.status));
    }
    if !parts.headers.contains_key(NONCE_HEADER) {
        return Err(format!("{url} sends no Replay-Nonce"));
    }
    Ok(())
}

/// The URL of the account in `dir`; `None` if there is none yet.
///
/// # Errors
/// A key that others may read, or damage.
pub(crate) fn account_url(dir: &Path) -> Result<Option<String>, StoreError> {
    for file in [KEY_FILE, NEXT_KEY_FILE] {
        read_secret(&dir.join(file))?;
    }
    let path = dir.join(CREDENTIALS_FILE);
    let Some(text) = read_secret(&path)? else { return Ok(None) };
    let stored: Stored = serde_json::from_slice(&text)
        .map_err(|error| StoreError::damaged(&path, format!("line {}", error.line())))?;
    Ok(Some(stored.id.clone()))
}

/// Whether the file with an HMAC key of an external account can be used.
///
/// # Errors
/// Why not, without the content.
pub(crate) fn check_eab_key(path: &Path) -> Result<(), String> {
    match read_secret(path) {
        Ok(Some(secret)) if !secret.is_empty() => Ok(()),
        Ok(Some(_)) => Err(format!("{} is empty", path.display())),
        Ok(None) => Err(format!("{} does not exist", path.display())),
        Err(error) => Err(error.to_string()),
    }
}
