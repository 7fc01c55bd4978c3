#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{TicketRequest, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, RootCertStore, ServerConnection,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::certs::live;
use crate::certs::validate::tests::{bundle_for, checked};
use crate::config::ListenConfig;

struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

/// Without certificates of clients.
fn config_of(reader: CertReader) -> Arc<ServerConfig> {
    let (tickets, listen) = (Arc::new(Tickets::new().unwrap()), ListenConfig::default());
    let clients = ClientCertificates::new(&listen, Arc::new(provider()), Arc::clone(&tickets)).unwrap();
    server_config(reader, tickets, &Arc::new(clients)).unwrap()
}

/// A server with a certificate for `a.example`, and a client with its root and some provider.
fn pair(client_provider: CryptoProvider, name: &str, alpn: &[&[u8]]) -> Pair {
    pair_with(client_provider, name, |config| {
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    })
}

/// The same with a change of the client's configuration.
fn pair_with(client_provider: CryptoProvider, name: &str, change: impl FnOnce(&mut ClientConfig)) -> Pair {
    let bundle = bundle_for("web", 1, &["a.example"]);
    let (mut writer, reader) = live(vec!["a.example".into()]);
    writer.swap_in(checked(&bundle));
    let server = ServerConnection::new(config_of(reader)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(bundle.trust_anchors[0].clone().into()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(client_provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    change(&mut config);
    let client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    Pair { client, server }
}

impl Pair {
    /// Runs the handshake to its end; the server's error if it fails.
    fn run(&mut self) -> Result<(), Error> {
        while self.client.is_handshaking() || self.server.is_handshaking() {
            let mut bytes = Vec::new();
            self.client.write_tls(&mut bytes).unwrap();
            self.server.read_tls(&mut bytes.as_slice()).unwrap();
            self.server.process_new_packets()?;
            let mut bytes = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut bytes).unwrap();
            }
            self.client.read_tls(&mut bytes.as_slice()).unwrap();
            self.client.process_new_packets().unwrap();
        }
        Ok(())
    }

    fn reason(mut self) -> Reason {
        Reason::of(&io::Error::new(io::ErrorKind::InvalidData, self.run().unwrap_err()))
    }
}

#[test]
fn the_preferred_suite_and_group_are_negotiated() {
    let mut pair = pair(default_provider(), "a.example", &[b"http/1.1"]);
    pair.run().unwrap();
    assert_eq!(pair.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let suite = pair.server.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
    let group = pair.server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn one_ticket_is_sent_unless_the_client_asks_for_another_number() {
    let tickets = |wanted: Option<u8>| {
        let mut pair = pair_with(default_provider(), "a.example", |config| {
            config.send_ticket_request =
                wanted.map(|count| TicketRequest { new_session_count: count, resumption_count: count });
        });
        pair.run().unwrap();
        pair.client.tls13_tickets_received()
    };
    assert_eq!([None, Some(0), Some(2), Some(200)].map(tickets), [1, 0, 2, 2]);
}

#[test]
fn failures_are_told_apart() {
    let suites =
        CryptoProvider { cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256], ..default_provider() };
    assert_eq!(pair(suites, "a.example", &[]).reason(), Reason::NoSharedCipher);
    let groups = CryptoProvider { kx_groups: vec![kx_group::SECP384R1], ..default_provider() };
    assert_eq!(pair(groups, "a.example", &[]).reason(), Reason::NoSharedGroup);
    assert_eq!(pair(default_provider(), "b.example", &[]).reason(), Reason::UnknownSni);
    assert_eq!(pair(default_provider(), "a.example", &[b"h2"]).reason(), Reason::NoApplicationProtocol);
}

/// What the server makes of a client that refuses its certificate.
fn refused_by(roots: RootCertStore, name: &str, now: UnixTime) -> Reason {
    let bundle = bundle_for("web", 1, &["a.example"]);
    let (mut writer, reader) = live(vec!["a.example".into()]);
    writer.swap_in(checked(&bundle));
    let mut server = ServerConnection::new(config_of(reader)).unwrap();
    let mut all = roots;
    if all.is_empty() {
        all.add(bundle.trust_anchors[0].clone().into()).unwrap();
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(all), Arc::new(default_provider()));
    let verifier = At { now, name: name.to_owned().try_into().unwrap(), inner: verifier.build().unwrap() };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), "a.example".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    server.read_tls(&mut bytes.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    bytes.clear();
    while server.wants_write() {
        server.write_tls(&mut bytes).unwrap();
    }
    client.read_tls(&mut bytes.as_slice()).unwrap();
    client.process_new_packets().unwrap_err();
    bytes.clear();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    server.read_tls(&mut bytes.as_slice()).unwrap();
    let error = server.process_new_packets().unwrap_err();
    Reason::of(&io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A client's only root.
fn root(name: &str) -> RootCertStore {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let root = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    roots
}

/// Verifies as another clock and another wish would have it.
#[derive(Debug)]
struct At {
    now: UnixTime,
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for At {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner.verify_server_cert(leaf, intermediates, &self.name, staple, self.now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[test]
fn clients_that_refuse_our_certificate_say_why() {
    let now = UnixTime::now();
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + 7200));
    assert_eq!(refused_by(RootCertStore::empty(), "a.example", later), Reason::CertificateExpired);
    assert_eq!(refused_by(RootCertStore::empty(), "b.example", now), Reason::BadCertificate);
    // A root of our issuer's name, but another key: what is left after a CA was made anew.
    assert_eq!(refused_by(root("rcgen self signed cert"), "a.example", now), Reason::BadCertificate);
    assert_eq!(refused_by(root("another CA"), "a.example", now), Reason::UnknownCa);
    let of = |alert| Reason::of(&io::Error::other(Error::AlertReceived(alert)));
    assert_eq!(of(AlertDescription::CertificateRevoked), Reason::CertificateRevoked);
    assert_eq!(of(AlertDescription::CertificateUnknown), Reason::CertificateUnknown);
    assert_eq!(of(AlertDescription::UserCanceled), Reason::ClientAbort);
}

#[test]
fn garbage_and_ends_are_told_apart() {
    let mut server = pair(default_provider(), "a.example", &[]).server;
    let mut garbage: &[u8] = b"\x00\x01\x02\x03\x04\x05\x06\x07";
    server.read_tls(&mut garbage).unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert_eq!(Reason::of(&io::Error::new(io::ErrorKind::InvalidData, error)), Reason::Malformed);
    let of = |kind: io::ErrorKind| Reason::of(&kind.into());
    assert_eq!(of(io::ErrorKind::UnexpectedEof), Reason::ClientAbort);
    assert_eq!(of(io::ErrorKind::ConnectionReset), Reason::Reset);
}

#[test]
fn plain_http_is_recognised_and_answered() {
    assert!(looks_like_http(b"GET / HTTP/1.1"));
    assert!(!looks_like_http(b"\x16\x03\x01\x02"));
    assert!(!looks_like_http(b"GE"));
    let answer = plain_http_answer();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
}

/// A ClientHello with CBC suites and some extensions, by hand: rustls was built without TLS 1.2.
fn hello(version: [u8; 2], extensions: &[u8]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0x00, 0x2f, 0x00, 0x05, 1, 0]);
    if !extensions.is_empty() {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
    }
    let length = u16::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

#[test]
fn old_versions_are_told_with_and_without_extensions() {
    let signature_algorithms = [0, 13, 0, 4, 0, 2, 4, 3];
    let hellos = [
        hello([3, 3], &signature_algorithms),
        hello([3, 3], &[]),
        hello([3, 2], &[]),
        hello([3, 1], &[]),
        hello([3, 0], &[]),
    ];
    for bytes in hellos {
        let mut server = pair(default_provider(), "a.example", &[]).server;
        server.read_tls(&mut bytes.as_slice()).unwrap();
        let error = server.process_new_packets().unwrap_err();
        let reason = Reason::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(reason, Reason::NoSharedVersion, "{:?}", &bytes[9..11]);
    }
}
