//! The DNS: who sets TXT records, and what can be seen of them.

mod acme_dns;
mod client;
mod exec;
mod https;
mod lookup;
mod propagation;
mod rfc2136;
#[cfg(test)]
pub(super) mod test_server;
mod webhook;

use std::path::Path;

use async_trait::async_trait;
use hickory_proto::rr::Name;
use zeroize::Zeroizing;

use super::ChallengeError;
use crate::config::{DnsConfig, DnsType};
use crate::issuer::internal::read_given_secret;

pub(crate) use self::client::DnsError;
pub(crate) use self::lookup::{AliasError, Resolver};
pub(super) use self::propagation::{Seen, look, wait};

/// Secrets are a line or two.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Present,
    Cleanup,
}

impl Action {
    /// As hooks are told.
    fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

/// One TXT record; others at the same name are not ours to touch.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Where, after aliases.
    pub(super) fqdn: Name,
    /// What.
    pub(super) value: String,
    /// What it is for: `*.example.com`.
    pub(super) identifier: String,
}

impl Record {
    /// As hooks are told: without the dot at the end.
    fn plain_fqdn(&self) -> String {
        plain(&self.fqdn)
    }
}

/// A name as people write it.
pub(super) fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

/// Sets and removes TXT records. The caller sets the deadline by dropping the future.
#[async_trait]
pub(super) trait Provider: Send + Sync {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError>;
}

/// The provider `[dns.NAME]`.
///
/// # Errors
/// Class `Ours`: a file that cannot be used.
pub(super) fn provider(
    name: &str,
    config: &DnsConfig,
    resolver: &Resolver,
) -> Result<Box<dyn Provider>, ChallengeError> {
    let within = |error: ChallengeError| ChallengeError {
        message: format!("[dns.{name}]: {}", error.message),
        class: error.class,
    };
    Ok(match config.r#type {
        DnsType::Rfc2136 => Box::new(rfc2136::Rfc2136::new(config).map_err(within)?),
        DnsType::Webhook => Box::new(webhook::Webhook::new(config).map_err(within)?),
        DnsType::Exec => Box::new(exec::Exec::new(config).map_err(within)?),
        DnsType::AcmeDns => Box::new(acme_dns::AcmeDns::new(config, resolver.clone()).map_err(within)?),
    })
}

/// A file with a secret, read anew each time, so that it may be changed without a restart.
fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, ChallengeError> {
    let secret = read_given_secret(path)?.ok_or_else(|| {
        ChallengeError::ours(format!("{} does not exist; create it with mode 0600", path.display()))
    })?;
    if secret.is_empty() || secret.len() > MAX_SECRET_BYTES {
        return Err(ChallengeError::ours(format!(
            "{} has {} bytes, expected 1 to {MAX_SECRET_BYTES}",
            path.display(),
            secret.len()
        )));
    }
    Ok(secret)
}

fn missing(key: &str) -> ChallengeError {
    ChallengeError::ours(format!("`{key}` is missing"))
}
