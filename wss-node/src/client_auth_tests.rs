#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::PrivateKeyDer;

use super::*;
use crate::certs::live;
use crate::certs::validate::tests::{bundle_for, checked};
use crate::tls::{self, Reason};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A node that asks for certificates in this mode, and clients' roots of its server certificate.
struct Asking {
    clients: Arc<ClientCertificates>,
    config: Arc<ServerConfig>,
    roots: RootCertStore,
}

fn set_up(listen: &ListenConfig) -> Asking {
    let bundle = bundle_for("web", 1, &["a.example"]);
    let (mut writer, reader) = live(vec!["a.example".into()]);
    writer.swap_in(checked(&bundle));
    let tickets = Arc::new(Tickets::new().unwrap());
    let clients = ClientCertificates::new(listen, Arc::new(tls::provider()), Arc::clone(&tickets));
    let clients = Arc::new(clients.unwrap());
    let config = tls::server_config(reader, tickets, &clients).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(bundle.trust_anchors[0].clone().into()).unwrap();
    Asking { clients, config, roots }
}

fn mode(client_auth: ClientAuth) -> ListenConfig {
    ListenConfig { client_auth, ..ListenConfig::default() }
}

impl Asking {
    /// A client with a certificate of this authority, or without one.
    fn client(&self, issuer: Option<&Authority>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match issuer {
            None => builder.with_no_client_auth(),
            Some(issuer) => {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
                let leaf = params.signed_by(&key, issuer).unwrap().der().clone();
                let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                builder.with_client_auth_cert(vec![leaf], key).unwrap()
            }
        };
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        Arc::new(config)
    }

    /// A handshake; what the server knows of the client then: whether it has a certificate, and whether it resumed.
    fn handshake(&self, client: &Arc<ClientConfig>) -> Result<(bool, bool), Reason> {
        let mut client = ClientConnection::new(Arc::clone(client), "a.example".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        // One flight more than the handshake has: the last one brings the client its tickets.
        for _ in 0..4 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = bytes.as_slice();
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).unwrap();
                let processed = server.process_new_packets();
                processed.map_err(|error| Reason::of(&std::io::Error::other(error)))?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = bytes.as_slice();
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        assert!(!server.is_handshaking());
        let resumed = server.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((tls::facts(&server, std::time::Duration::ZERO).client_certificate.is_some(), resumed))
    }
}

fn der(authority: &Authority) -> Vec<u8> {
    authority.der().to_vec()
}

#[test]
fn a_certificate_is_checked_and_none_is_what_a_proof_has() {
    let (ours, others) = (authority("ours"), authority("others"));
    let asking = set_up(&mode(ClientAuth::Required));
    assert_eq!(asking.handshake(&asking.client(Some(&ours))), Ok((false, false)), "nobody asks for it yet");
    asking.clients.replace(vec![der(&ours)]).unwrap();
    assert_eq!(asking.handshake(&asking.client(Some(&ours))), Ok((true, false)));
    assert_eq!(asking.handshake(&asking.client(Some(&others))), Err(Reason::ClientCertificate));
    assert_eq!(asking.handshake(&asking.client(None)), Ok((false, false)));
    assert!(asking.clients.refuses(false) && !asking.clients.refuses(true));
}

#[test]
fn only_required_refuses_those_without() {
    let asking = set_up(&mode(ClientAuth::Optional));
    assert!(!asking.clients.refuses(false));
    assert!(set_up(&mode(ClientAuth::Off)).clients.verifier().is_none());
}

#[test]
fn other_roots_are_in_force_at_once_also_for_sessions_that_are_resumed() {
    let (old, new) = (authority("old"), authority("new"));
    let asking = set_up(&mode(ClientAuth::Optional));
    asking.clients.replace(vec![der(&old)]).unwrap();
    let client = asking.client(Some(&old));
    assert_eq!(asking.handshake(&client), Ok((true, false)));
    assert_eq!(asking.handshake(&client), Ok((true, true)), "a resumed session remembers its certificate");
    asking.clients.replace(vec![der(&old)]).unwrap();
    assert_eq!(asking.handshake(&client), Ok((true, true)), "nothing has changed");
    asking.clients.replace(vec![der(&new)]).unwrap();
    assert_eq!(asking.handshake(&client), Err(Reason::ClientCertificate));
    assert_eq!(asking.handshake(&asking.client(Some(&new))), Ok((true, false)));
    asking.clients.replace(Vec::new()).unwrap();
    assert_eq!(asking.handshake(&asking.client(Some(&new))), Ok((false, false)), "nobody asks any more");
}

#[test]
fn what_is_no_root_changes_nothing_and_the_operators_file_wins() {
    let ours = authority("ours");
    let asking = set_up(&mode(ClientAuth::Optional));
    asking.clients.replace(vec![der(&ours)]).unwrap();
    assert!(matches!(asking.clients.replace(vec![vec![1, 2, 3]]), Err(ClientRootsError::Verifier(_))));
    assert!(matches!(
        asking.clients.replace(vec![der(&ours); MAX_ROOTS + 1]),
        Err(ClientRootsError::TooMany(_))
    ));
    assert_eq!(asking.handshake(&asking.client(Some(&ours))), Ok((true, false)));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    std::fs::write(&path, ours.pem()).unwrap();
    let listen = ListenConfig { client_roots: Some(path), ..mode(ClientAuth::Optional) };
    let asking = set_up(&listen);
    assert_eq!(asking.handshake(&asking.client(Some(&ours))), Ok((true, false)));
    assert!(asking.clients.replace(vec![der(&ours)]).is_ok());
    let error = asking.clients.replace(vec![der(&authority("others"))]).unwrap_err();
    assert!(matches!(error, ClientRootsError::NotConfigured(1, 1)), "{error}");
}
