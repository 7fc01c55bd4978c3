//! `[telemetry]` and `[audit]`: what is told to others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

/// `[telemetry]`: OpenTelemetry over OTLP. Prometheus reads `/metrics` on the admin address in any case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// URL of a collector; unset: nothing is sent.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// PEM file with the collector's roots; unset: those of the system.
    pub roots: Option<PathBuf>,
    /// Share of connections that are traced, 0 to 1, where the client's own trace does not decide.
    pub sample: f64,
    /// Connections in a second that are traced because their client's own trace is sampled; what is more falls under
    /// `sample`. 0: clients have no say.
    pub parents_per_second: u32,
    /// Sends spans.
    pub traces: bool,
    /// Sends metrics.
    pub metrics: bool,
    /// Sends log records.
    pub logs: bool,
    /// Between two sendings of metrics.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// For one request, and for all that waits when the node stops.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::Grpc,
            headers: BTreeMap::new(),
            roots: None,
            sample: 0.01,
            parents_per_second: 10,
            traces: true,
            metrics: true,
            logs: true,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// Port 4317 by convention.
    #[default]
    Grpc,
    /// Protobuf over HTTP, port 4318 by convention; `/v1/traces` and the like are put after the endpoint.
    Http,
}

/// `[audit]`: decisions about security, as JSON, a line each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// File they are appended to; unset: they go into the log.
    pub file: Option<PathBuf>,
    /// Lines in a second, on average; what is more is counted and told in sum. Halts are always told.
    pub lines_per_second: u32,
    /// Decisions kept in memory for `wss-node why`.
    pub remembered: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file: None, lines_per_second: 100, remembered: 10_000 }
    }
}

impl TelemetryConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if let Some(url) = self.endpoint.as_ref().filter(|url| !is_url(url)) {
            let message = format!("\"{url}\": expected a URL such as http://127.0.0.1:4317");
            return Err(Fault::new(&["telemetry", "endpoint"], message));
        }
        if !(0.0..=1.0).contains(&self.sample) {
            let message = format!("{} is out of range, expected 0 to 1", self.sample);
            return Err(Fault::new(&["telemetry", "sample"], message));
        }
        for (name, value) in &self.headers {
            if name.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err() {
                // Not the value: it may be a secret.
                let message = "expected the name of an HTTP header and a printable value";
                return Err(Fault::new(&["telemetry", "headers", name], message));
            }
        }
        if let Some(path) = &self.roots {
            absolute_path(&["telemetry", "roots"], path)?;
        }
        Ok(())
    }
}

impl AuditConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if let Some(path) = &self.file {
            absolute_path(&["audit", "file"], path)?;
        }
        if self.lines_per_second == 0 {
            return Err(Fault::new(&["audit", "lines_per_second"], "0 is too small, expected at least 1"));
        }
        Ok(())
    }
}
