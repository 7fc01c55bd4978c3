//! Hooks and reloads: what they are told, how long they may take, and what of their output is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::config::CertificateConfig;
use crate::outgoing::one_line;
use crate::program::{self, Keep};
use crate::store::Generation;

/// How much of its output is kept, for the log and for status.
const MAX_OUTPUT_BYTES: usize = 4096;
/// Where programs look for others, when the agent has no `PATH` itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What programs of one target are told in their environment; nothing in it is secret.
pub(super) struct Told(Vec<(&'static str, String)>);

impl Told {
    /// `live` is the directory in which the files are, as certbot's `live/NAME` is.
    pub(super) fn new(
        certificate: &str,
        identifiers: &[String],
        generation: &Generation,
        live: &Path,
    ) -> Self {
        let file = |name: &str| live.join(name).display().to_string();
        Self(vec![
            ("SEALWIRE_CERTIFICATE", certificate.to_owned()),
            ("SEALWIRE_GENERATION", generation.number.to_string()),
            ("SEALWIRE_CHAIN_FILE", file(super::directory::FULL_CHAIN)),
            ("SEALWIRE_KEY_FILE", file(super::directory::KEY)),
            ("RENEWED_LINEAGE", live.display().to_string()),
            ("RENEWED_DOMAINS", identifiers.join(" ")),
        ])
    }
}

/// The programs of one target.
pub(super) struct Programs {
    certificate: String,
    identifiers: Vec<String>,
    timeout: Duration,
    turns: Arc<Semaphore>,
}

impl Programs {
    /// They wait for each other at `turns`, which is shared by all targets.
    pub(super) fn new(certificate: &CertificateConfig, timeout: Duration, turns: Arc<Semaphore>) -> Self {
        let CertificateConfig { name, identifiers, .. } = certificate;
        Self { certificate: name.clone(), identifiers: identifiers.clone(), timeout, turns }
    }

    /// Runs one to its end; `what` is its key in the configuration. Its environment is what it is told, and `PATH`:
    /// what else the agent knows is not for it.
    pub(super) async fn run(
        &self,
        what: &str,
        command: &[String],
        generation: &Generation,
        live: &Path,
    ) -> Result<(), String> {
        let Some((program, arguments)) = command.split_first() else { return Ok(()) };
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let Told(told) = Told::new(&self.certificate, &self.identifiers, generation, live);
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", path).envs(told);
        let _turn = self.turns.acquire().await;
        let running = program::run(&mut command, Keep::All(MAX_OUTPUT_BYTES));
        let ran = match tokio::time::timeout(self.timeout, running).await {
            Ok(Ok(ran)) => ran,
            Ok(Err(error)) => return Err(format!("cannot run {program} (`{what}`): {error}")),
            Err(_) => {
                return Err(format!(
                    "{program} (`{what}`) did not end within {:?} and was killed",
                    self.timeout
                ));
            }
        };
        let said = one_line(&ran.said);
        tracing::info!(
            certificate = self.certificate,
            generation = generation.number,
            what,
            program,
            status = %ran.status,
            said,
            "a program of a target has ended"
        );
        if ran.status.success() {
            return Ok(());
        }
        let said = if said.is_empty() { "it said nothing" } else { said.as_str() };
        Err(format!("{program} (`{what}`): {}: {said}", ran.status))
    }
}
