#![allow(clippy::unwrap_used)]

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;

/// As a CA does: any certificate will do, it is looked at afterwards.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

async fn ask(address: std::net::SocketAddr, name: &str, protocols: &[&[u8]]) -> Option<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let (_, connection) = stream.get_ref();
    assert_eq!(connection.alpn_protocol(), Some(PROTOCOL));
    Some(connection.peer_certificates().unwrap()[0].to_vec())
}

async fn serving() -> (TlsAlpn01, std::net::SocketAddr, CancellationToken) {
    let tls_alpn01 = TlsAlpn01::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(tls_alpn01.clone().serve(listener, shutdown.clone()).unwrap());
    (tls_alpn01, address, shutdown)
}

#[tokio::test]
async fn the_certificate_is_for_the_name_alone_with_the_digest_in_a_critical_extension() {
    let (tls_alpn01, address, shutdown) = serving().await;
    let facts = Facts {
        identifier: "a.example".into(),
        token: "t".into(),
        key_authorization: "t.thumb".into(),
        account_uri: String::new(),
        issuer_domains: Vec::new(),
    };
    let prepared = tls_alpn01.prepare(&facts, Instant::now()).await.unwrap();
    let der = ask(address, "A.example", &[PROTOCOL]).await.unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::DNSName("a.example")]);
    let identifier =
        certificate.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
    assert!(identifier.critical);
    let mut expected = vec![4, 32];
    expected.extend_from_slice(&facts.digest());
    assert_eq!(identifier.value, expected);

    for protocols in [&[] as &[&[u8]], &[b"h2"], &[PROTOCOL, b"h2"], &[b"h2", PROTOCOL]] {
        assert_eq!(ask(address, "a.example", protocols).await, None, "{protocols:?}");
    }
    assert_eq!(ask(address, "b.example", &[PROTOCOL]).await, None);
    prepared.clean_up().await;
    assert_eq!(ask(address, "a.example", &[PROTOCOL]).await, None);
    assert!(tls_alpn01.lock().is_empty());
    shutdown.cancel();
}

#[tokio::test]
async fn addresses_are_asked_for_by_their_reverse_names() {
    assert_eq!(server_name("192.0.2.10"), "10.2.0.192.in-addr.arpa");
    assert_eq!(
        server_name("2001:db8::567:89ab"),
        "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    );
    let (tls_alpn01, address, _shutdown) = serving().await;
    let _served = tls_alpn01.provision("192.0.2.10", [7; 32]).unwrap();
    let der = ask(address, "10.2.0.192.in-addr.arpa", &[PROTOCOL]).await.unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::IPAddress(&[192, 0, 2, 10])]);
}

#[tokio::test]
async fn the_newest_of_two_orders_is_served_and_the_older_comes_back() {
    let (tls_alpn01, address, _shutdown) = serving().await;
    let older = tls_alpn01.provision("a.example", [1; 32]).unwrap();
    let first = ask(address, "a.example", &[PROTOCOL]).await.unwrap();
    let newer = tls_alpn01.provision("a.example", [2; 32]).unwrap();
    let same = tls_alpn01.provision("a.example", [2; 32]).unwrap();
    assert_ne!(ask(address, "a.example", &[PROTOCOL]).await.unwrap(), first);
    drop(newer);
    assert_ne!(ask(address, "a.example", &[PROTOCOL]).await.unwrap(), first);
    drop(same);
    assert_eq!(ask(address, "a.example", &[PROTOCOL]).await.unwrap(), first);
    drop(older);
    assert!(tls_alpn01.lock().is_empty());
}

#[tokio::test]
async fn a_silent_client_holds_nobody_up() {
    let (tls_alpn01, address, _shutdown) = serving().await;
    let _served = tls_alpn01.provision("a.example", [1; 32]).unwrap();
    let _silent = TcpStream::connect(address).await.unwrap();
    assert!(ask(address, "a.example", &[PROTOCOL]).await.is_some());
}
