//! Incidents on their way to people: each configured receiver gets the news that are grave enough for it, in order,
//! from a spool on disk that survives restarts. At least once: what was under way when the agent died is sent
//! again, with the same id.

mod alertmanager;
mod attempt;
mod health;
mod message;
mod pagerduty;
pub mod rates;
mod receiver;
mod request;
mod spool;
mod transport;
mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::alertmanager::Alertmanager;
use self::health::Health;
use self::message::{Message, Origin};
use self::pagerduty::Pagerduty;
use self::receiver::{Receiver, Shared};
use self::request::{Form, SecretFile};
use self::spool::Spool;
use self::transport::Https;
use self::webhook::Webhook;
use crate::clock::Clock;
use crate::config::{AlertsConfig, MinSeverity};
use crate::incident::book::Event;
use crate::incident::{Incident, Kind};
use crate::store::{StoreError, durable};

/// Below the state directory: a directory for each receiver.
pub const SPOOL: &str = "alerts";

/// Why alerts cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The spool.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS towards a receiver.
    #[error("[alerts.{receiver}]: {detail}")]
    Tls {
        /// Its type and name.
        receiver: String,
        /// What is wrong.
        detail: String,
    },
}

/// Towards the receivers, as the agent's loop sees them.
#[derive(Debug, Default)]
pub struct Alerts {
    receivers: Vec<Towards>,
}

/// One receiver, as the loop sees it.
#[derive(Debug)]
struct Towards {
    takes: MinSeverity,
    shared: Arc<Shared>,
    open: watch::Sender<Arc<[Incident]>>,
}

impl Towards {
    /// Whether it is told of an incident: of its own failing it is not.
    fn hears(&self, incident: &Incident) -> bool {
        let itself = incident.kind == Kind::AlertsUnsent && incident.about == self.shared.name;
        !itself && self.takes.takes(incident.kind.severity())
    }

    fn publish(&self, open: &[Incident]) {
        let heard: Arc<[Incident]> = open.iter().filter(|one| self.hears(one)).cloned().collect();
        self.open.send_if_modified(|before| {
            let changed = **before != *heard;
            if changed {
                *before = heard;
            }
            changed
        });
    }
}

/// How one receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// As in the configuration: `alertmanager.main`.
    pub receiver: String,
    /// What is wrong, if anything is.
    pub text: Option<String>,
}

/// What became of requests to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts<'a> {
    /// As in the configuration: `alertmanager.main`.
    pub receiver: &'a str,
    /// It took them.
    pub taken: u64,
    /// It did not, or could not be reached.
    pub refused: u64,
    /// Messages that were given up.
    pub dropped: u64,
    /// Messages that wait.
    pub waiting: usize,
}

/// What a receiver is, before it runs.
struct Plan<'a> {
    name: String,
    takes: MinSeverity,
    ca_file: Option<&'a PathBuf>,
    form: Box<dyn Form>,
}

fn plans(config: &AlertsConfig) -> Vec<Plan<'_>> {
    let mut plans = Vec::new();
    for (name, one) in &config.alertmanager {
        let form = Alertmanager::new(&one.url, one.token_file.clone().map(SecretFile));
        plans.push(Plan {
            name: format!("alertmanager.{name}"),
            takes: one.min_severity,
            ca_file: one.ca_file.as_ref(),
            form: Box::new(form),
        });
    }
    for (name, one) in &config.pagerduty {
        let form = Pagerduty::new(&one.url, SecretFile(one.routing_key_file.clone()));
        plans.push(Plan {
            name: format!("pagerduty.{name}"),
            takes: one.min_severity,
            ca_file: one.ca_file.as_ref(),
            form: Box::new(form),
        });
    }
    for (name, one) in &config.webhook {
        let form = Webhook::new(&one.url, SecretFile(one.secret_file.clone()));
        plans.push(Plan {
            name: format!("webhook.{name}"),
            takes: one.min_severity,
            ca_file: one.ca_file.as_ref(),
            form: Box::new(form),
        });
    }
    plans
}

impl Alerts {
    /// Takes up the spools in `dir` and starts a task for each receiver, which ends with `stop`. `open` is what
    /// receivers take for open, from the start on.
    ///
    /// # Errors
    /// [`AlertError`]; each message names the file or the receiver.
    pub fn start(
        config: &AlertsConfig,
        dir: &Path,
        clock: &Arc<dyn Clock>,
        seed: u64,
        open: &[Incident],
        stop: &CancellationToken,
    ) -> Result<Self, AlertError> {
        let origin = Arc::new(Origin::new(config.instance.clone(), config.runbook_url.clone()));
        let mut receivers = Vec::new();
        for plan in plans(config) {
            let spool = Spool::open(&dir.join(&plan.name))?;
            let transport = Https::new(plan.ca_file.map(PathBuf::as_path))
                .map_err(|detail| AlertError::Tls { receiver: plan.name.clone(), detail })?;
            let shared = Arc::new(Shared::new(plan.name, spool));
            let towards =
                Towards { takes: plan.takes, shared: Arc::clone(&shared), open: watch::Sender::default() };
            towards.publish(open);
            let receiver = Receiver {
                shared,
                form: plan.form,
                transport: Box::new(transport),
                origin: Arc::clone(&origin),
                clock: Arc::clone(clock),
                seed: seed.wrapping_add(receivers.len() as u64),
                open: towards.open.subscribe(),
                repeat: config.repeat,
            };
            tokio::spawn(receiver.run(stop.clone()));
            receivers.push(towards);
        }
        let alerts = Self { receivers };
        alerts.forget_others(dir);
        Ok(alerts)
    }

    /// Removes what waits for receivers that are not configured any more.
    fn forget_others(&self, dir: &Path) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if self.receivers.iter().any(|towards| *towards.shared.name == *name) {
                continue;
            }
            tracing::warn!(receiver = %name.display(), "no longer configured; what waited for it is removed");
            if let Err(error) = durable::remove_tree(&entry.path()) {
                tracing::warn!(%error, "it stays");
            }
        }
    }

    /// Brings what receivers take for open up to date, then queues the news. In this order: an incident that is
    /// over must not be repeated after its end was sent.
    ///
    /// # Errors
    /// [`StoreError`]: something is not on disk. It is sent all the same, unless the agent is restarted before.
    pub fn tell(
        &self,
        open: &[Incident],
        news: &[(Incident, Event)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut result = Ok(());
        for towards in &self.receivers {
            towards.publish(open);
            for (incident, event) in news.iter().filter(|(incident, _)| towards.hears(incident)) {
                let message = Message { event: *event, at: now, incident: incident.clone() };
                match towards.shared.spool.push(&message) {
                    Ok(None) => {}
                    Ok(Some(oldest)) => {
                        towards.shared.dropped(format!("{} made room for newer ones", oldest.id()));
                    }
                    Err(error) => result = Err(error),
                }
            }
        }
        result
    }

    /// Writes messages that could not be written when they were queued.
    ///
    /// # Errors
    /// [`StoreError`], as before.
    pub fn store(&self) -> Result<(), StoreError> {
        self.receivers.iter().try_for_each(|towards| towards.shared.spool.store())
    }

    /// How many messages wait for each receiver.
    #[must_use]
    pub fn unsent(&self) -> BTreeMap<String, u64> {
        let count = |towards: &Towards| (towards.shared.name.clone(), towards.shared.spool.len() as u64);
        self.receivers.iter().map(count).collect()
    }

    /// What became of requests to each receiver since the start, and what waits.
    pub fn counts(&self) -> impl Iterator<Item = Counts<'_>> {
        self.receivers.iter().map(|towards| {
            let Health { taken, refused, dropped, .. } = towards.shared.health();
            let waiting = towards.shared.spool.len();
            Counts { receiver: &towards.shared.name, taken, refused, dropped, waiting }
        })
    }

    /// Every receiver, and what is wrong with it.
    pub fn troubles(&self, now: Instant) -> Vec<Trouble> {
        let trouble = |towards: &Towards| {
            let shared = &towards.shared;
            Trouble { receiver: shared.name.clone(), text: shared.health().trouble(now, shared.spool.len()) }
        };
        self.receivers.iter().map(trouble).collect()
    }
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
