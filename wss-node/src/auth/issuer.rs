//! Requests to the issuer: over TLS or to this machine, with a limit on everything.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{RequestBuilder, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::chain_of;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;

/// Whether a URL is `https`, or `http` that does not leave this machine.
pub(crate) fn is_sound(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    url.host_str().is_some() && (url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A client for one URL.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    url: Url,
}

impl Http {
    /// Trusts the roots in a file, or those of the system; each request may take `timeout`. No network.
    ///
    /// # Errors
    /// In words: the URL, the file or TLS cannot be used.
    pub(super) fn new(url: &str, roots: Option<&Path>, timeout: Duration) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("\"{url}\" is no URL: {error}"))?;
        let anchors = match roots {
            Some(path) => Anchors::from_pem_file(path).map_err(|error| error.to_string())?,
            None if url.scheme() == "https" => Anchors::platform(),
            None => Anchors::default(),
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(RootCertStore { roots: anchors.as_slice().to_vec() })
            .with_no_client_auth();
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::custom(stay))
            .referer(false)
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .user_agent(concat!("wss-node/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            // Whatever HTTPS_PROXY says, this machine is reached without it.
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| chain_of(&error))?;
        Ok(Self { client, url })
    }

    /// Its URL for logs: without what may be a secret.
    pub(super) fn shown(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }

    /// A request for its URL.
    pub(super) fn get(&self) -> RequestBuilder {
        self.client.get(self.url.clone())
    }

    /// A form that is sent to its URL.
    pub(super) fn post(&self, form: String) -> RequestBuilder {
        let kind = "application/x-www-form-urlencoded";
        self.client.post(self.url.clone()).header(http::header::CONTENT_TYPE, kind).body(form)
    }
}

/// Redirects are followed where they lead to the same server, and as a GET: keys and secrets of the node go to no other.
fn stay(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first();
    let same = first.is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

/// The body of an answer with status 200.
///
/// # Errors
/// In words, without the URL, whose query may be a secret.
pub(super) async fn body(request: RequestBuilder, max_bytes: usize) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| chain_of(&error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(format!("HTTP status {}, expected 200", response.status().as_u16()));
    }
    let too_long = || format!("an answer of more than {max_bytes} bytes");
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(too_long());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls_pki_types::PrivatePkcs8KeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn only_a_server_below_the_configured_roots_is_believed() {
        let (own, other) = (authority(), authority());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &own).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
                )
                .unwrap();
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // A client that does not trust it ends the handshake.
                let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
                let mut request = [0; 1024];
                let _ = tls.read(&mut request).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nkeys";
                let _ = tls.write_all(answer).await;
                let _ = tls.shutdown().await;
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let asked = |name: &str, root: &CertifiedIssuer<'static, KeyPair>| {
            let path = dir.path().join(name);
            std::fs::write(&path, root.pem()).unwrap();
            let http = Http::new(&url, Some(&path), Duration::from_secs(10)).unwrap();
            async move { body(http.get(), 100).await }
        };
        assert_eq!(asked("own.pem", &own).await.unwrap(), b"keys");
        let refused = asked("other.pem", &other).await.unwrap_err();
        assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    }

    #[test]
    fn secrets_leave_the_machine_over_tls_only() {
        for url in ["https://a.example/x", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost:80/"] {
            assert!(is_sound(url), "{url}");
        }
        let unsound = [
            "http://a.example/",
            "http://127.evil.example/",
            "http://localhost.evil.example/",
            "ftp://[::1]/",
            "x",
        ];
        for url in unsound {
            assert!(!is_sound(url), "{url}");
        }
    }
}
