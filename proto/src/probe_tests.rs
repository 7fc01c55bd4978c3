#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Presents one chain with one staple.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server of two certificates and perhaps a staple, that speaks these protocols; its address and chain.
async fn server(staple: Option<&[u8]>, alpn: &[&[u8]]) -> (String, Vec<CertificateDer<'static>>) {
    let made = || {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().clone(), key)
    };
    let ((leaf, key), (above, _)) = (made(), made());
    let chain = vec![leaf, above];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut certified = crate::validate::matching_key(&chain, &key).unwrap();
    certified.ocsp = staple.map(<[u8]>::to_vec);
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(One(Arc::new(certified))));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // A client that was refused has said so itself.
            let _ = acceptor.accept(tcp).await;
        }
    });
    (address, chain)
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn leaf_chain_and_staple_are_seen_and_each_handshake_has_its_own() {
    let (with, chain) = server(Some(b"staple"), &[]).await;
    let (without, other) = server(None, &[]).await;
    for _ in 0..2 {
        let seen = handshake(&with, "a.example", PATIENCE).await.unwrap();
        assert_eq!(seen.staple.as_deref(), Some(b"staple".as_slice()));
        assert_eq!((seen.leaf_sha256, seen.chain_sha256), (sha256(&chain[0]), digest_of_all(&chain)));
        let seen = handshake(&without, "a.example", PATIENCE).await.unwrap();
        assert_eq!((seen.staple, seen.chain), (None, other.clone()));
    }
    assert_ne!(digest_of_all(&chain), digest_of_all(&chain[..1]), "the intermediate counts");
}

#[tokio::test]
async fn a_drill_needs_a_server_that_speaks_its_protocol() {
    let (drilled, chain) = server(None, &[DRILL_ALPN, b"http/1.1"]).await;
    assert_eq!(drill(&drilled, "a.example", PATIENCE).await.unwrap().leaf_sha256, sha256(&chain[0]));
    for alpn in [&[][..], &[b"http/1.1".as_slice()]] {
        let (other, _) = server(None, alpn).await;
        let error = drill(&other, "a.example", PATIENCE).await.unwrap_err();
        assert!(matches!(error, ProbeError::Handshake { .. }), "{error}");
    }
}

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
