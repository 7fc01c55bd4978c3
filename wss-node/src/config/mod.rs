//! Configuration: one TOML file, overridden by `WSS_NODE_` environment variables (`__` between levels, as in
//! `WSS_NODE_LISTEN__ADDRESS`). Unknown keys are refused.

mod api;
mod breaker;
mod broker;
mod gate;
mod limits;
mod listen;
mod namespaces;
mod telemetry;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use api::ApiConfig;
pub use breaker::{BreakerConfig, Reaction};
pub use broker::{BrokerConfig, NatsConfig};
use figment::Figment;
use figment::providers::{Env, Format, Toml};
pub use gate::{GateConfig, IntrospectionConfig, Reject, TenantConfig, TokenAt, TokenConfig};
pub use limits::LimitsConfig;
pub use listen::{
    ClientAuth, ForwardedHeader, ListenConfig, PlainConfig, ProxyConfig, ProxyProtocol, UnknownSni,
};
pub use namespaces::{DEFAULT as DEFAULT_NAMESPACE, Durability, NamespaceConfig, Namespaces, Payload};
use rustls_pki_types::ServerName;
pub use sealwire_config::{ConfigError, Log};
use sealwire_config::{Fault, absolute_path, duration, duration_or_zero};
use serde::Deserialize;
pub use telemetry::{AuditConfig, OtlpProtocol, TelemetryConfig};

use crate::tenant::Tenants;

pub use crate::host::HostPattern;
pub use crate::origin::OriginPattern;

/// Where the configuration is looked for unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/sealwire/wss-node.toml";

/// What `wss-node config example` prints. A test loads it, so it stays true.
pub const EXAMPLE: &str = include_str!("example.toml");

const PREFIX: &str = "WSS_NODE_";

/// The whole configuration, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names the node towards the agent; unset: the host name.
    #[serde(default = "host_name")]
    pub node_id: String,
    /// DNS names, wildcards and IP addresses it must be able to serve.
    pub server_names: Vec<String>,
    /// The agent's socket.
    #[serde(default)]
    pub delivery: DeliveryConfig,
    /// The public listener.
    #[serde(default)]
    pub listen: ListenConfig,
    /// A listener behind a proxy that ends TLS.
    pub plain: Option<PlainConfig>,
    /// Proxies that are believed.
    #[serde(default)]
    pub proxy: ProxyConfig,
    /// What one client may take.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Which upgrades are let through.
    #[serde(default)]
    pub gate: GateConfig,
    /// How clients say who they are.
    #[serde(default)]
    pub token: TokenConfig,
    /// Customers with rules of their own.
    #[serde(default)]
    pub tenant: Vec<TenantConfig>,
    /// Limits of a session.
    #[serde(default)]
    pub session: SessionConfig,
    /// What halts state propagation.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// Where channels live.
    #[serde(default)]
    pub broker: BrokerConfig,
    /// What channels are, by the beginning of their names.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Health for orchestrators.
    #[serde(default)]
    pub admin: AdminConfig,
    /// What applications may ask of it; unset: nothing.
    pub api: Option<ApiConfig>,
    /// How it stops.
    #[serde(default)]
    pub drain: DrainConfig,
    /// OpenTelemetry.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Decisions about security.
    #[serde(default)]
    pub audit: AuditConfig,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Absolute path of the agent's delivery socket.
    pub socket: PathBuf,
    /// PEM file with the roots that chains must build to; unset: those that come with a bundle, or else
    /// those of the operating system.
    pub trust_roots: Option<PathBuf>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { socket: "/run/sealwire/delivery.sock".into(), trust_roots: None }
    }
}

/// `[session]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Largest message taken, in bytes.
    pub message_bytes: usize,
    /// Bytes that may wait for a slow reader before it is disconnected.
    pub outbound_queue_bytes: usize,
    /// From the upgrade to the `connect` command.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// Between two pings of the node.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    #[serde(deserialize_with = "duration")]
    pub pong_timeout: Duration,
    /// How long one write may take.
    #[serde(deserialize_with = "duration")]
    pub write_timeout: Duration,
    /// From the first byte of a message to its last.
    #[serde(deserialize_with = "duration")]
    pub message_timeout: Duration,
    /// Fragments of one message.
    pub message_fragments: u32,
    /// Subscriptions of one session.
    pub channels: usize,
    /// Longest name of a channel, in bytes.
    pub channel_name_bytes: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            message_bytes: 64 * 1024,
            outbound_queue_bytes: 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            write_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            message_fragments: 64,
            channels: 128,
            channel_name_bytes: 255,
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where `/healthz`, `/readyz`, `/status` and `/metrics` answer.
    pub address: SocketAddr,
    /// Absolute path of the socket for `wss-node sessions` and the like; unset: none.
    pub socket: Option<PathBuf>,
    /// User ids besides root and the node's own that may use it.
    pub allow_uids: Vec<u32>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9090)), socket: None, allow_uids: Vec::new() }
    }
}

/// `[drain]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// Between the end of readiness and the first close, for load balancers to notice.
    #[serde(deserialize_with = "duration_or_zero")]
    pub delay: Duration,
    /// Sessions are closed at an even rate within this time, or faster if so few that other nodes take them easily.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    /// Sessions closed in a second at most; 0: half of the handshakes in a second that this node was measured to do.
    pub sessions_per_second: u32,
    /// How long sessions may take to close, after `delay` and `window`, before the node stops regardless.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            window: Duration::from_secs(20),
            sessions_per_second: 0,
            timeout: Duration::from_secs(10),
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Config {
    /// Loads and checks a configuration file under the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with one line that says where and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::unreadable(path, "wss-node", &error))?;
        Self::from_text(path, &text)
    }

    /// As [`Config::load`], from text that was read already; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        // Other variables are not ours: WSS_NODE_CONFIG is the command line's, and Kubernetes sets
        // WSS_NODE_PORT and the like beside a service of that name.
        let environment = Env::prefixed(PREFIX)
            .filter(|key| key == "node_id" || key == "server_names" || key.as_str().contains("__"))
            .split("__");
        let figment = Figment::from(Toml::string(text)).merge(environment);
        let config: Self =
            figment.extract().map_err(|error| ConfigError::from_figment(path, text, PREFIX, &error))?;
        config.check().map_err(|fault| ConfigError::from_fault(path, text, fault))?;
        Ok(config)
    }

    /// Reads the files that tokens and applications are checked with, so that a fault is told with its line; commands that talk to a running
    /// node do not need them, and may not be allowed to read them. `path` is that of the configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check_files(&self, path: &Path) -> Result<(), ConfigError> {
        let fault = match Tenants::new(self) {
            Err(error) => error.fault(),
            Ok(_) => match self.api.as_ref().map(crate::api::check_files) {
                Some(Err(fault)) => fault,
                Some(Ok(())) | None => return Ok(()),
            },
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::unreadable(path, "wss-node", &error))?;
        Err(ConfigError::from_fault(path, &text, fault))
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), Fault> {
        if self.node_id.is_empty() || self.node_id.len() > 253 || self.node_id.chars().any(char::is_control) {
            return Err(Fault::new(&["node_id"], "expected 1 to 253 printable characters"));
        }
        if self.server_names.is_empty() {
            return Err(Fault::new(
                &["server_names"],
                "is empty, expected the names that clients connect to",
            ));
        }
        for (position, name) in self.server_names.iter().enumerate() {
            let base = name.strip_prefix("*.").unwrap_or(name);
            let sound = ServerName::try_from(base).is_ok()
                && (base.len() == name.len() || base.parse::<IpAddr>().is_err());
            if !sound {
                let message = format!("\"{name}\": expected a DNS name, a wildcard or an IP address");
                return Err(Fault::new(&["server_names", &position.to_string()], message));
            }
        }
        absolute_path(&["delivery", "socket"], &self.delivery.socket)?;
        if let Some(path) = &self.delivery.trust_roots {
            absolute_path(&["delivery", "trust_roots"], path)?;
        }
        if let Some(path) = &self.admin.socket {
            absolute_path(&["admin", "socket"], path)?;
        }
        self.listen.check()?;
        self.proxy.check(&self.listen, self.plain.as_ref())?;
        self.telemetry.check()?;
        self.audit.check()?;
        let limits: [(&[&str], usize, usize); 6] = [
            (&["listen", "max_connections"], self.listen.max_connections, 1),
            (&["listen", "head_bytes"], self.listen.head_bytes, 8192),
            (&["session", "message_bytes"], self.session.message_bytes, 1024),
            (&["session", "outbound_queue_bytes"], self.session.outbound_queue_bytes, 1024),
            (&["session", "channels"], self.session.channels, 1),
            (&["session", "channel_name_bytes"], self.session.channel_name_bytes, 1),
        ];
        for (key, value, least) in limits {
            if value < least {
                return Err(Fault::new(key, format!("{value} is too small, expected at least {least}")));
            }
        }
        if let Some(api) = &self.api {
            api.check(&self.admin)?;
        }
        self.breaker.check()?;
        self.broker.check()?;
        namespaces::check(&self.namespaces, &self.broker)?;
        self.log.check()?;
        gate::check(&self.gate, &self.token, &self.tenant, &self.listen.path)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
