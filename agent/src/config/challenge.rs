//! How identifiers are validated: challenge types, the listeners that answer, and the DNS providers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::duration;
use serde::Deserialize;

/// A type of challenge (RFC 8555 section 8, RFC 8737, draft-ietf-acme-dns-persist).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum ChallengeKind {
    /// A file below `/.well-known/acme-challenge/` on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a handshake with the protocol "acme-tls/1" on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A TXT record that we set for each order.
    #[serde(rename = "dns-01")]
    Dns01,
    /// A TXT record that the operator sets once.
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

impl ChallengeKind {
    /// The name on the wire and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }

    /// Whether an identifier (normal form) can be validated this way: wildcards by DNS only (RFC 8555
    /// section 8.3), addresses by anything but DNS (RFC 8738 section 4).
    #[must_use]
    pub fn fits(self, identifier: &str) -> bool {
        let by_dns = matches!(self, Self::Dns01 | Self::DnsPersist01);
        if identifier.starts_with("*.") {
            return by_dns;
        }
        !by_dns || identifier.parse::<std::net::IpAddr>().is_err()
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an issuer does unless told otherwise.
pub(super) fn default_challenges() -> Vec<ChallengeKind> {
    vec![ChallengeKind::Http01]
}

/// `[http01]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http01Config {
    /// CAs ask on port 80 (RFC 8555 section 8.3); another port needs a forward in front.
    pub listen: SocketAddr,
    /// Answer every well-formed token with the account's thumbprint, so that any replica with the same
    /// account can answer for the one that orders.
    pub stateless: bool,
}

impl Default for Http01Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 80)), stateless: false }
    }
}

/// `[tls_alpn01]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsAlpn01Config {
    /// CAs ask on port 443 (RFC 8737 section 3); another port needs a forward by ALPN in front.
    pub listen: SocketAddr,
}

impl Default for TlsAlpn01Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 443)) }
    }
}

/// How TXT records are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum DnsType {
    /// Dynamic updates (RFC 2136), signed with TSIG (RFC 8945).
    #[serde(rename = "rfc2136")]
    Rfc2136,
    /// A JSON POST.
    #[serde(rename = "webhook")]
    Webhook,
    /// A program.
    #[serde(rename = "exec")]
    Exec,
    /// <https://github.com/joohoi/acme-dns>.
    #[serde(rename = "acme-dns")]
    AcmeDns,
}

impl DnsType {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc2136 => "rfc2136",
            Self::Webhook => "webhook",
            Self::Exec => "exec",
            Self::AcmeDns => "acme-dns",
        }
    }
}

/// The algorithm of a TSIG key (RFC 8945 section 6; the ones that are safe).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TsigAlgorithm {
    /// The one every server has.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// 384 bits.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// 512 bits.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// What is done about a record that we cannot see in the DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// Wait for it, then go on with a warning: behind split-horizon DNS we may never see what the CA sees.
    #[default]
    Advisory,
    /// Wait for it, then fail: the CA is not asked to look for what is not there.
    Required,
    /// Do not look.
    Off,
}

/// `[dns.NAME]`: who sets TXT records for dns-01. Which keys a type takes: `check_challenge.rs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// How.
    pub r#type: DnsType,
    /// rfc2136: the primary server.
    #[serde(default)]
    pub server: Option<SocketAddr>,
    /// rfc2136: the zone to update; unset: found by its SOA.
    #[serde(default)]
    pub zone: Option<String>,
    /// rfc2136: name of the TSIG key.
    #[serde(default)]
    pub tsig_name: Option<String>,
    /// rfc2136: algorithm of the TSIG key.
    #[serde(default)]
    pub tsig_algorithm: Option<TsigAlgorithm>,
    /// rfc2136: file with the TSIG key in base64, mode 0600.
    #[serde(default)]
    pub tsig_key_file: Option<PathBuf>,
    /// rfc2136: seconds that the record may be cached for.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// webhook: where to POST; acme-dns: base URL of the server.
    #[serde(default)]
    pub url: Option<String>,
    /// webhook: file with a bearer token, mode 0600.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// webhook, acme-dns: PEM file with the roots of the server's TLS; unset: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// exec: absolute path of the program.
    #[serde(default)]
    pub program: Option<PathBuf>,
    /// exec: its arguments.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// acme-dns: file with what its `/register` answered, mode 0600.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// How long one change may take.
    #[serde(default = "default_dns_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Whether to set the record where a CNAME at `_acme-challenge.NAME` points to.
    #[serde(default = "yes")]
    pub follow_cname: bool,
    /// What is done about a record that we cannot see.
    #[serde(default)]
    pub propagation: Propagation,
    /// How long to look for it.
    #[serde(default = "default_propagation_timeout", deserialize_with = "duration")]
    pub propagation_timeout: Duration,
    /// Recursive servers that we ask; empty: those of the issuer, else of the system.
    #[serde(default)]
    pub resolvers: Vec<SocketAddr>,
}

fn default_dns_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_propagation_timeout() -> Duration {
    Duration::from_mins(1)
}

fn yes() -> bool {
    true
}
