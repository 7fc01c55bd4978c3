//! `sealwire import`

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{Failure, Global, Outcome};
use crate::adopt::{Adopted, Client, adopt, find};
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The client that has the certificates.
    client: Client,
    /// Its directory: /etc/letsencrypt, .lego, or Caddy's data directory.
    path: PathBuf,
    /// The issuer they came from, where the files do not tell.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Tell what would be done, and store nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let config = global.load()?;
        if let Some(issuer) = &self.issuer
            && !config.acme.contains_key(issuer)
        {
            return Err(Failure::Usage(format!("--issuer {issuer}: there is no [acme.{issuer}]")));
        }
        let found = find(self.client, &self.path).map_err(|error| Failure::Usage(error.to_string()))?;
        if found.is_empty() {
            return Err(Failure::Failed(format!("no certificates in {}", self.path.display())));
        }
        let store = if self.dry_run && !config.state_dir.exists() {
            None
        } else {
            Some(Store::open(&config.state_dir).map_err(|error| Failure::Failed(error.to_string()))?)
        };
        let done = if self.dry_run { "would be imported" } else { "imported" };
        let mut failed = false;
        for found in &found {
            let issuer = self.issuer.as_deref();
            match adopt(&config, store.as_ref(), found, issuer, self.dry_run, Timestamp::now()) {
                Ok(Adopted::Stored(name)) => println!("{}: {done} as {name}", found.name),
                Ok(Adopted::Kept(name)) => {
                    println!("{}: skipped, the current generation of {name} is valid as long", found.name);
                }
                Ok(Adopted::NotConfigured(snippet)) => {
                    println!("{}: not configured; to import it, add\n\n{snippet}", found.name);
                }
                Err(error) => {
                    eprintln!("sealwire: {error}");
                    failed = true;
                }
            }
        }
        eprintln!("sealwire: accounts are not imported; the agent registers its own at the first order");
        if failed { Err(Failure::Silent) } else { Ok(()) }
    }
}
