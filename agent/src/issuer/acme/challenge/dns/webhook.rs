//! A service of the operator's that takes `{action, fqdn, value, identifier}` as JSON.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::json;
use zeroize::Zeroizing;

use super::https::Poster;
use super::{Action, Provider, Record, missing, secret};
use crate::config::DnsConfig;
use crate::issuer::acme::challenge::ChallengeError;

/// Where records are asked for.
pub(super) struct Webhook {
    url: String,
    token_file: Option<PathBuf>,
    poster: Poster,
}

impl Webhook {
    pub(super) fn new(config: &DnsConfig) -> Result<Self, ChallengeError> {
        let webhook = Self {
            url: config.url.clone().ok_or_else(|| missing("url"))?,
            token_file: config.token_file.clone(),
            poster: Poster::new(config.ca_file.as_deref())?,
        };
        webhook.bearer()?;
        Ok(webhook)
    }

    /// The value of the Authorization header.
    fn bearer(&self) -> Result<Option<Zeroizing<String>>, ChallengeError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let token = secret(path)?;
        let text = std::str::from_utf8(&token)
            .map_err(|_| ChallengeError::ours(format!("{} is not text", path.display())))?;
        Ok(Some(Zeroizing::new(format!("Bearer {}", text.trim()))))
    }
}

#[async_trait]
impl Provider for Webhook {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError> {
        let bearer = self.bearer()?;
        let headers: Vec<(&'static str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        let body = json!({
            "action": action.name(),
            "fqdn": record.plain_fqdn(),
            "value": record.value,
            "identifier": record.identifier,
        });
        self.poster.post(&self.url, &headers, &body).await
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
