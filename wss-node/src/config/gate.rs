//! `[gate]`, `[token]` and `[[tenant]]`: who is let in.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

use super::listen::check_endpoint;
use crate::host::HostPattern;
use crate::origin::OriginPattern;

/// `[gate]`: which upgrades are let through before a token is looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Origins of web pages: `https://app.example.com`, `https://*.example.com`, or `*` for all. Empty: only pages of the
    /// very host that is connected to.
    pub origins: Vec<OriginPattern>,
    /// Lets in clients that send no Origin: those that are no browsers.
    pub allow_missing_origin: bool,
    /// Refuses clients that offer no subprotocol.
    pub require_subprotocol: bool,
    /// How a client is refused.
    pub reject: Reject,
    /// Close code for a refused Origin with `reject = "close"`.
    pub close_origin: u16,
    /// The same for a token.
    pub close_token: u16,
    /// The same for a limit.
    pub close_limit: u16,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            allow_missing_origin: true,
            require_subprotocol: false,
            reject: Reject::Http,
            close_origin: 4003,
            close_token: 4001,
            close_limit: 4008,
        }
    }
}

/// How a client is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reject {
    /// With an HTTP status, before the upgrade. Scripts in browsers see 1006 only.
    #[default]
    Http,
    /// By an upgrade that is closed at once with a code; not for an Origin that is not allowed, whose page must not
    /// learn anything.
    Close,
}

/// `[token]`: how a client says who it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// Lets in clients without a token. Those with a bad one are refused all the same.
    pub anonymous: bool,
    /// Where a token is looked for.
    pub at: TokenAt,
    /// Query parameter of the upgrade that may hold it, for browsers; unset: none. Never logged.
    pub query: Option<String>,
    /// Header of the upgrade that may hold it besides `Authorization: Bearer`; unset: none.
    pub header: Option<String>,
    /// PEM files with public keys (or certificates) of the issuer.
    pub keys: Vec<PathBuf>,
    /// URL of its JWKS (RFC 7517): `https`, or `http` on loopback.
    pub jwks: Option<String>,
    /// PEM file with the roots of the server behind `jwks` and `introspection.url`; unset: those of the system.
    pub roots: Option<PathBuf>,
    /// The JWKS is fetched again after this time.
    #[serde(deserialize_with = "duration")]
    pub jwks_refresh: Duration,
    /// File with the shared secret of HS256; unset: HS256 is refused.
    pub hs256_secret: Option<PathBuf>,
    /// `iss` must be this; unset: any.
    pub issuer: Option<String>,
    /// `aud` must hold one of these; empty: any.
    pub audience: BTreeSet<String>,
    /// How far clocks may differ.
    #[serde(deserialize_with = "duration")]
    pub leeway: Duration,
    /// Opaque tokens (RFC 7662); unset: every token is a JWT.
    pub introspection: Option<IntrospectionConfig>,
    /// After its token's end a session may refresh it for so long before it is closed with 3005.
    #[serde(deserialize_with = "duration")]
    pub refresh_grace: Duration,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            anonymous: false,
            at: TokenAt::Either,
            query: None,
            header: None,
            keys: Vec::new(),
            jwks: None,
            roots: None,
            jwks_refresh: Duration::from_secs(300),
            hs256_secret: None,
            issuer: None,
            audience: BTreeSet::new(),
            leeway: Duration::from_secs(30),
            introspection: None,
            refresh_grace: Duration::from_secs(25),
        }
    }
}

/// Where a token is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenAt {
    /// In the upgrade only.
    Upgrade,
    /// In the `connect` command only.
    Connect,
    /// In whichever comes first.
    #[default]
    Either,
}

/// `[token.introspection]`: RFC 7662.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// The endpoint: `https`, or `http` on loopback.
    pub url: String,
    /// How the node names itself.
    pub client_id: String,
    /// File with its secret.
    pub client_secret: PathBuf,
    /// An answer is good for so long, never past the token's own end.
    #[serde(default = "cache", deserialize_with = "duration")]
    pub cache: Duration,
}

fn cache() -> Duration {
    Duration::from_secs(60)
}

/// `[[tenant]]`: a customer with hosts or a path of its own. What it leaves out is as for everybody.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// In logs, metrics and `why`.
    pub name: String,
    /// Host names that are its own; `*.example.com` among them.
    #[serde(default)]
    pub hosts: Vec<HostPattern>,
    /// Path of its WebSocket endpoint; unset: `listen.path`, told apart by the host.
    pub path: Option<String>,
    /// Put before the names of its channels, unseen by its clients, so that tenants never share one.
    #[serde(default)]
    pub channel_prefix: String,
    /// Its sessions at the same time; 0: no limit of its own.
    #[serde(default)]
    pub sessions: u32,
    /// `[tenant.gate]`; unset: `[gate]`.
    pub gate: Option<GateConfig>,
    /// `[tenant.token]`; unset: `[token]`.
    pub token: Option<TokenConfig>,
}

/// What the types cannot say, of all tenants; `path` is that of everybody's endpoint.
pub(super) fn check(
    gate: &GateConfig,
    token: &TokenConfig,
    tenants: &[TenantConfig],
    path: &str,
) -> Result<(), Fault> {
    gate.check(&["gate"])?;
    token.check(&["token"])?;
    let mut names = BTreeSet::new();
    // Of those without hosts, everybody is the first.
    let mut places = BTreeSet::from([(None, path)]);
    for (index, tenant) in tenants.iter().enumerate() {
        let position = index.to_string();
        let key = ["tenant", position.as_str()];
        let at = |rest: &'static str| [key[0], key[1], rest];
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if tenant.name.is_empty() || tenant.name.len() > 64 || !tenant.name.bytes().all(sound) {
            return Err(Fault::new(&at("name"), "expected 1 to 64 letters, digits, \"_\", \"-\" and \".\""));
        }
        if !names.insert(tenant.name.as_str()) {
            return Err(Fault::new(&at("name"), format!("\"{}\" is there twice", tenant.name)));
        }
        let prefix = tenant.channel_prefix.as_str();
        if prefix.len() > 64 || prefix.chars().any(char::is_control) {
            return Err(Fault::new(&at("channel_prefix"), "expected at most 64 printable bytes"));
        }
        let others = tenants[..index].iter().map(|other| other.channel_prefix.as_str());
        let shared = others.filter(|other| !other.is_empty() && !prefix.is_empty());
        if let Some(other) =
            shared.into_iter().find(|other| other.starts_with(prefix) || prefix.starts_with(other))
        {
            let message = format!(
                "\"{prefix}\" and \"{other}\" of another tenant: one begins with the other, so they would share channels"
            );
            return Err(Fault::new(&at("channel_prefix"), message));
        }
        if tenant.hosts.is_empty() && tenant.path.is_none() {
            return Err(Fault::new(&key, "expected hosts or a path, by which its clients are known"));
        }
        let own = tenant.path.as_deref().unwrap_or(path);
        check_endpoint(&at("path"), own)?;
        if tenant.hosts.is_empty() && !places.insert((None, own)) {
            let message =
                format!("\"{own}\" is everybody's or another tenant's: give it hosts or another path");
            return Err(Fault::new(&at("path"), message));
        }
        for (position, host) in tenant.hosts.iter().enumerate() {
            if !places.insert((Some(host), own)) {
                let position = position.to_string();
                let message = format!("belongs with \"{own}\" to another tenant, or is there twice");
                return Err(Fault::new(&["tenant", key[1], "hosts", &position], message));
            }
        }
        if let Some(gate) = &tenant.gate {
            gate.check(&at("gate"))?;
        }
        if let Some(token) = &tenant.token {
            token.check(&at("token"))?;
        }
    }
    Ok(())
}

impl GateConfig {
    fn check(&self, key: &[&str]) -> Result<(), Fault> {
        let at = |rest: &'static str| [key, &[rest]].concat();
        let codes = [
            ("close_origin", self.close_origin),
            ("close_token", self.close_token),
            ("close_limit", self.close_limit),
        ];
        for (name, code) in codes {
            if !(4000..=4999).contains(&code) {
                return Err(Fault::new(&at(name), format!("{code} is out of range, expected 4000 to 4999")));
            }
        }
        Ok(())
    }
}

impl TokenConfig {
    /// Whether anything can be checked.
    pub(crate) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
            || self.jwks.is_some()
            || self.hs256_secret.is_some()
            || self.introspection.is_some()
    }

    fn check(&self, key: &[&str]) -> Result<(), Fault> {
        let at = |rest: &'static str| [key, &[rest]].concat();
        if !self.anonymous && !self.has_keys() {
            return Err(Fault::new(
                key,
                "nobody could connect: set keys, jwks, hs256_secret or introspection, or anonymous = true to let \
                 in everybody",
            ));
        }
        for path in self.keys.iter().chain(&self.roots).chain(&self.hs256_secret) {
            absolute_path(key, path)?;
        }
        let urls = [
            ("jwks", self.jwks.as_ref()),
            ("introspection", self.introspection.as_ref().map(|set| &set.url)),
        ];
        for (name, url) in urls {
            let Some(url) = url else { continue };
            if !crate::auth::is_sound(url) {
                return Err(Fault::new(&at(name), format!("\"{url}\": expected https, or http on loopback")));
            }
        }
        if let Some(introspection) = &self.introspection {
            absolute_path(&at("introspection"), &introspection.client_secret)?;
        }
        Ok(())
    }
}
