//! acme-dns (<https://github.com/joohoi/acme-dns>): a small DNS server that may change nothing but the records
//! of one random name each, to which the operator points a CNAME once.

use std::collections::HashMap;
use std::path::PathBuf;

use async_trait::async_trait;
use hickory_proto::rr::Name;
use serde::Deserialize;
use serde_json::json;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::https::Poster;
use super::lookup::Resolver;
use super::{Action, Provider, Record, missing, plain, secret};
use crate::config::DnsConfig;
use crate::issuer::acme::challenge::ChallengeError;

/// What `/register` answered.
#[derive(Clone, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Account {
    username: String,
    password: String,
    fulldomain: String,
    subdomain: String,
}

/// One account for all names, or one per name, as acme-dns-client and lego keep them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Accounts {
    One(Account),
    ByName(HashMap<String, Account>),
}

/// An acme-dns server and our accounts there.
pub(super) struct AcmeDns {
    url: String,
    credentials_file: PathBuf,
    poster: Poster,
    /// `None`: CNAMEs are not looked at.
    resolver: Option<Resolver>,
}

impl AcmeDns {
    pub(super) fn new(config: &DnsConfig, resolver: Resolver) -> Result<Self, ChallengeError> {
        let url = config.url.clone().ok_or_else(|| missing("url"))?;
        let acme_dns = Self {
            url: format!("{}/update", url.trim_end_matches('/')),
            credentials_file: config.credentials_file.clone().ok_or_else(|| missing("credentials_file"))?,
            poster: Poster::new(config.ca_file.as_deref())?,
            resolver: config.follow_cname.then_some(resolver),
        };
        acme_dns.accounts()?;
        Ok(acme_dns)
    }

    fn accounts(&self) -> Result<Accounts, ChallengeError> {
        let text = secret(&self.credentials_file)?;
        // serde's own words could quote what is in the file.
        serde_json::from_slice(&text).map_err(|error| {
            ChallengeError::ours(format!(
                "{} line {}: expected what acme-dns answered to /register (username, password, fulldomain, \
                 subdomain), or an object with one of those per domain",
                self.credentials_file.display(),
                error.line()
            ))
        })
    }

    fn account(&self, identifier: &str) -> Result<Account, ChallengeError> {
        let name = identifier.strip_prefix("*.").unwrap_or(identifier);
        match self.accounts()? {
            Accounts::One(account) => Ok(account),
            Accounts::ByName(mut accounts) => accounts.remove(name).ok_or_else(|| {
                ChallengeError::ours(format!(
                    "{} has no account for {name}; POST to /register of acme-dns and add the answer",
                    self.credentials_file.display()
                ))
            }),
        }
    }

    /// Whether the CNAME is there that makes the CA look at acme-dns.
    async fn check_cname(&self, record: &Record, account: &Account) -> Result<(), ChallengeError> {
        let Some(resolver) = &self.resolver else { return Ok(()) };
        let name = record.identifier.strip_prefix("*.").unwrap_or(&record.identifier);
        let at = format!("_acme-challenge.{name}");
        let bad_name = |error| ChallengeError::ours(format!("\"{at}\": {error}"));
        let mut from = Name::from_ascii(&at).map_err(bad_name)?;
        from.set_fqdn(true);
        let mut to = Name::from_ascii(&account.fulldomain).map_err(bad_name)?.to_lowercase();
        to.set_fqdn(true);
        let target = resolver.target(&from).await.map_err(|error| {
            ChallengeError::transient(format!("cannot see whether {at} has its CNAME: {error}"))
        })?;
        if target == to {
            return Ok(());
        }
        let found = if target == from { "it has none".to_owned() } else { format!("it leads to {target}") };
        Err(ChallengeError::ours(format!(
            "set this record: {at}. CNAME {to} ({found}); where our DNS differs from the CA's, set `resolvers`, or \
             follow_cname = false"
        )))
    }
}

#[async_trait]
impl Provider for AcmeDns {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError> {
        if action == Action::Cleanup {
            // It cannot remove, keeps the two newest values, and nobody minds them.
            return Ok(());
        }
        let account = self.account(&record.identifier)?;
        self.check_cname(record, &account).await?;
        let headers = [("X-Api-User", account.username.as_str()), ("X-Api-Key", account.password.as_str())];
        let body = json!({"subdomain": account.subdomain, "txt": record.value});
        tracing::debug!(fqdn = plain(&record.fqdn), "setting the record at acme-dns");
        self.poster.post(&self.url, &headers, &body).await
    }
}

#[cfg(test)]
#[path = "acme_dns_tests.rs"]
mod tests;
