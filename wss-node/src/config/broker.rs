//! `[broker]`: where channels live, and how much memory they may take.

use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

use crate::broker::jetstream::Options;

/// `[broker]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// What all channels of the node may take together, in bytes.
    pub memory_bytes: usize,
    /// Where channels that are to outlive the node are kept; unset: none are.
    pub directory: Option<PathBuf>,
    /// Where channels that several nodes share are kept; unset: nowhere.
    pub nats: Option<NatsConfig>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self { memory_bytes: 256 * 1024 * 1024, directory: None, nats: None }
    }
}

/// `[broker.nats]`: NATS servers with JetStream, 2.11 or later.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// PEM file with the servers' roots; unset: those of the system.
    pub roots: Option<PathBuf>,
    /// PEM file with the node's certificate, for servers that ask for one.
    pub certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub key: Option<PathBuf>,
    /// No connection without TLS.
    pub require_tls: bool,
    /// What subjects and streams begin with.
    pub prefix: String,
    /// Streams that channels are spread over; cannot be changed later.
    pub partitions: u16,
    /// Servers that have each stream.
    pub replicas: usize,
    /// Publications of one channel (of a map: of one key) in the streams.
    pub history: u32,
    /// How long channels that nobody publishes to stay in the streams.
    #[serde(deserialize_with = "duration")]
    pub meta_ttl: Duration,
    /// For a publication, with all its tries.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Monitoring of the servers, `http://host:port`: asked at the start whether they flush each write.
    pub monitors: Vec<String>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        let Options { prefix, partitions, replicas, meta_ttl, timeout, .. } = Options::default();
        Self {
            servers: Vec::new(),
            credentials: None,
            roots: None,
            certificate: None,
            key: None,
            require_tls: false,
            prefix,
            partitions,
            replicas,
            history: 1000,
            meta_ttl,
            timeout,
            monitors: Vec::new(),
        }
    }
}

impl BrokerConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        const LEAST: usize = 1024 * 1024;
        if self.memory_bytes < LEAST {
            let message = format!("{} is too small, expected at least {LEAST}", self.memory_bytes);
            return Err(Fault::new(&["broker", "memory_bytes"], message));
        }
        if let Some(directory) = &self.directory {
            absolute_path(&["broker", "directory"], directory)?;
        }
        self.nats.as_ref().map_or(Ok(()), NatsConfig::check)
    }
}

impl NatsConfig {
    fn check(&self) -> Result<(), Fault> {
        let fault = |key, message: String| Err(Fault::new(&["broker", "nats", key], message));
        if self.servers.is_empty() {
            return fault("servers", "is empty, expected nats://host:4222 or the like".to_owned());
        }
        if let Some(url) = self.servers.iter().find(|url| !is_url(url, &["nats://", "tls://"])) {
            return fault("servers", format!("\"{url}\": expected nats://host:port or tls://host:port"));
        }
        if let Some(url) = self.monitors.iter().find(|url| !is_url(url, &["http://", "https://"])) {
            return fault("monitors", format!("\"{url}\": expected http://host:port"));
        }
        let is_token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
        };
        if !self.prefix.split('.').all(is_token) {
            return fault(
                "prefix",
                format!("\"{}\": expected letters, digits, - and _, with dots between", self.prefix),
            );
        }
        if !(1..=99).contains(&self.partitions) {
            return fault("partitions", format!("{} is out of range, expected 1 to 99", self.partitions));
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return fault("replicas", format!("{}: expected 1, 3 or 5", self.replicas));
        }
        if self.history == 0 {
            return fault("history", "0 is too small, expected at least 1".to_owned());
        }
        let identity = [("certificate", &self.certificate), ("key", &self.key)];
        if let [(_, Some(_)), (missing, None)] | [(missing, None), (_, Some(_))] = identity {
            return fault(missing, "is missing: certificate and key go together".to_owned());
        }
        for (key, path) in
            identity.into_iter().chain([("credentials", &self.credentials), ("roots", &self.roots)])
        {
            if let Some(path) = path {
                absolute_path(&["broker", "nats", key], path)?;
            }
        }
        Ok(())
    }

    /// As the broker takes it.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            servers: self.servers.clone(),
            credentials: self.credentials.clone(),
            roots: self.roots.clone(),
            identity: self.certificate.clone().zip(self.key.clone()),
            require_tls: self.require_tls,
            prefix: self.prefix.clone(),
            partitions: self.partitions,
            replicas: self.replicas,
            history: self.history.into(),
            meta_ttl: self.meta_ttl,
            timeout: self.timeout,
            monitors: self.monitors.clone(),
        }
    }
}

fn is_url(url: &str, schemes: &[&str]) -> bool {
    schemes.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|host| !host.is_empty()))
}
