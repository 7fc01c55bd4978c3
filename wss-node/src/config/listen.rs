//! `[listen]`, `[plain]` and `[proxy]`: where connections come from.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

use crate::upgrade::{check, health};

/// `[listen]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Address and port of the TLS listener.
    pub address: SocketAddr,
    /// Path of the WebSocket endpoint.
    pub path: String,
    /// Connections at the same time; more are closed at once.
    pub max_connections: usize,
    /// From accept to the end of the TLS handshake.
    #[serde(deserialize_with = "duration")]
    pub handshake_timeout: Duration,
    /// From there to the end of the request head.
    #[serde(deserialize_with = "duration")]
    pub head_timeout: Duration,
    /// Largest request head in bytes; at least 8192.
    pub head_bytes: usize,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: ProxyProtocol,
    /// Lets another process listen on the same address at the same time, so that it can take over.
    pub reuse_port: bool,
    /// What a client gets that asks for a name nobody here has a certificate for.
    pub unknown_sni: UnknownSni,
    /// Certificates of clients.
    pub client_auth: ClientAuth,
    /// PEM file with the roots of clients' certificates; unset: those that the agent sends.
    pub client_roots: Option<PathBuf>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 8443)),
            path: "/connection/websocket".to_owned(),
            max_connections: 20_000,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            head_bytes: 8192,
            proxy_protocol: ProxyProtocol::Off,
            reuse_port: false,
            unknown_sni: UnknownSni::Refuse,
            client_auth: ClientAuth::Off,
            client_roots: None,
        }
    }
}

/// Whether a listener speaks the PROXY protocol. Never guessed: a client could then write a header of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Connections begin with TLS or HTTP.
    #[default]
    Off,
    /// Connections begin with a header, version 1 or 2, and come from a trusted proxy.
    Required,
}

/// What a handshake for an unknown name gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSni {
    /// An alert.
    #[default]
    Refuse,
    /// The default certificate.
    Default,
}

/// Certificates of clients (mTLS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; a bad one ends the handshake, none is fine.
    Optional,
    /// No session without one. Handshakes from this machine that only prove what is served go without.
    Required,
}

/// `[plain]`: a listener without TLS for a proxy that ends TLS before us. Only trusted proxies are let in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether connections begin with a PROXY protocol header.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
}

/// `[proxy]`: who may speak for others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Networks of proxies whose headers are believed.
    pub trusted: Vec<IpNet>,
    /// The one header that tells the client's address.
    pub header: ForwardedHeader,
    /// Name of a cookie that the node sets at the upgrade, for proxies that keep clients on one node; unset: none.
    pub sticky_cookie: Option<String>,
}

/// The header in which trusted proxies tell the client's address. One and not whichever comes: a proxy that sets one
/// passes others on as the client wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// A list; from the right, the first that is no trusted proxy.
    #[default]
    XForwardedFor,
    /// RFC 7239, read the same way.
    Forwarded,
    /// A single address.
    XRealIp,
}

/// Paths that answer something else on every listener.
const TAKEN: [&str; 3] = [health::LIVE, health::READY, check::PATH];

/// A path for an endpoint.
pub(super) fn check_endpoint(key: &[&str], path: &str) -> Result<(), Fault> {
    let sound = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(sound) {
        let message = format!("\"{path}\": expected a path that begins with \"/\", without \"?\" and \"#\"");
        return Err(Fault::new(key, message));
    }
    if TAKEN.contains(&path) {
        return Err(Fault::new(key, format!("\"{path}\" answers something else: choose another path")));
    }
    Ok(())
}

impl ListenConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        check_endpoint(&["listen", "path"], &self.path)?;
        if let Some(path) = &self.client_roots {
            absolute_path(&["listen", "client_roots"], path)?;
        }
        Ok(())
    }
}

impl ProxyConfig {
    /// Whether an address is that of a proxy whose word counts.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// `plain` and `listen` as configured, for what must go together.
    pub(super) fn check(&self, listen: &ListenConfig, plain: Option<&PlainConfig>) -> Result<(), Fault> {
        let needs = plain.map(|_| "plain").or_else(|| {
            (listen.proxy_protocol == ProxyProtocol::Required)
                .then_some("listen.proxy_protocol = \"required\"")
        });
        if let Some(needs) = needs.filter(|_| self.trusted.is_empty()) {
            let message = format!("is empty, but {needs} lets in trusted proxies only; list their networks");
            return Err(Fault::new(&["proxy", "trusted"], message));
        }
        if plain.is_some() && listen.client_auth == ClientAuth::Required {
            let message = "cannot be \"required\" together with [plain], where the proxy ends TLS and no certificate \
                           is seen";
            return Err(Fault::new(&["listen", "client_auth"], message));
        }
        if plain.is_some_and(|plain| plain.address == listen.address) {
            return Err(Fault::new(
                &["plain", "address"],
                "is that of the TLS listener; choose another port",
            ));
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if self.sticky_cookie.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(token)) {
            return Err(Fault::new(&["proxy", "sticky_cookie"], "expected letters, digits, \"_\" and \"-\""));
        }
        Ok(())
    }
}
