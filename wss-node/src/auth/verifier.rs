//! Checks tokens as one `[token]` section says.

use std::time::Duration;

use jiff::Timestamp;

use super::Grant;
use super::error::AuthError;
use super::extract::check;
use super::fault::TokenFault;
use crate::config::TokenConfig;

/// What tokens are checked by: keys, a key set, a server that is asked.
#[derive(Debug)]
pub(crate) struct Verifier {}

impl Verifier {
    /// Reads the files of a `[token]` section; no network. `key` is the section's path, for messages: `token`, or
    /// `tenant.0.token`.
    ///
    /// # Errors
    /// [`AuthError`] names the key, the file and what to do.
    pub(crate) fn new(_config: &TokenConfig, _key: &str) -> Result<Self, AuthError> {
        Ok(Self {})
    }

    /// Checks one token.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub(crate) async fn verify(&self, token: &str, _now: Timestamp) -> Result<Grant, TokenFault> {
        check(token)?;
        std::future::ready(Err(TokenFault::Unavailable { retry_after: Duration::from_secs(1) })).await
    }
}
