//! A program of the operator's. It is told in its environment what to do, so that nothing shows in `ps`.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::process::Command;

use super::{Action, Provider, Record, missing};
use crate::config::DnsConfig;
use crate::issuer::acme::challenge::ChallengeError;
use crate::outgoing::one_line;
use crate::program::{self, Keep, Ran};

/// How much of its standard error is kept for the message.
const MAX_STDERR_BYTES: usize = 2048;

/// The program and its arguments.
pub(super) struct Exec {
    program: PathBuf,
    args: Vec<String>,
}

impl Exec {
    pub(super) fn new(config: &DnsConfig) -> Result<Self, ChallengeError> {
        let program = config.program.clone().ok_or_else(|| missing("program"))?;
        if !program.is_file() {
            return Err(ChallengeError::ours(format!("program {} does not exist", program.display())));
        }
        Ok(Self { program, args: config.args.clone().unwrap_or_default() })
    }

    async fn run(&self, action: Action, record: &Record) -> std::io::Result<Ran> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env("SEALWIRE_DNS_ACTION", action.name())
            .env("SEALWIRE_DNS_FQDN", record.plain_fqdn())
            .env("SEALWIRE_DNS_VALUE", &record.value)
            .env("SEALWIRE_DNS_IDENTIFIER", &record.identifier);
        program::run(&mut command, Keep::Errors(MAX_STDERR_BYTES)).await
    }
}

#[async_trait]
impl Provider for Exec {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError> {
        let program = self.program.display();
        let Ran { status, said } = self
            .run(action, record)
            .await
            .map_err(|error| ChallengeError::ours(format!("cannot run {program}: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let said = one_line(&said);
        let said = if said.is_empty() { "it said nothing on standard error" } else { said.as_str() };
        Err(ChallengeError::transient(format!("{program} ({}): {status}: {said}", action.name())))
    }
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
