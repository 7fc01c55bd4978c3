//! The API's own listener: TLS with what the node serves, and certificates of applications.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sealwire_proto::anchors::Anchors;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Api;
use super::refused::Refused;
use crate::certs::CertReader;
use crate::http_server::{Peer, Welcome};
use crate::tls::{Reason, provider};

/// From the accept to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of its handshakes.
///
/// # Errors
/// The roots cannot be used; in words.
pub(super) fn config(reader: CertReader, clients: Option<&Path>) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let store = roots(path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(reader));
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is resumed is not checked again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The roots in a file.
///
/// # Errors
/// In words, with the file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for root in Anchors::from_pem_file(path).map_err(|error| error.to_string())?.certificates() {
        store.add(root.clone()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(store)
}

/// Who lets connections in.
pub(super) struct Gate {
    pub(super) api: Arc<Api>,
    pub(super) config: Arc<ServerConfig>,
}

impl Welcome for Gate {
    type Stream = TlsStream<TcpStream>;

    async fn welcome(&self, tcp: TcpStream, address: SocketAddr) -> Option<(Self::Stream, Peer)> {
        let refused = |why: &str| {
            self.api.refused(Refused::Handshake);
            self.api.turned_away(address, format!("api.address: {why}"));
            None
        };
        let accept = TlsAcceptor::from(Arc::clone(&self.config)).accept(tcp);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return refused(&format!("{}: {error}", Reason::of(&error).as_str())),
            Err(_) => return refused("the handshake took too long"),
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(leaf) = leaf else { return Some((stream, Peer { address, certificate: None })) };
        let names = names(leaf);
        let wanted = &self.api.config.client_names;
        let name = names
            .iter()
            .find(|name| wanted.is_empty() || wanted.iter().any(|it| it.eq_ignore_ascii_case(name)));
        match name {
            Some(name) => {
                let certificate = Some(name.as_str().into());
                Some((stream, Peer { address, certificate }))
            }
            None if wanted.is_empty() => Some((stream, Peer { address, certificate: Some("".into()) })),
            None => {
                refused(&format!("a certificate for {names:?}, and none of these is in api.client_names"))
            }
        }
    }
}

/// DNS names and URIs of a certificate that was verified.
fn names(leaf: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let named = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    });
    named.collect()
}
