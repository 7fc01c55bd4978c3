//! Certificates of clients (mTLS): checked in the handshake against roots that can change while the node runs. The
//! handshake reads them by one atomic load.
//!
//! A handshake without a certificate always goes through: proofs of what is served have none. Where one is required, the
//! request that follows is refused.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use sealwire_proto::anchors::{AnchorError, Anchors, roots_sha256};

use crate::config::{ClientAuth, ListenConfig};
use crate::tickets::Tickets;

/// Roots that the agent may send.
const MAX_ROOTS: usize = 64;

/// Who may present what.
#[derive(Debug)]
pub(crate) struct ClientCertificates {
    mode: ClientAuth,
    /// The operator's file decides, whatever the agent sends.
    configured: Option<Anchors>,
    provider: Arc<CryptoProvider>,
    roots: ArcSwapOption<Roots>,
    tickets: Arc<Tickets>,
}

#[derive(Debug)]
struct Roots {
    sha256: [u8; 32],
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why roots are not in use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientRootsError {
    #[error(transparent)]
    Unusable(#[from] AnchorError),
    #[error("{0} roots of clients, at most {MAX_ROOTS} are taken")]
    TooMany(usize),
    #[error("a root of clients cannot be used: {0}")]
    Verifier(String),
    #[error(
        "listen.client_roots does not hold {0} of the {1} roots; add them to the file and restart the node"
    )]
    NotConfigured(usize, usize),
}

impl ClientCertificates {
    /// As configured. Until the agent sends roots, or without `listen.client_roots`, no certificate is asked for.
    ///
    /// # Errors
    /// `listen.client_roots` cannot be read.
    pub(crate) fn new(
        listen: &ListenConfig,
        provider: Arc<CryptoProvider>,
        tickets: Arc<Tickets>,
    ) -> Result<Self, ClientRootsError> {
        let read = |path: &Path| Anchors::from_pem_file(path);
        let configured = listen.client_roots.as_deref().map(read).transpose()?;
        let certificates =
            Self { mode: listen.client_auth, configured, provider, roots: ArcSwapOption::empty(), tickets };
        if let Some(configured) = &certificates.configured {
            certificates.put(configured.certificates().to_vec())?;
        }
        Ok(certificates)
    }

    /// Takes what the agent has sent, in place of what it sent before; tells its digest.
    ///
    /// # Errors
    /// It is not in use, and what was before still is.
    pub(crate) fn replace(&self, roots: Vec<Vec<u8>>) -> Result<[u8; 32], ClientRootsError> {
        if roots.len() > MAX_ROOTS {
            return Err(ClientRootsError::TooMany(roots.len()));
        }
        let roots: Vec<_> = roots.into_iter().map(CertificateDer::from).collect();
        if let Some(configured) = &self.configured {
            let missing = roots.iter().filter(|root| !configured.certificates().contains(root)).count();
            let missing = ClientRootsError::NotConfigured(missing, roots.len());
            return match missing {
                ClientRootsError::NotConfigured(0, _) => Ok(roots_sha256(&roots)),
                missing => Err(missing),
            };
        }
        self.put(roots)
    }

    fn put(&self, roots: Vec<CertificateDer<'static>>) -> Result<[u8; 32], ClientRootsError> {
        let sha256 = roots_sha256(&roots);
        let unusable = |error: &dyn std::fmt::Display| ClientRootsError::Verifier(error.to_string());
        let new = if roots.is_empty() {
            None
        } else {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root).map_err(|error| unusable(&error))?;
            }
            let provider = Arc::clone(&self.provider);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .map_err(|error| unusable(&error))?;
            Some(Arc::new(Roots { sha256, verifier }))
        };
        let before = self.roots.swap(new.clone());
        if before.map(|roots| roots.sha256) != new.map(|roots| roots.sha256) {
            // A session that is resumed is not checked again.
            self.tickets.replace();
        }
        Ok(sha256)
    }

    /// Whether a request is refused because its connection came without a certificate.
    pub(crate) fn refuses(&self, has_certificate: bool) -> bool {
        self.mode == ClientAuth::Required && !has_certificate
    }

    /// For the configuration of handshakes; `None`: certificates are never asked for.
    pub(crate) fn verifier(self: &Arc<Self>) -> Option<Arc<dyn ClientCertVerifier>> {
        (self.mode != ClientAuth::Off).then(|| Arc::clone(self) as Arc<dyn ClientCertVerifier>)
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        self.roots.load().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: clients choose by themselves. (They would have to live as long as the configuration, and roots change.)
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.roots.load().as_ref() {
            Some(roots) => roots.verifier.verify_client_cert(leaf, intermediates, now),
            // They were taken away while this handshake was under way.
            None => Err(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "client_auth_tests.rs"]
mod tests;
