//! How nodes are let in: TLS with certificates on both sides, and credentials with no more rights than docs/sync.md asks for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls_pki_types::PrivateKeyDer;
use sealwire_tests::authority::Authority;
use sealwire_tests::channels::{check, publication, rules};
use sealwire_tests::eventually;
use sealwire_tests::nats::Nats;
use sealwire_tests::world::World;
use serde_json::{Value, json};
use wss_node::broker::Broker;
use wss_node::broker::answer::{Append, From, Read};
use wss_node::broker::jetstream::{ConnectError, JetStreamPresence, Options};
use wss_node::broker::presence::{Member, Move, Presence};
use wss_node::broker::rules::Kind;

use super::company::Heard;
use super::scene::{PATIENCE, options, try_node};

/// A certificate and a key in files, for a client of this name.
fn identity(world: &World, ca: &Authority, name: &str) -> (PathBuf, PathBuf) {
    let (chain, key) = ca.client(name);
    let PrivateKeyDer::Pkcs8(key) = key else { panic!("another kind of key") };
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(&chain[0]);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
    (world.write(&format!("{name}.pem"), &pem), world.write(&format!("{name}.key"), &key.serialize_pem()))
}

async fn refusal(options: &Options) -> ConnectError {
    let began = Instant::now();
    let error = try_node(options).await.map(drop).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{error} took {:?}", began.elapsed());
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates_or_it_is_told_what_is_wrong() {
    let world = World::new();
    let (ca, stranger) = (Authority::new("nats"), Authority::new("stranger"));
    let (certificate, key) = ca.server(&world);
    let [certificate, key] =
        [("nats.pem", certificate), ("nats.key", key)].map(|(name, pem)| world.write(name, &pem));
    let root = world.write("nats-root.pem", &ca.pem());
    let lines = format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {root:?}, verify: true, timeout: 5 }}"
    );
    let Some(nats) = Nats::start(&world, 1, &lines).await else { return };
    let servers: Vec<_> = nats.urls().iter().map(|url| url.replace("nats://", "tls://")).collect();
    let known = Options {
        servers: servers.clone(),
        roots: Some(root),
        identity: Some(identity(&world, &ca, "node-1")),
        require_tls: true,
        ..options(&nats)
    };
    let node = eventually("a node in the cluster", PATIENCE, || async {
        try_node(&known).await.inspect_err(|error| eprintln!("{error}")).ok()
    })
    .await;
    let stream = rules(Kind::Stream);
    let append = node.broker.append("c", &stream, publication(Kind::Stream, "p", 0)).await;
    assert!(matches!(append, Append::Appended(_)), "{append:?}");

    for (what, wrong, expected) in [
        (
            "roots of somebody else",
            Options { roots: Some(world.write("stranger.pem", &stranger.pem())), ..known.clone() },
            "UnknownIssuer",
        ),
        (
            "a certificate of somebody else",
            Options { identity: Some(identity(&world, &stranger, "intruder")), ..known.clone() },
            "",
        ),
        ("no certificate", Options { identity: None, ..known.clone() }, ""),
        ("roots that are not there", Options { roots: Some(world.path("nowhere.pem")), ..known.clone() }, ""),
    ] {
        let error = refusal(&wrong).await;
        let told = error.to_string();
        eprintln!("{what}: {told}");
        assert!(told.contains(&servers[0]) && told.contains(expected), "{what}: {told}");
        assert!(error.may_pass(), "{what}: whoever mends it need not restart the node");
    }
}

/// What an operator has: who signs whom, as `nsc` would make it.
struct Operator {
    operator: KeyPair,
    account: KeyPair,
    /// The servers' own.
    system: KeyPair,
}

impl Operator {
    fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// A JWT about a key.
    fn token(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut nats = nats;
        nats["version"] = 2.into();
        let claims = json!({
            "jti": subject.public_key(), "iat": jiff::Timestamp::now().as_second(), "name": "test",
            "iss": issuer.public_key(), "sub": subject.public_key(), "nats": nats,
        });
        let signed =
            format!("{}.{}", encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap()))
    }

    /// For the configuration of a server.
    fn lines(&self) -> String {
        let operator = Self::token(&self.operator, &self.operator, json!({ "type": "operator" }));
        let mut limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1,
        });
        let of = |key, limits: &Value| {
            Self::token(&self.operator, key, json!({ "type": "account", "limits": limits }))
        };
        let system = of(&self.system, &limits);
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            limits[limit] = (-1).into();
        }
        let account = of(&self.account, &limits);
        let (name, servers) = (self.account.public_key(), self.system.public_key());
        format!(
            "operator: {operator}\nsystem_account: {servers}\nresolver: MEMORY\n\
             resolver_preload: {{ {name}: {account}, {servers}: {system} }}\n"
        )
    }

    /// A `.creds` file with these rights; `None`: all.
    fn credentials(&self, world: &World, name: &str, rights: Option<(&[&str], &[&str])>) -> PathBuf {
        let user = KeyPair::new_user();
        let mut nats = json!({ "type": "user", "subs": -1, "data": -1, "payload": -1 });
        if let Some((publish, subscribe)) = rights {
            nats["pub"] = json!({ "allow": publish });
            nats["sub"] = json!({ "allow": subscribe });
        }
        let token = Self::token(&self.account, &user, nats);
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        world.write(name, &text)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_need_no_more_rights_than_the_documentation_says() {
    let world = World::new();
    let operator = Operator::new();
    let Some(nats) = Nats::start(&world, 1, &operator.lines()).await else { return };
    let rights: (&[&str], &[&str]) = (&["sw.>", "$JS.API.>"], &["_INBOX.>", "sw.members.>"]);
    let credentials = operator.credentials(&world, "node.creds", Some(rights));
    let known = Options { credentials: Some(credentials), ..options(&nats) };
    let nodes = [try_node(&known).await.unwrap(), try_node(&known).await.unwrap()];
    // Everything that a node does with the cluster.
    for kind in [Kind::Stream, Kind::Value, Kind::Map] {
        let rules = rules(kind);
        let channel = format!("{kind:?}");
        nodes[1].broker.subscribe(&channel, &rules);
        for n in 0..3 {
            let append = nodes[0].broker.append(&channel, &rules, publication(kind, "p", n)).await;
            assert!(matches!(append, Append::Appended(_)), "{append:?}");
        }
        let all = nodes[1].broker.read(&channel, &rules, &From::Oldest, 10).await;
        assert!(matches!(&all, Read::Page(page) if page.publications.len() == 3), "{all:?}");
    }
    let stream = rules(Kind::Stream);
    nodes[0].broker.begin_anew("Stream", &stream).await.unwrap();
    check(&nodes[0].broker, "Stream", &stream, &[]).await;
    let presence = JetStreamPresence::connect(&known).await.unwrap();
    let ann = Member { client: "1".into(), user: "ann".into(), info: bytes::Bytes::new() };
    presence.join("Stream", ann.clone(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(presence.members("Stream", 9).await.unwrap(), std::slice::from_ref(&ann));
    let (one, heard) = (Heard::new(), Heard::new());
    let (moves, _other) = (one.moves(&known).await, heard.moves(&known).await);
    moves.tell("Stream", &ann, Move::Came);
    heard.until(&[("Stream", "1", "ann", Move::Came)]).await;

    // With less it is told, by whatever needs it.
    let less: (&[&str], &[&str]) = (&["sw.>"], &["_INBOX.>"]);
    let credentials = operator.credentials(&world, "less.creds", Some(less));
    let told = refusal(&Options { credentials: Some(credentials), ..known.clone() }).await.to_string();
    assert!(told.contains("SW_00"), "{told}");

    let other = Operator::new().credentials(&world, "other.creds", None);
    let told = refusal(&Options { credentials: Some(other), ..known.clone() }).await.to_string();
    assert!(told.contains("authorization"), "{told}");
    let nowhere = Options { credentials: Some(world.path("nowhere.creds")), ..known };
    let error = refusal(&nowhere).await;
    assert!(error.to_string().contains("nowhere.creds") && !error.may_pass(), "{error}");
}
