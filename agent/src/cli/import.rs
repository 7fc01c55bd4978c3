//! `sealwire import`

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{Failure, Global, Outcome};
use crate::adopt::{
    AdoptError, Adopted, AdoptedAccount, Choice, Client, Found, FoundAccount, adopt, adopt_accounts, find,
    find_accounts,
};
use crate::config::Config;
use crate::store::{Store, check_dir_private};

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The client that has the accounts and certificates.
    client: Client,
    /// Its directory: /etc/letsencrypt, .lego, or Caddy's data directory.
    path: PathBuf,
    /// The issuer they came from, where the files do not tell.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The account to take over, where there are several with one CA.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Tell what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Tells what cannot be taken over, and remembers that there was something.
#[derive(Default)]
struct Findings(bool);

impl Findings {
    fn tell(&mut self, error: &AdoptError) {
        eprintln!("sealwire: {error}");
        self.0 = true;
    }

    /// What was found; the rest is told.
    fn sift<T>(&mut self, found: Vec<Result<T, AdoptError>>) -> Vec<T> {
        found.into_iter().filter_map(|found| found.map_err(|error| self.tell(&error)).ok()).collect()
    }
}

impl Import {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let config = global.load()?;
        self.check_issuer(&config)?;
        let mut findings = Findings::default();
        let accounts = findings.sift(find_accounts(self.client, &self.path));
        let certificates = findings.sift(find(self.client, &self.path));
        if accounts.is_empty() && certificates.is_empty() {
            return Err(Failure::Failed(format!(
                "no accounts and no certificates in {}",
                self.path.display()
            )));
        }
        self.check_account(&accounts)?;
        let failed = |error: crate::store::StoreError| Failure::Failed(error.to_string());
        let store = match self.dry_run {
            false => Some(Store::open(&config.state_dir).map_err(failed)?),
            true if config.state_dir.exists() => {
                check_dir_private(&config.state_dir).map_err(failed)?;
                None
            }
            true => None,
        };
        self.accounts(&config, &accounts, &mut findings);
        self.certificates(&config, store.as_ref(), &certificates, &mut findings);
        if findings.0 { Err(Failure::Silent) } else { Ok(()) }
    }

    fn check_issuer(&self, config: &Config) -> Outcome {
        let Some(issuer) = &self.issuer else { return Ok(()) };
        if config.acme.contains_key(issuer) {
            return Ok(());
        }
        Err(Failure::Usage(if config.internal.contains_key(issuer) {
            format!(
                "--issuer {issuer}: [internal.{issuer}] is an embedded CA, which has no accounts and did not sign \
                 what another client obtained: name an [acme.NAME]"
            )
        } else {
            format!("--issuer {issuer}: there is no [acme.{issuer}]")
        }))
    }

    fn check_account(&self, accounts: &[FoundAccount]) -> Outcome {
        let Some(wanted) = &self.account else { return Ok(()) };
        let names: Vec<_> = accounts.iter().map(|account| account.name.as_str()).collect();
        if names.contains(&wanted.as_str()) {
            return Ok(());
        }
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(Failure::Usage(format!("--account {wanted}: accounts in {}: {names}", self.path.display())))
    }

    fn accounts(&self, config: &Config, found: &[FoundAccount], findings: &mut Findings) {
        let done = if self.dry_run { "would be imported" } else { "imported" };
        let choice = Choice { issuer: self.issuer.as_deref(), account: self.account.as_deref() };
        for (found, result) in found.iter().zip(adopt_accounts(config, found, choice, self.dry_run)) {
            let what = match result {
                Ok(AdoptedAccount::Stored { issuer, url: Some(url) }) => {
                    format!("{done} as that of {issuer}: {url}")
                }
                Ok(AdoptedAccount::Stored { issuer, url: None }) => {
                    format!(
                        "{done} as that of {issuer}: {issuer} tells its URL, by its key, at the first order"
                    )
                }
                Ok(AdoptedAccount::Same(issuer)) => format!("skipped, {issuer} has it already"),
                Ok(AdoptedAccount::Kept { issuer, what }) => {
                    format!("skipped, {issuer} has an account already and keeps it: {what}")
                }
                Ok(AdoptedAccount::PassedOver { other }) => {
                    format!("skipped, {other} with the same CA is taken; --account chooses")
                }
                Ok(AdoptedAccount::NotConfigured) => match &self.issuer {
                    Some(issuer) => format!("skipped, it is not with the CA of [acme.{issuer}]"),
                    None => "skipped, no [acme.NAME] has the directory of its CA".to_owned(),
                },
                Err(error) => {
                    findings.tell(&AdoptError(format!("account {}: {error}", found.name)));
                    continue;
                }
            };
            println!("account {} ({}): {what}", found.name, found.origin.text());
        }
    }

    fn certificates(&self, config: &Config, store: Option<&Store>, found: &[Found], findings: &mut Findings) {
        let done = if self.dry_run { "would be imported" } else { "imported" };
        for found in found {
            match adopt(config, store, found, self.issuer.as_deref(), Timestamp::now()) {
                Ok(Adopted::Stored(name)) => println!("{}: {done} as {name}", found.name),
                Ok(Adopted::Kept(name)) => {
                    println!("{}: skipped, the current generation of {name} is valid as long", found.name);
                }
                Ok(Adopted::NotConfigured(snippet)) => {
                    println!("{}: not configured; to import it, add\n\n{snippet}", found.name);
                }
                Err(error) => findings.tell(&error),
            }
        }
    }
}
