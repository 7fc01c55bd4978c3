//! The proof: a real TLS handshake that sees which leaf a server presents. It trusts nothing but the
//! server's signature over the handshake, which shows that the server holds the leaf's key; whether the
//! leaf is the right one is for the caller to compare.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::validate::sha256;

/// What a handshake saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// SHA-256 of the leaf's DER.
    pub leaf_sha256: [u8; 32],
    /// From the TCP connect to the end of the handshake.
    pub took: Duration,
    /// `TLSv1_3` and the like.
    pub protocol: String,
    /// The negotiated suite.
    pub cipher_suite: String,
}

/// Why no leaf was seen.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not a DNS name or IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadName(String),
    /// Took longer than it may.
    #[error("no TLS handshake with {address} within {timeout:?}")]
    Timeout {
        /// Where.
        address: String,
        /// The limit.
        timeout: Duration,
    },
    /// TCP failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// TLS failed.
    #[error("TLS handshake with {address} for {name} failed: {source}")]
    Handshake {
        /// Where.
        address: String,
        /// The name asked for.
        name: String,
        /// What rustls said.
        source: io::Error,
    },
}

/// The name to ask for when `name` is to be proven: itself, or some name below a wildcard.
///
/// # Errors
/// [`ProbeError::BadName`].
pub fn server_name(name: &str) -> Result<ServerName<'static>, ProbeError> {
    let concrete = match name.strip_prefix("*.") {
        Some(parent) => format!("sealwire-proof.{parent}"),
        None => name.to_owned(),
    };
    ServerName::try_from(concrete).map_err(|_| ProbeError::BadName(name.to_owned()))
}

/// Connects to `address` (`HOST:PORT`), asks for `name`, and tells what was presented.
///
/// # Errors
/// See [`ProbeError`]; the whole takes at most `timeout`.
pub async fn handshake(address: &str, name: &str, timeout: Duration) -> Result<Seen, ProbeError> {
    let server_name = server_name(name)?;
    match tokio::time::timeout(timeout, connect(address, name, server_name)).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Timeout { address: address.to_owned(), timeout }),
    }
}

async fn connect(address: &str, name: &str, server_name: ServerName<'static>) -> Result<Seen, ProbeError> {
    let started = Instant::now();
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|source| ProbeError::Connect { address: address.to_owned(), source })?;
    // Nagle would hold back the client's second flight; a failure to set it costs only time.
    let _ = tcp.set_nodelay(true);
    let failed =
        |source| ProbeError::Handshake { address: address.to_owned(), name: name.to_owned(), source };
    let stream = TlsConnector::from(client_config()).connect(server_name, tcp).await.map_err(failed)?;
    let (_, connection) = stream.get_ref();
    let chain: Vec<_> = connection
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let leaf =
        chain.first().ok_or_else(|| failed(io::Error::other("the server presented no certificate")))?;
    Ok(Seen {
        leaf_sha256: sha256(leaf),
        took: started.elapsed(),
        protocol: connection.protocol_version().map(|v| format!("{v:?}")).unwrap_or_default(),
        cipher_suite: connection
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
        chain,
    })
}

fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(default_provider());
            let verifier = Arc::new(AnyLeaf { provider: Arc::clone(&provider) });
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap_or_else(|error| unreachable!("aws-lc-rs supports the default versions: {error}"))
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            // A resumed session presents no certificate: it would "prove" whatever was seen before.
            config.resumption = Resumption::disabled();
            Arc::new(config)
        })
        .clone()
}

/// Accepts any leaf but checks the signature made with its key.
#[derive(Debug)]
struct AnyLeaf {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyLeaf {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Splits `HOST:PORT`, `[V6]:PORT` or a bare host; the port defaults to 443.
///
/// # Errors
/// [`ProbeError::BadName`] when the host is neither a DNS name nor an IP address.
pub fn host_and_port(text: &str) -> Result<(String, u16), ProbeError> {
    let bad = || ProbeError::BadName(text.to_owned());
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), 443));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
        None => (text, 443),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host).map_err(|_| bad())?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        assert_eq!(host_and_port("a.example:8443").unwrap(), ("a.example".to_owned(), 8443));
        assert_eq!(host_and_port("a.example").unwrap(), ("a.example".to_owned(), 443));
        assert_eq!(host_and_port("[::1]:1").unwrap(), ("::1".to_owned(), 1));
        assert_eq!(host_and_port("::1").unwrap(), ("::1".to_owned(), 443));
        assert!(host_and_port("a b:1").is_err());
        assert!(host_and_port("a.example:http").is_err());
    }

    #[test]
    fn a_wildcard_is_proven_by_a_name_below_it() {
        assert_eq!(server_name("*.a.example").unwrap().to_str(), "sealwire-proof.a.example");
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        // Port 1 of loopback: nothing listens there.
        let error = handshake("127.0.0.1:1", "localhost", Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Connect { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let error = handshake(&address, "localhost", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Timeout { .. }), "{error}");
    }
}
