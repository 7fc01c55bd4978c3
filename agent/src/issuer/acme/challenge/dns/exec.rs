//! A program of the operator's. It is told in its environment what to do, so that nothing shows in `ps`.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{Action, Provider, Record, missing};
use crate::config::DnsConfig;
use crate::issuer::acme::challenge::ChallengeError;
use crate::outgoing::one_line;

/// How much of its standard error is kept for the message.
const MAX_STDERR_BYTES: usize = 2048;

/// The program and its arguments.
pub(super) struct Exec {
    program: PathBuf,
    args: Vec<String>,
}

/// Ends the program and what it started, whichever way we stop waiting for it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Exec {
    pub(super) fn new(config: &DnsConfig) -> Result<Self, ChallengeError> {
        let program = config.program.clone().ok_or_else(|| missing("program"))?;
        if !program.is_file() {
            return Err(ChallengeError::ours(format!("program {} does not exist", program.display())));
        }
        Ok(Self { program, args: config.args.clone().unwrap_or_default() })
    }

    async fn run(&self, action: Action, record: &Record) -> Result<(ExitStatus, Vec<u8>), std::io::Error> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env("SEALWIRE_DNS_ACTION", action.name())
            .env("SEALWIRE_DNS_FQDN", record.plain_fqdn())
            .env("SEALWIRE_DNS_VALUE", &record.value)
            .env("SEALWIRE_DNS_IDENTIFIER", &record.identifier)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(pid);
        let mut kept = Vec::new();
        if let Some(mut stderr) = child.stderr.take() {
            let mut buffer = [0; 1024];
            loop {
                let length = stderr.read(&mut buffer).await?;
                if length == 0 {
                    break;
                }
                // Read to the end, or the program would block on a full pipe.
                let room = MAX_STDERR_BYTES - kept.len();
                kept.extend_from_slice(&buffer[..length.min(room)]);
            }
        }
        let status = child.wait().await?;
        // It ended by itself, and its number may be another's by now.
        group.0 = None;
        Ok((status, kept))
    }
}

#[async_trait]
impl Provider for Exec {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError> {
        let program = self.program.display();
        let (status, stderr) = self
            .run(action, record)
            .await
            .map_err(|error| ChallengeError::ours(format!("cannot run {program}: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let said = one_line(&stderr);
        let said = if said.is_empty() { "it said nothing on standard error" } else { said.as_str() };
        Err(ChallengeError::transient(format!("{program} ({}): {status}: {said}", action.name())))
    }
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
