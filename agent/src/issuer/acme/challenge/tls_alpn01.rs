//! TLS-ALPN-01 (RFC 8737): the CA does a handshake for the protocol "acme-tls/1" and must see a certificate that
//! holds the digest of the key authorization. One [`TlsAlpn01`] serves every order of every ACME issuer.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{ChallengeError, Facts, MAX_PENDING, Prepared, Solver};
use crate::config::ChallengeKind;
use crate::issuer::listen::accept;

/// RFC 8737 section 6.2.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// How long one handshake may last; nothing follows it (RFC 8737 section 3).
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate and how many orders want it.
struct Answer {
    digest: [u8; 32],
    certificate: Arc<CertifiedKey>,
    orders: usize,
}

/// The challenges that are answered now. Clones share them.
#[derive(Clone, Default)]
pub struct TlsAlpn01 {
    /// By server name; the newest answer last, and served.
    answers: Arc<Mutex<HashMap<String, Vec<Answer>>>>,
}

impl TlsAlpn01 {
    /// Nothing to answer yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn provision(&self, identifier: &str, digest: [u8; 32]) -> Result<Served, ChallengeError> {
        let server_name = server_name(identifier);
        let certificate = certificate(identifier, &digest)?;
        let mut answers = self.lock();
        if answers.len() >= MAX_PENDING && !answers.contains_key(&server_name) {
            return Err(ChallengeError::transient(format!(
                "{MAX_PENDING} challenges are being answered already; it is tried again later"
            )));
        }
        let of_name = answers.entry(server_name.clone()).or_default();
        match of_name.iter_mut().find(|answer| answer.digest == digest) {
            Some(answer) => answer.orders += 1,
            None => of_name.push(Answer { digest, certificate, orders: 1 }),
        }
        drop(answers);
        Ok(Served { tls_alpn01: self.clone(), server_name, digest })
    }

    /// Every change is a single step, so a panic elsewhere cannot have left it half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Answer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers CAs on `listener` until `shutdown`. Any other handshake fails.
    ///
    /// # Errors
    /// The TLS set-up is unusable.
    pub fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + 'static, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // One handshake and gone: nothing to resume.
        config.send_tls13_tickets = 0;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(accept(listener, shutdown, move |stream| handshake(stream, acceptor.clone())))
    }
}

impl fmt::Debug for TlsAlpn01 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAlpn01").field("names", &self.lock().len()).finish()
    }
}

impl ResolvesServerCert for TlsAlpn01 {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737 section 3: the CA offers this protocol and no other. A client that names none gets nothing.
        let mut offered = hello.alpn()?;
        if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
            return None;
        }
        let name = hello.server_name()?.to_ascii_lowercase();
        let certificate = self.lock().get(&name)?.last().map(|answer| Arc::clone(&answer.certificate))?;
        tracing::debug!(name, "challenge answered");
        Some(certificate)
    }
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) {
    let exchange = async {
        let mut stream = acceptor.accept(stream).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await
    };
    match tokio::time::timeout(CONNECTION_TIMEOUT, exchange).await {
        Ok(Err(error)) => tracing::debug!(%error, "a handshake for a challenge failed"),
        Err(_) => tracing::debug!("a handshake for a challenge took too long"),
        Ok(Ok(())) => {}
    }
}

/// What the CA puts into the SNI: an address has its reverse name there (RFC 8738 section 6).
pub(super) fn server_name(identifier: &str) -> String {
    match identifier.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
        Err(_) => identifier.to_ascii_lowercase(),
    }
}

/// Self-signed, for this name alone, with the critical extension acmeIdentifier (RFC 8737 section 3).
fn certificate(identifier: &str, digest: &[u8; 32]) -> Result<Arc<CertifiedKey>, ChallengeError> {
    let ours = |error: String| ChallengeError::ours(format!("cannot make the certificate: {error}"));
    let make = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([identifier.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        // It is gone within minutes; the day before is for clocks that differ.
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(1);
        params.not_after = now + time::Duration::days(7);
        let certificate = params.self_signed(&key)?;
        Ok((certificate.der().clone(), key))
    };
    let (der, key) = make().map_err(|error| ours(error.to_string()))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|error| ours(error.to_string()))?;
    // Not `from_der`: rustls would read the certificate, and refuses critical extensions that it does not know.
    Ok(Arc::new(CertifiedKey::new(vec![der], key)))
}

/// A challenge that is answered as long as this lives.
pub(super) struct Served {
    tls_alpn01: TlsAlpn01,
    server_name: String,
    digest: [u8; 32],
}

impl Prepared for Served {}

impl Drop for Served {
    fn drop(&mut self) {
        let mut answers = self.tls_alpn01.lock();
        let Some(of_name) = answers.get_mut(&self.server_name) else { return };
        if let Some(answer) = of_name.iter_mut().find(|answer| answer.digest == self.digest) {
            answer.orders -= 1;
        }
        of_name.retain(|answer| answer.orders > 0);
        if of_name.is_empty() {
            answers.remove(&self.server_name);
        }
    }
}

#[async_trait]
impl Solver for TlsAlpn01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::TlsAlpn01
    }

    async fn prepare(&self, facts: &Facts, _: Instant) -> Result<Box<dyn Prepared>, ChallengeError> {
        Ok(Box::new(self.provision(facts.name(), facts.digest())?))
    }
}

#[cfg(test)]
#[path = "tls_alpn01_tests.rs"]
mod tests;
