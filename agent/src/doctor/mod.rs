//! The pre-flight check: everything that the first order would stumble over, found without an order. Nothing is
//! written and no lock is taken, so it may run before the first start and beside a running agent; a CA is asked
//! for its directory and a nonce only.

mod authority;
mod caa;
mod challenge;
mod delegation;
mod listeners;
mod names;
mod records;
mod sockets;
mod state;
mod tls;
mod web;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use self::listeners::Listeners;
use self::state::Running;
use crate::config::{CertificateConfig, Config};
use crate::issuer::acme::survey::Survey;

/// One question to one server.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// The whole of it.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// Checks under way at the same time.
const PARALLEL: usize = 16;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may go wrong, or could not be judged from here.
    Warning,
    /// An order would fail, or the agent would not start.
    Error,
}

impl Level {
    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What one check saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check: `dns`, `caa`, `http-01`, `ca`, `state`, ...
    pub check: &'static str,
    /// What was looked at: a name, an issuer, a path.
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What was seen.
    pub message: String,
    /// Exactly what to do.
    pub advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { check, subject: subject.into(), level: Level::Ok, message: message.into(), advice: None }
    }

    fn warning(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self { level: Level::Warning, advice, ..Self::ok(check, subject, message) }
    }

    fn error(
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { level: Level::Error, ..Self::warning(check, subject, message, advice) }
    }
}

/// The worst of all; `Ok` if there is nothing.
#[must_use]
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// What to check, and where CAs would connect to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this certificate.
    pub certificate: Option<String>,
    /// The port of HTTP-01: 80 (RFC 8555 section 8.3), except in tests.
    pub http_port: u16,
    /// The port of TLS-ALPN-01: 443 (RFC 8737 section 3), except in tests.
    pub tls_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { certificate: None, http_port: 80, tls_port: 443 }
    }
}

/// There is no certificate of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate is named \"{name}\"; known: {known}")]
pub struct UnknownName {
    name: String,
    known: String,
}

/// What all checks look at.
struct Scene {
    config: Config,
    /// The ones to check.
    certificates: Vec<CertificateConfig>,
    options: Options,
    running: Running,
}

/// What is known of the ACME CAs that are in use.
type Cas = BTreeMap<String, Result<Survey, String>>;

/// Not `Send`: all of it runs within the task of the caller.
type Job = Pin<Box<dyn Future<Output = Vec<Finding>>>>;

/// Checks everything, for at most a minute.
///
/// # Errors
/// [`UnknownName`].
pub async fn run(config: Config, options: Options) -> Result<Vec<Finding>, UnknownName> {
    let deadline = Instant::now() + RUN_TIMEOUT;
    let certificates = chosen(&config, options.certificate.as_deref())?;
    let running = Running::look(&config).await;
    let scene = Arc::new(Scene { config, certificates, options, running });

    let mut findings = state::check(&scene);
    findings.extend(sockets::check(&scene).await);
    findings.extend(authority::internal(&scene));
    let cas = Arc::new(authority::survey(&scene).await);
    findings.extend(authority::check(&scene, &cas));
    let (listeners, found) = Listeners::open(&scene).await;
    findings.extend(found);
    let jobs = names::jobs(&scene, &cas, &Arc::new(listeners));
    findings.extend(all(jobs, deadline).await);
    Ok(findings)
}

/// The findings of all jobs in their order; those that are not done at the deadline are told.
async fn all(jobs: Vec<Job>, deadline: Instant) -> Vec<Finding> {
    let mut left = jobs.len();
    let numbered = jobs.into_iter().enumerate().map(|(number, job)| async move { (number, job.await) });
    let mut running = stream::iter(numbered).buffer_unordered(PARALLEL);
    let mut done = BTreeMap::new();
    let late = loop {
        match timeout_at(deadline, running.next()).await {
            Ok(Some((number, findings))) => {
                left -= 1;
                done.insert(number, findings);
            }
            Ok(None) => break None,
            Err(_) => {
                let message = format!("{left} check(s) were not done within {} s", RUN_TIMEOUT.as_secs());
                break Some(Finding::warning(
                    "run",
                    "doctor",
                    message,
                    "check one certificate: sealwire doctor NAME",
                ));
            }
        }
    };
    done.into_values().flatten().chain(late).collect()
}

fn chosen(config: &Config, name: Option<&str>) -> Result<Vec<CertificateConfig>, UnknownName> {
    let Some(name) = name else { return Ok(config.certificates.clone()) };
    let found = config.certificates.iter().find(|certificate| certificate.name == name);
    found.map(|found| vec![found.clone()]).ok_or_else(|| {
        let known: Vec<_> = config.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
        UnknownName { name: name.to_owned(), known: known.join(", ") }
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
