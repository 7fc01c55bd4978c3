//! Configuration: one TOML file, overridden by `SEALWIRE_` environment variables (`__` between levels, as
//! in `SEALWIRE_DELIVERY__SOCKET`). Unknown keys are refused, and every error names the file, the line, the
//! key and what is expected.

mod alerts;
mod challenge;
mod check;
mod check_challenge;
mod check_internal;
mod deploy;
mod kubernetes;
mod lifecycle;
mod revocation;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use sealwire_config::duration;
use sealwire_proto::socket::PeerPolicy;
use serde::Deserialize;

pub use self::alerts::{
    AlertmanagerConfig, AlertsConfig, MinSeverity, PagerdutyConfig, RatesConfig, WebhookConfig,
};
pub use self::challenge::{
    ChallengeKind, DnsConfig, DnsType, Http01Config, Propagation, TlsAlpn01Config, TsigAlgorithm,
};
pub use self::deploy::{DeployConfig, DeployType};
pub use crate::keys::KeyType;
pub use kubernetes::KubernetesConfig;
pub use lifecycle::{LimitsConfig, MaintenanceConfig};
pub use revocation::RevocationConfig;
pub(crate) use revocation::signed;
pub use sealwire_config::{ConfigError, Log};

/// Where the configuration is looked for unless `--config` or `SEALWIRE_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sealwire/sealwire.toml";

const PREFIX: &str = "SEALWIRE_";

/// What `sealwire config example` prints. A test loads it, so it stays true.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The whole configuration, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys, generations and what the agent remembers; used by one agent at a time.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The socket that nodes dial.
    #[serde(default)]
    pub delivery: DeliveryConfig,
    /// The socket of the command line.
    #[serde(default)]
    pub admin: AdminConfig,
    /// The listener that answers HTTP-01 challenges.
    #[serde(default)]
    pub http01: Http01Config,
    /// The listener that answers TLS-ALPN-01 challenges.
    #[serde(default)]
    pub tls_alpn01: TlsAlpn01Config,
    /// Who sets TXT records for DNS-01, by name.
    #[serde(default)]
    pub dns: BTreeMap<String, DnsConfig>,
    /// Who is told of incidents.
    #[serde(default)]
    pub alerts: AlertsConfig,
    /// How revocation is watched.
    #[serde(default)]
    pub revocation: RevocationConfig,
    /// Replicas that share certificates and accounts; `None`: this agent is alone.
    pub kubernetes: Option<KubernetesConfig>,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
    /// Embedded CAs by name.
    #[serde(default)]
    pub internal: BTreeMap<String, InternalConfig>,
    /// ACME CAs by name.
    #[serde(default)]
    pub acme: BTreeMap<String, AcmeConfig>,
    /// What to keep alive.
    #[serde(default, rename = "certificate")]
    pub certificates: Vec<CertificateConfig>,
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Absolute path of the Unix socket that nodes dial.
    pub socket: PathBuf,
    /// Users that may connect; unset together with `allow_gids`: the agent's own and root.
    pub allow_uids: Option<Vec<u32>>,
    /// Groups that may connect.
    pub allow_gids: Option<Vec<u32>>,
    /// Who must see the new leaf before a generation counts as proven.
    pub proof: ProofBy,
    /// How long a node may take to validate and swap.
    #[serde(deserialize_with = "duration")]
    pub ack_timeout: Duration,
    /// How long after the ack the proof may take before the agent rolls back.
    #[serde(deserialize_with = "duration")]
    pub proof_timeout: Duration,
    /// PEM file with the roots of clients' certificates (mTLS), for all nodes that have no such file of their own.
    pub client_roots: Option<PathBuf>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            socket: "/run/sealwire/delivery.sock".into(),
            allow_uids: None,
            allow_gids: None,
            proof: ProofBy::Agent,
            ack_timeout: Duration::from_secs(10),
            proof_timeout: Duration::from_secs(10),
            client_roots: None,
        }
    }
}

/// Who does the handshake that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofBy {
    /// The node sees the leaf on its own listener, and the agent sees it again with a handshake of its
    /// own: nobody's word is taken.
    #[default]
    Agent,
    /// The node's handshake is enough: for nodes whose listener the agent cannot reach.
    Node,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Absolute path of the Unix socket of the command line.
    pub socket: PathBuf,
    /// Users that may give orders; unset together with `allow_gids`: the agent's own and root.
    pub allow_uids: Option<Vec<u32>>,
    /// Groups that may give orders.
    pub allow_gids: Option<Vec<u32>>,
    /// Where Prometheus reads `/metrics`; unset: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Certificates that are told by name: those that end first. All are told in sum.
    pub metrics_certificates: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            socket: "/run/sealwire/admin.sock".into(),
            allow_uids: None,
            allow_gids: None,
            metrics: None,
            metrics_certificates: 1000,
        }
    }
}

/// `[internal.NAME]`: an embedded CA.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InternalConfig {
    /// How long a leaf lives: 2 minutes to 398 days.
    #[serde(deserialize_with = "duration")]
    pub leaf_lifetime: Duration,
    /// Organization in the subjects of root and intermediate.
    pub organization: Option<String>,
    /// DNS suffixes and address blocks that the CA may issue for (name constraints); empty: any.
    pub permitted: Vec<String>,
    /// `[internal.NAME.publish]`: where others find what is revoked; unset: nowhere, and certificates carry no
    /// URLs.
    pub publish: Option<PublishConfig>,
    /// Clients with a copy of the root, each confirmed by name before a new root issues. Unset: they are
    /// confirmed as a whole. Empty: there are none besides the nodes.
    pub clients: Option<Vec<String>>,
}

impl Default for InternalConfig {
    fn default() -> Self {
        Self {
            leaf_lifetime: Duration::from_hours(24),
            organization: None,
            permitted: Vec::new(),
            publish: None,
            clients: None,
        }
    }
}

/// `[internal.NAME.publish]`: revocation lists, OCSP answers and CA certificates over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// Where to listen; several issuers may share it.
    pub listen: SocketAddr,
    /// How others reach it, as `http://HOST[:PORT]`; it is written into every certificate.
    pub url: String,
    /// How long a revocation list is good for: 10 minutes to 7 days. A new one comes at half of it.
    #[serde(default = "default_crl_lifetime", deserialize_with = "duration")]
    pub crl_lifetime: Duration,
    /// How long an OCSP answer is good for: 5 minutes to 24 hours.
    #[serde(default = "default_ocsp_lifetime", deserialize_with = "duration")]
    pub ocsp_lifetime: Duration,
}

/// An outage of half a day is survived by everybody who fetched the list before.
fn default_crl_lifetime() -> Duration {
    Duration::from_hours(24)
}

/// Short, because an answer that was fetched before a revocation is believed until its end.
fn default_ocsp_lifetime() -> Duration {
    Duration::from_hours(1)
}

/// `[acme.NAME]`: a CA that speaks ACME (RFC 8555).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeConfig {
    /// URL of the directory.
    pub directory: String,
    /// Contact URLs of the account (`mailto:ops@example.com`).
    #[serde(default)]
    pub contacts: Vec<String>,
    /// PEM file with the roots of the directory's own TLS; unset: those of the operating system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the roots that the issued chains build to; unset: those of the operating system.
    #[serde(default)]
    pub trust_roots: Option<PathBuf>,
    /// Must be true: the CA's terms of service were read and agreed to.
    #[serde(default)]
    pub terms_of_service_agreed: bool,
    /// The profile that certificates without one of their own are ordered with.
    #[serde(default)]
    pub profile: Option<String>,
    /// How long certificates of a profile live at most; those of Let's Encrypt are known.
    #[serde(default)]
    pub lifetimes: BTreeMap<String, Lifetime>,
    /// Common name of the root that chains should build to, where the CA offers several.
    #[serde(default)]
    pub preferred_chain: Option<String>,
    /// Organizations or common names, one of which the issuer of every leaf must have; empty: any.
    #[serde(default)]
    pub issued_by: Vec<String>,
    /// `[acme.NAME.eab]`: what ties a new account to one at the CA's website.
    #[serde(default)]
    pub eab: Option<EabConfig>,
    /// How long one order may take.
    #[serde(default = "default_order_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// How many orders may be under way at the same time.
    #[serde(default = "default_parallel_orders")]
    pub parallel_orders: usize,
    /// What the CA allows.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Name of the issuer (a staging CA) to rehearse at after repeated refusals of the names.
    #[serde(default)]
    pub rehearsal: Option<String>,
    /// How names are validated, the first choice first.
    #[serde(default = "challenge::default_challenges")]
    pub challenges: Vec<ChallengeKind>,
    /// Name of the `[dns.NAME]` that sets the records of dns-01.
    #[serde(default)]
    pub dns: Option<String>,
    /// Recursive DNS servers that we ask about records; empty: those of the system.
    #[serde(default)]
    pub resolvers: Vec<SocketAddr>,
}

impl AcmeConfig {
    /// A CA whose terms are agreed to, with all else as it is when unset.
    #[must_use]
    pub fn agreed(directory: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            contacts: Vec::new(),
            ca_file: None,
            trust_roots: None,
            terms_of_service_agreed: true,
            profile: None,
            lifetimes: BTreeMap::new(),
            preferred_chain: None,
            issued_by: Vec::new(),
            eab: None,
            timeout: default_order_timeout(),
            parallel_orders: default_parallel_orders(),
            limits: LimitsConfig::default(),
            rehearsal: None,
            challenges: challenge::default_challenges(),
            dns: None,
            resolvers: Vec::new(),
        }
    }
}

/// `[acme.NAME.eab]` (RFC 8555 section 7.3.4)
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EabConfig {
    /// The key id that the CA shows.
    pub kid: String,
    /// File with the HMAC key in base64url, readable by its owner only.
    pub key_file: PathBuf,
}

/// A duration as a value of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Lifetime(#[serde(deserialize_with = "duration")] pub Duration);

/// `[[certificate]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// Names the certificate everywhere: `renew NAME`, `live/NAME/`.
    pub name: String,
    /// DNS names, wildcards and IP addresses it is for.
    pub identifiers: Vec<String>,
    /// Names of issuers, the first choice first; unset: the only one configured.
    #[serde(default)]
    pub issuers: Vec<String>,
    /// Renew when this part of the lifetime is over.
    #[serde(default = "default_renew_at")]
    pub renew_at: f64,
    /// The profile to order; unset: that of the ACME issuer, if it has one.
    #[serde(default)]
    pub profile: Option<String>,
    /// What kind of key it is for.
    #[serde(default)]
    pub key_type: KeyType,
    /// Renew with the key of the current generation, as long as it is of `key_type` and was not revoked.
    #[serde(default)]
    pub reuse_key: bool,
    /// Ids of the nodes it goes to. Unset: every node that must serve one of its identifiers. Empty: no
    /// node; other servers read it from `live/NAME/`.
    #[serde(default)]
    pub nodes: Option<Vec<String>>,
    /// When renewals should happen, if they can choose.
    #[serde(default)]
    pub maintenance: Option<MaintenanceConfig>,
    /// Whether OCSP responses are stapled.
    #[serde(default)]
    pub ocsp: OcspMode,
    /// With `ocsp = "require"`: for how long after the end of the last staple nodes may still serve it.
    #[serde(default = "default_ocsp_grace", deserialize_with = "duration")]
    pub ocsp_grace: Duration,
    /// What nodes do when it is revoked, besides getting another one as soon as there is one.
    #[serde(default)]
    pub on_revoked: OnRevoked,
    /// How its names are validated; unset: as the issuer says.
    #[serde(default)]
    pub challenges: Option<Vec<ChallengeKind>>,
    /// Name of the `[dns.NAME]` for its names; unset: as the issuer says.
    #[serde(default)]
    pub dns: Option<String>,
    /// `[[certificate.deploy]]`: servers that are not nodes of ours.
    #[serde(default)]
    pub deploy: Vec<DeployConfig>,
}

#[cfg(test)]
impl CertificateConfig {
    /// With all else as it is when unset.
    pub(crate) fn new(name: &str, identifiers: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            identifiers: identifiers.iter().map(|name| (*name).to_owned()).collect(),
            issuers: Vec::new(),
            renew_at: default_renew_at(),
            profile: None,
            key_type: KeyType::default(),
            reuse_key: false,
            nodes: None,
            maintenance: None,
            ocsp: OcspMode::default(),
            ocsp_grace: default_ocsp_grace(),
            on_revoked: OnRevoked::default(),
            challenges: None,
            dns: None,
            deploy: Vec::new(),
        }
    }
}

impl CertificateConfig {
    /// Whether it is for files in the store only: no node and no server gets it.
    #[must_use]
    pub fn goes_nowhere(&self) -> bool {
        self.nodes.as_ref().is_some_and(Vec::is_empty) && self.deploy.is_empty()
    }

    /// Ids of those that must be paired: the nodes that are listed, and the clients of the discovery service.
    pub fn required_nodes(&self) -> impl Iterator<Item = &String> {
        let clients = self.deploy.iter().filter(|deploy| deploy.r#type == DeployType::Sds);
        self.nodes.iter().flatten().chain(clients.map(|client| &client.name))
    }

    /// Where a client of the discovery service is seen serving it.
    #[must_use]
    pub fn sds(&self, client: &str) -> Option<&DeployConfig> {
        self.deploy.iter().find(|deploy| deploy.r#type == DeployType::Sds && deploy.name == client)
    }
}

/// What is done with OCSP responses for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OcspMode {
    /// Not fetched, not presented; revocation is found by CRL and renewal information.
    Off,
    /// Presented when there is one; a responder that is down changes nothing.
    #[default]
    Prefer,
    /// Without one nodes halt once the grace is over.
    Require,
}

/// What nodes do with a revoked certificate until another one is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRevoked {
    /// They go on serving it.
    #[default]
    Replace,
    /// They open their breaker.
    Halt,
}

/// A responder's outage of an hour is not yet a reason to stop.
fn default_ocsp_grace() -> Duration {
    Duration::from_hours(1)
}

fn default_state_dir() -> PathBuf {
    "/var/lib/sealwire".into()
}

fn default_order_timeout() -> Duration {
    Duration::from_mins(5)
}

/// Let's Encrypt takes 20 requests a second from one address for new orders; an order needs about eight.
fn default_parallel_orders() -> usize {
    16
}

/// Two thirds of life, as Let's Encrypt advises and as its ARI windows are centred.
fn default_renew_at() -> f64 {
    2.0 / 3.0
}

impl Config {
    /// Loads and checks a configuration file under the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with one line that says where and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::unreadable(path, "sealwire", &error))?;
        Self::from_text(path, &text)
    }

    /// As [`Config::load`], from text that was read already; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let figment = Figment::from(Toml::string(text)).merge(environment());
        let mut config: Self =
            figment.extract().map_err(|error| ConfigError::from_figment(path, text, PREFIX, &error))?;
        check::check(&mut config).map_err(|fault| ConfigError::from_fault(path, text, fault))?;
        Ok(config)
    }

    /// Who may connect to the delivery socket.
    #[must_use]
    pub fn delivery_peers(&self) -> PeerPolicy {
        peers(self.delivery.allow_uids.as_deref(), self.delivery.allow_gids.as_deref())
    }

    /// Who may connect to the admin socket.
    #[must_use]
    pub fn admin_peers(&self) -> PeerPolicy {
        peers(self.admin.allow_uids.as_deref(), self.admin.allow_gids.as_deref())
    }
}

fn peers(uids: Option<&[u32]>, gids: Option<&[u32]>) -> PeerPolicy {
    match (uids, gids) {
        (None, None) => PeerPolicy::own_user_and_root(),
        (uids, gids) => {
            PeerPolicy { uids: uids.unwrap_or_default().to_vec(), gids: gids.unwrap_or_default().to_vec() }
        }
    }
}

/// `SEALWIRE_STATE_DIR` and every `SEALWIRE_A__B`. Other `SEALWIRE_` variables are not ours to judge:
/// Kubernetes sets `SEALWIRE_PORT` and `SEALWIRE_SERVICE_HOST` in each pod beside a Service of that name.
fn environment() -> Env {
    Env::prefixed(PREFIX).filter(|key| key == "state_dir" || key.as_str().contains("__")).split("__")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
