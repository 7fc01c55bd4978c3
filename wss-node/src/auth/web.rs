//! Questions over HTTP: to a key set's server, to an introspection endpoint.

use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};
use sealwire_proto::anchors::Anchors;

/// A client that trusts the roots of a PEM file, or those of the system. It follows no redirect: what it asks is
/// configured, and an answer from elsewhere would not be.
pub(super) fn client(roots: Option<&Path>, timeout: Duration) -> Result<Client, String> {
    let anchors = match roots {
        Some(path) => Anchors::from_pem_file(path).map_err(|error| error.to_string())?,
        None => Anchors::platform(),
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(RootCertStore { roots: anchors.as_slice().to_vec() })
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .timeout(timeout)
        .user_agent(concat!("wss-node/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

/// The body of an answer with status 200.
///
/// # Errors
/// In words: another status, more than `limit` bytes, or what broke off.
pub(super) async fn body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| told(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(format!("answered more than {limit} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with its causes, and without the URL, which is known.
pub(super) fn told(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { String::new() };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}
