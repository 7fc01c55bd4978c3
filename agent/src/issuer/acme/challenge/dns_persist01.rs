//! DNS-PERSIST-01 (draft-ietf-acme-dns-persist): a TXT record that the operator sets once and that stands for
//! the account. We never write it; we say what it must be, and look whether it is there before the CA does.

use std::path::Path;

use async_trait::async_trait;
use hickory_proto::rr::Name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::dns::{Resolver, Seen, look};
use super::{ChallengeError, Facts, Prepared, Solver};
use crate::config::ChallengeKind;
use crate::issuer::ErrorClass;
use crate::store::durable;

/// Where the record is.
const LABEL: &str = "_validation-persist";
/// Beside the account.
const FILE: &str = "dns-persist.json";

/// Looks for records with these servers.
pub(super) struct DnsPersist01 {
    pub(super) resolver: Resolver,
    /// Whether to look at all: `propagation = "off"` says no.
    pub(super) look: bool,
}

/// The name of the record for an identifier.
pub(super) fn record_name(identifier: &str) -> String {
    format!("{LABEL}.{}", identifier.strip_prefix("*.").unwrap_or(identifier))
}

/// What the CA wants to find in the record; kept beside the account, so that it can be told at every start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Standing {
    pub(in super::super) account_uri: String,
    pub(in super::super) issuer_domains: Vec<String>,
}

impl Standing {
    /// The record to set, in the form of a CAA issue-value (RFC 8659 section 4.2).
    pub(super) fn record(&self, identifier: &str) -> String {
        let domain = self.issuer_domains.first().map_or("", String::as_str);
        let policy = if identifier.starts_with("*.") { "; policy=wildcard" } else { "" };
        format!("{}. TXT \"{domain}; accounturi={}{policy}\"", record_name(identifier), self.account_uri)
    }

    /// Keeps it for the next start. Only a log line depends on it.
    pub(in super::super) fn remember(&self, account_dir: &Path) {
        if remembered(account_dir).as_ref() == Some(self) {
            return;
        }
        let text = serde_json::to_vec(self).unwrap_or_default();
        if let Err(error) = durable::write(&account_dir.join(FILE), &text, 0o600) {
            tracing::debug!(%error, "the record for dns-persist-01 will not be told at the next start");
        }
    }
}

/// What was kept beside the account.
pub(super) fn remembered(account_dir: &Path) -> Option<Standing> {
    serde_json::from_slice(&durable::read(&account_dir.join(FILE)).ok().flatten()?).ok()
}

/// Who may be named in the records, from the JSON of an authorization; instant-acme does not tell.
pub(in super::super) fn issuer_domains(authorization: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Authorization {
        challenges: Vec<Challenge>,
    }
    #[derive(Deserialize)]
    struct Challenge {
        r#type: String,
        #[serde(default, rename = "issuer-domain-names")]
        issuer_domain_names: Vec<String>,
    }
    let authorization: Authorization = serde_json::from_slice(authorization).unwrap_or_default();
    let mut challenges = authorization.challenges.into_iter();
    let ours = challenges.find(|challenge| challenge.r#type == ChallengeKind::DnsPersist01.name());
    ours.map(|challenge| challenge.issuer_domain_names).unwrap_or_default()
}

/// Whether a record lets the CA issue for the account now.
fn allows(record: &str, facts: &Facts, now: Timestamp) -> bool {
    let mut parts = record.split(';').map(|part| part.trim_matches([' ', '\t']));
    let Some(domain) = parts.next() else { return false };
    if !facts.issuer_domains.iter().any(|ours| ours == domain) {
        return false;
    }
    let mut account = false;
    let mut wildcard = false;
    for part in parts {
        // A CA refuses the whole record for one part that it cannot read.
        let Some((tag, value)) = part.split_once('=') else { return false };
        let value = value.trim_matches([' ', '\t']);
        match tag.trim_matches([' ', '\t']).to_ascii_lowercase().as_str() {
            "accounturi" => account = value == facts.account_uri,
            "policy" => wildcard = value.eq_ignore_ascii_case("wildcard"),
            "persistuntil" => match value.parse::<i64>() {
                Ok(until) if now.as_second() <= until => {}
                _ => return false,
            },
            _ => {}
        }
    }
    account && (wildcard || !facts.wildcard())
}

/// Nothing to take away.
struct Untouched;

impl Prepared for Untouched {}

#[async_trait]
impl Solver for DnsPersist01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::DnsPersist01
    }

    async fn prepare(&self, facts: &Facts, deadline: Instant) -> Result<Box<dyn Prepared>, ChallengeError> {
        let name = record_name(facts.name());
        if facts.issuer_domains.is_empty() {
            return Err(ChallengeError {
                class: ErrorClass::Ca,
                message: "the CA does not say which issuer name the record must have (issuer-domain-names)"
                    .to_owned(),
            });
        }
        if !self.look {
            return Ok(Box::new(Untouched));
        }
        let mut fqdn = Name::from_ascii(&name).map_err(|error| ChallengeError::ours(error.to_string()))?;
        fqdn.set_fqdn(true);
        let now = Timestamp::now();
        let wanted = |text: &str| allows(text, facts, now);
        let seen = timeout_at(deadline, look(&self.resolver, &fqdn, &wanted)).await;
        match seen {
            Ok(Seen::Yes) => {}
            Ok(Seen::No(why)) => {
                let standing = Standing {
                    account_uri: facts.account_uri.clone(),
                    issuer_domains: facts.issuer_domains.clone(),
                };
                let record = standing.record(&facts.identifier);
                // Not our fault, but only the operator can mend it; the order waits.
                return Err(ChallengeError::transient(format!(
                    "set this record once, then renew: {record} ({why})"
                )));
            }
            Ok(Seen::Unknown(why)) => {
                tracing::warn!(name, why, "cannot look for the record; going on, for the CA may see it");
            }
            Err(_) => tracing::warn!(name, "no DNS server answered in time; going on, for the CA may see it"),
        }
        Ok(Box::new(Untouched))
    }
}

#[cfg(test)]
#[path = "dns_persist01_tests.rs"]
mod tests;
