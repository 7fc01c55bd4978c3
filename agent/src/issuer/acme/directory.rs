//! What a CA offers (RFC 8555 section 7.1.1), with the members that instant-acme does not read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::http::AcmeHttp;
use super::problem::Ca;
use super::wire::{Refused, Reply, get};
use crate::issuer::IssueError;

/// A CA may move its resources and change its profiles.
pub(super) const RELOAD_AFTER: Duration = Duration::from_hours(24);

/// A directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    // Read, so that a JSON object that is no directory is told from one.
    #[allow(dead_code)]
    pub(super) new_order: String,
    pub(super) revoke_cert: Option<String>,
    pub(super) key_change: Option<String>,
    /// RFC 9773 section 3.
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
    /// As sent, for instant-acme.
    #[serde(skip)]
    pub(super) whole: Value,
}

/// What it says about itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) terms_of_service: Option<String>,
    #[serde(default)]
    pub(super) external_account_required: bool,
    /// Names by which it may be called in CAA records (RFC 8555 section 7.1.1).
    #[serde(default)]
    pub(super) caa_identities: Vec<String>,
    /// Name and description.
    #[serde(default)]
    pub(super) profiles: BTreeMap<String, Value>,
}

/// The directory of one CA, fetched when it is needed and not older than [`RELOAD_AFTER`].
#[derive(Default)]
pub(super) struct Directories(Mutex<Option<(Arc<Directory>, Instant)>>);

impl Directories {
    /// The directory.
    ///
    /// # Errors
    /// The network, or an answer that is no directory.
    pub(super) async fn directory(&self, http: &AcmeHttp, ca: &Ca) -> Result<Arc<Directory>, IssueError> {
        if let Some((directory, since)) = self.kept()
            && since.elapsed() < RELOAD_AFTER
        {
            return Ok(directory);
        }
        let fetched = get(http, &ca.directory).await.and_then(|reply| read(&reply));
        let directory = fetched
            .map(Arc::new)
            .map_err(|(error, answer)| ca.error("read the directory", &error, answer.as_deref()))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Arc::clone(&directory), Instant::now()));
        Ok(directory)
    }

    /// What was fetched last, however old.
    pub(super) fn last(&self) -> Option<Arc<Directory>> {
        self.kept().map(|(directory, _)| directory)
    }

    fn kept(&self) -> Option<(Arc<Directory>, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches it anew at the next use.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn read(reply: &Reply) -> Result<Directory, Refused> {
    let whole: Value = reply.json()?;
    let mut directory: Directory = reply.json()?;
    directory.whole = whole;
    Ok(directory)
}
