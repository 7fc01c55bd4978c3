//! `[api]`: what applications may ask of the node (docs/server-api.md). Without it there is no such API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

use super::AdminConfig;

/// `[api]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// A TLS listener of its own, with the node's certificate; unset: it answers on `admin.address`, without TLS.
    pub address: Option<SocketAddr>,
    /// File with the keys of applications, one on each line; it is read again when it changes.
    pub keys_file: Option<PathBuf>,
    /// PEM file with the roots of applications' certificates: no connection without one. Needs `address`.
    pub client_roots: Option<PathBuf>,
    /// Names, one of which a certificate must have; empty: any that `client_roots` stand for.
    pub client_names: Vec<String>,
    /// Keys may cross the network in clear.
    pub insecure: bool,
    /// Largest request, in bytes.
    pub body_bytes: usize,
    /// Requests at the same time.
    pub requests: usize,
    /// For the answer to a request.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            address: None,
            keys_file: None,
            client_roots: None,
            client_names: Vec::new(),
            insecure: false,
            body_bytes: 1024 * 1024,
            requests: 256,
            timeout: Duration::from_secs(30),
        }
    }
}

impl ApiConfig {
    pub(super) fn check(&self, admin: &AdminConfig) -> Result<(), Fault> {
        let fault = |key, message: String| Err(Fault::new(&["api", key], message));
        for (key, path) in [("keys_file", &self.keys_file), ("client_roots", &self.client_roots)] {
            if let Some(path) = path {
                absolute_path(&["api", key], path)?;
            }
        }
        if self.keys_file.is_none() && self.client_roots.is_none() {
            return fault(
                "keys_file",
                "is missing: anybody could publish; set it, or client_roots".to_owned(),
            );
        }
        if self.address.is_none() && self.client_roots.is_some() {
            return fault("client_roots", "needs api.address: certificates come with TLS".to_owned());
        }
        if self.client_roots.is_none() && !self.client_names.is_empty() {
            return fault("client_names", "needs api.client_roots".to_owned());
        }
        if self.address.is_none() && !self.insecure && !admin.address.ip().is_loopback() {
            let message = format!(
                "the keys would cross the network in clear: admin.address {} is no loopback address and has no TLS; \
                 set api.address, or a loopback admin.address, or api.insecure = true if something else protects it",
                admin.address
            );
            return Err(Fault::new(&["api"], message));
        }
        if self.address == Some(admin.address) {
            return fault("address", "is admin.address; choose another port".to_owned());
        }
        for (key, value, least) in [("body_bytes", self.body_bytes, 1024), ("requests", self.requests, 1)] {
            if value < least {
                return fault(key, format!("{value} is too small, expected at least {least}"));
            }
        }
        Ok(())
    }
}
