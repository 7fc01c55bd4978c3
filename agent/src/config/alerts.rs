//! `[alerts]`: who is told of incidents, and from when on a rate is one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::{Fault, absolute_path, duration};
use sealwire_proto::v1;
use serde::Deserialize;

use crate::outgoing::is_sound;

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// An alert that is not repeated for longer than this is dropped by an Alertmanager whose `resolve_timeout` is
/// the usual 5 minutes.
const LONGEST_REPEAT: Duration = Duration::from_mins(4);
/// A day of silence after an incident's end is more than anybody wants.
const LONGEST_SETTLE: Duration = Duration::from_hours(24);
/// More would only be the same message over and over.
const MAX_RECEIVERS: usize = 32;

/// `[alerts]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// What this agent calls itself towards receivers; unset: the host's name.
    pub instance: Option<String>,
    /// URL that the name of a kind is appended to after `#`; unset: the file in the repository.
    pub runbook_url: Option<String>,
    /// How long an incident must be over before it is resolved.
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    /// How often open incidents are told again to Alertmanagers.
    #[serde(deserialize_with = "duration")]
    pub repeat: Duration,
    /// `[alerts.rates]`
    pub rates: RatesConfig,
    /// `[alerts.alertmanager.NAME]`
    pub alertmanager: BTreeMap<String, AlertmanagerConfig>,
    /// `[alerts.pagerduty.NAME]`
    pub pagerduty: BTreeMap<String, PagerdutyConfig>,
    /// `[alerts.webhook.NAME]`
    pub webhook: BTreeMap<String, WebhookConfig>,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            instance: None,
            runbook_url: None,
            settle: Duration::from_mins(5),
            repeat: Duration::from_mins(1),
            rates: RatesConfig::default(),
            alertmanager: BTreeMap::new(),
            pagerduty: BTreeMap::new(),
            webhook: BTreeMap::new(),
        }
    }
}

/// `[alerts.rates]`: handshakes of one node within a minute.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RatesConfig {
    /// So many resets are a storm,
    pub resets_per_minute: u64,
    /// if they are this part of all handshakes.
    pub reset_share: f64,
    /// So many clients that find the certificate expired.
    pub expired_per_minute: u64,
}

impl Default for RatesConfig {
    fn default() -> Self {
        Self { resets_per_minute: 60, reset_share: 0.25, expired_per_minute: 5 }
    }
}

/// How grave an incident must be for a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinSeverity {
    /// All.
    Info,
    /// What will become grave if nobody looks.
    #[default]
    Warning,
    /// What hurts now.
    Critical,
}

impl MinSeverity {
    /// Whether an incident of that severity is told.
    #[must_use]
    pub fn takes(self, severity: v1::Severity) -> bool {
        let least = match self {
            Self::Info => v1::Severity::Info,
            Self::Warning => v1::Severity::Warning,
            Self::Critical => v1::Severity::Critical,
        };
        severity >= least
    }
}

/// `[alerts.alertmanager.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Where it is; `/api/v2/alerts` is appended.
    pub url: String,
    /// PEM file with the roots of its TLS; unset: those of the operating system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token, readable by its owner only.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// What it is told of.
    #[serde(default)]
    pub min_severity: MinSeverity,
}

/// `[alerts.pagerduty.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerdutyConfig {
    /// File with the integration's routing key, readable by its owner only.
    pub routing_key_file: PathBuf,
    /// Another place than PagerDuty's own.
    #[serde(default = "pagerduty")]
    pub url: String,
    /// PEM file with the roots of its TLS; unset: those of the operating system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What it is told of.
    #[serde(default)]
    pub min_severity: MinSeverity,
}

/// `[alerts.webhook.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where messages are posted.
    pub url: String,
    /// File with the secret that signs them, readable by its owner only.
    pub secret_file: PathBuf,
    /// PEM file with the roots of its TLS; unset: those of the operating system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What it is told of.
    #[serde(default)]
    pub min_severity: MinSeverity,
}

fn pagerduty() -> String {
    PAGERDUTY.to_owned()
}

type Checked = Result<(), Fault>;

fn fault<T>(path: &[&str], message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(path, message))
}

/// Checks `[alerts]`.
pub(super) fn check(alerts: &AlertsConfig) -> Checked {
    if alerts.settle > LONGEST_SETTLE {
        return fault(
            &["alerts", "settle"],
            format!("{:?} is out of range, at most 24 hours", alerts.settle),
        );
    }
    if alerts.repeat < Duration::from_secs(1) || alerts.repeat > LONGEST_REPEAT {
        return fault(
            &["alerts", "repeat"],
            format!(
                "{:?} is out of range, expected 1 second to 4 minutes: an Alertmanager forgets what is not \
                 repeated for 5",
                alerts.repeat
            ),
        );
    }
    for (key, text) in [("instance", &alerts.instance), ("runbook_url", &alerts.runbook_url)] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty() || text.chars().any(char::is_control)) {
            return fault(&["alerts", key], "is empty or has control characters");
        }
    }
    if let Some(runbook) = &alerts.runbook_url
        && !is_web(runbook)
    {
        return fault(&["alerts", "runbook_url"], format!("\"{runbook}\": expected an http or https URL"));
    }
    check_rates(&alerts.rates)?;
    if alerts.alertmanager.len() + alerts.pagerduty.len() + alerts.webhook.len() > MAX_RECEIVERS {
        return fault(&["alerts"], format!("has more than {MAX_RECEIVERS} receivers"));
    }
    for (name, receiver) in &alerts.alertmanager {
        let at = |key| ["alerts", "alertmanager", name, key];
        common(&["alerts", "alertmanager", name], name, receiver.ca_file.as_ref())?;
        if let Some(file) = &receiver.token_file {
            absolute_path(&at("token_file"), file)?;
            secret_goes(&at("url"), &receiver.url)?;
        } else if !is_web(&receiver.url) {
            let text = "expected an http or https URL, such as \"http://127.0.0.1:9093\"";
            return fault(&at("url"), format!("\"{}\": {text}", receiver.url));
        }
    }
    for (name, receiver) in &alerts.pagerduty {
        let at = |key| ["alerts", "pagerduty", name, key];
        common(&["alerts", "pagerduty", name], name, receiver.ca_file.as_ref())?;
        absolute_path(&at("routing_key_file"), &receiver.routing_key_file)?;
        secret_goes(&at("url"), &receiver.url)?;
    }
    for (name, receiver) in &alerts.webhook {
        let at = |key| ["alerts", "webhook", name, key];
        common(&["alerts", "webhook", name], name, receiver.ca_file.as_ref())?;
        absolute_path(&at("secret_file"), &receiver.secret_file)?;
        // The path of a webhook's URL is often a secret itself.
        secret_goes(&at("url"), &receiver.url)?;
    }
    Ok(())
}

fn check_rates(rates: &RatesConfig) -> Checked {
    for (key, value) in
        [("resets_per_minute", rates.resets_per_minute), ("expired_per_minute", rates.expired_per_minute)]
    {
        if value == 0 {
            return fault(&["alerts", "rates", key], "is 0, expected at least 1");
        }
    }
    if !(0.0..=1.0).contains(&rates.reset_share) {
        let text = format!("{} is out of range, expected a part from 0 to 1", rates.reset_share);
        return fault(&["alerts", "rates", "reset_share"], text);
    }
    Ok(())
}

fn common(path: &[&str], name: &str, ca_file: Option<&PathBuf>) -> Checked {
    super::check::plain_name(path, name)?;
    match ca_file {
        Some(file) => absolute_path(&[path, &["ca_file"]].concat(), file),
        None => Ok(()),
    }
}

fn secret_goes(path: &[&str], url: &str) -> Checked {
    if is_sound(url) {
        return Ok(());
    }
    // The URL itself is not repeated: parts of it may be secret.
    fault(path, "expected an https URL, or http to this machine (127.0.0.1, [::1], localhost)")
}

fn is_web(url: &str) -> bool {
    url.parse::<http::Uri>()
        .is_ok_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
