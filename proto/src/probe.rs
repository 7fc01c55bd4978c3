//! The proof: a real TLS handshake that sees which leaf a server presents. It trusts nothing but the
//! server's signature over the handshake, which shows that the server holds the leaf's key; whether the
//! leaf is the right one is for the caller to compare.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, TicketRequest};
use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::{DigitallySignedStruct, NamedGroup, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::validate::{digest_of_all, sha256};

/// The ALPN protocol of handshakes that look at the shadow of a drill (`BundleUse.SHADOW`). A node ends the
/// connection right after the handshake.
pub const DRILL_ALPN: &[u8] = b"sealwire-drill/1";

/// A PROXY protocol header of version 2 with the command LOCAL (HAProxy's `doc/proxy-protocol.txt` 2.2): who sends it
/// speaks for nobody but itself.
pub const PROXY_LOCAL: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// How a handshake is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Approach {
    /// Offers [`DRILL_ALPN`]: looks at the shadow of a drill.
    pub drill: bool,
    /// Sends [`PROXY_LOCAL`] first, as a listener with `proxy_protocol = "required"` wants it.
    pub proxied: bool,
}

/// What a handshake saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// SHA-256 of the leaf's DER.
    pub leaf_sha256: [u8; 32],
    /// Of the whole chain, as [`digest_of_all`] computes it.
    pub chain_sha256: [u8; 32],
    /// The OCSP response that came with it (RFC 8446 section 4.4.2.1).
    pub staple: Option<Vec<u8>>,
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
    look(address, name, timeout, Approach::default()).await
}

/// As [`handshake`], offering [`DRILL_ALPN`]: tells what a node presents as the shadow of a drill.
///
/// # Errors
/// See [`ProbeError`]; a node without a shadow for the name fails the handshake.
pub async fn drill(address: &str, name: &str, timeout: Duration) -> Result<Seen, ProbeError> {
    look(address, name, timeout, Approach { drill: true, proxied: false }).await
}

/// As [`handshake`] or [`drill`], whichever `approach` says.
///
/// # Errors
/// As theirs.
pub async fn look(
    address: &str,
    name: &str,
    timeout: Duration,
    approach: Approach,
) -> Result<Seen, ProbeError> {
    let server_name = server_name(name)?;
    match tokio::time::timeout(timeout, connect(address, name, server_name, approach)).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Timeout { address: address.to_owned(), timeout }),
    }
}

async fn connect(
    address: &str,
    name: &str,
    server_name: ServerName<'static>,
    approach: Approach,
) -> Result<Seen, ProbeError> {
    let alpn: &[&[u8]] = if approach.drill { &[DRILL_ALPN] } else { &[] };
    let started = Instant::now();
    let mut tcp = TcpStream::connect(address)
        .await
        .map_err(|source| ProbeError::Connect { address: address.to_owned(), source })?;
    // Nagle would hold back the client's second flight; a failure to set it costs only time.
    let _ = tcp.set_nodelay(true);
    let failed =
        |source| ProbeError::Handshake { address: address.to_owned(), name: name.to_owned(), source };
    if approach.proxied {
        tcp.write_all(&PROXY_LOCAL).await.map_err(failed)?;
    }
    let (config, staple) = client_config(alpn);
    let stream = TlsConnector::from(config).connect(server_name, tcp).await.map_err(failed)?;
    let (_, connection) = stream.get_ref();
    if let [wanted] = alpn
        && connection.alpn_protocol() != Some(*wanted)
    {
        // Some servers go on without a protocol in common: that was no drill's shadow.
        let name = String::from_utf8_lossy(wanted);
        return Err(failed(io::Error::other(format!("the server does not speak {name}"))));
    }
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
        chain_sha256: digest_of_all(&chain),
        staple: staple.get().cloned(),
        took: started.elapsed(),
        protocol: connection.protocol_version().map(|v| format!("{v:?}")).unwrap_or_default(),
        cipher_suite: connection
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
        chain,
    })
}

/// A configuration for one handshake, and where its staple will be.
fn client_config(alpn: &[&[u8]]) -> (Arc<ClientConfig>, Arc<OnceLock<Vec<u8>>>) {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = Arc::clone(PROVIDER.get_or_init(|| Arc::new(provider())));
    let staple = Arc::<OnceLock<Vec<u8>>>::default();
    let verifier = AnyLeaf { provider: Arc::clone(&provider), staple: Arc::clone(&staple) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("aws-lc-rs supports the default versions: {error}"))
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // A resumed session presents no certificate: it would "prove" whatever was seen before.
    config.resumption = Resumption::disabled();
    config.send_ticket_request = Some(TicketRequest { new_session_count: 0, resumption_count: 0 });
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    (Arc::new(config), staple)
}

/// The cheapest key exchange first: nothing secret goes over these connections, and a proof shares the processors
/// with those who connect for the first time after a swap.
fn provider() -> CryptoProvider {
    let mut provider = default_provider();
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519);
    provider
}

/// Accepts any leaf but checks the signature made with its key; keeps the staple.
#[derive(Debug)]
struct AnyLeaf {
    provider: Arc<CryptoProvider>,
    staple: Arc<OnceLock<Vec<u8>>>,
}

impl ServerCertVerifier for AnyLeaf {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Empty: none came.
        if !staple.is_empty() {
            self.staple.get_or_init(|| staple.to_vec());
        }
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
#[path = "probe_tests.rs"]
mod tests;
