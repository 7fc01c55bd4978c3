//! What the loader offers: TLS 1.3 with one suite and X25519. It compares the leaf with the one that is expected and leaves
//! out the signatures: the server's part is the same, and the loader has time for more of them. That each server's
//! chain and signature are good is verified once, before anything is measured.

use std::sync::Arc;

use anyhow::Result;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sealwire_proto::validate::sha256;

use crate::prober::{Leaf, provider};

/// Sessions that are remembered, with their tickets.
const REMEMBERED: usize = 8;

/// For one loop: it resumes its own sessions, or none.
///
/// # Errors
/// rustls does not know TLS 1.3.
pub(crate) fn config(leaf: Leaf, resuming: bool) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Only(leaf)))
        .with_no_client_auth();
    config.resumption =
        if resuming { Resumption::in_memory_sessions(REMEMBERED) } else { Resumption::disabled() };
    Ok(config)
}

/// Takes this leaf and no other.
#[derive(Debug)]
struct Only(Leaf);

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if sha256(leaf) == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
