//! Tokens on the real node, with an issuer that rotates its keys, fails and answers rubbish, and the official clients.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use sealwire_tests::asking::{Answer, Asker};
use sealwire_tests::eventually;
use sealwire_tests::issuer::{Issuer, Mood};
use sealwire_tests::process::Process;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::tools;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::{Value, json};

const PATH: &str = "/connection/websocket";

/// An issuer, and a node that believes it.
struct Scene {
    world: World,
    issuer: Issuer,
    node: Process,
    tls: Arc<ClientConfig>,
    root: std::path::PathBuf,
    _agent: Process,
}

impl Scene {
    /// `token`: lines of `[token]`, in which `ISSUER` is its address.
    async fn open(token: &str, mood: Mood) -> Self {
        let world = World::new();
        let issuer = Issuer::start(world.address).await;
        issuer.behave(mood);
        let secret = world.write("secret", "p:w\n");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let token = token
            .replace("ISSUER", &issuer.address.to_string())
            .replace("SECRET", &secret.display().to_string());
        let extra = format!(
            "[limits]\naccepts_per_second_per_ip = 0\nhandshakes_per_ip = 0\n\
             [log]\nlevel = \"debug\"\n[token]\n{token}\n"
        );
        world.configure_agent(&AgentSettings::default());
        world.configure_node("node-1", 0, &world.delivery_socket(), &extra);
        let (agent, node) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let (anchors, root) = world.roots().await;
        Self { tls: tls(&anchors).unwrap(), root, world, issuer, node, _agent: agent }
    }

    async fn with_keys() -> Self {
        let scene =
            Self::open("jwks = \"http://ISSUER/jwks\"\nquery = \"t\"\nheader = \"x-token\"", Mood::Good)
                .await;
        let _fetched = scene.node.line("token keys fetched", PATIENCE);
        scene
    }

    async fn upgrade(&self, path: &str, lines: &[&str]) -> Answer {
        let asker = Asker {
            address: self.world.node_address(),
            tls: Arc::clone(&self.tls),
            server_name: "node.test".to_owned(),
            source: self.world.address,
            preface: String::new(),
        };
        asker.upgrade(path, lines).await.unwrap()
    }

    /// The status of an upgrade with a token.
    async fn status(&self, token: &str) -> u16 {
        self.upgrade(PATH, &[&format!("Authorization: Bearer {token}")]).await.status
    }

    async fn upgraded(&self, path: &str) -> Session {
        Session::upgraded(self.world.node_address(), Arc::clone(&self.tls), path).await.unwrap()
    }

    /// A session that says who it is with `connect`.
    async fn connected(&self, token: &str) -> (Session, Value) {
        let mut session = self.upgraded(PATH).await;
        let reply = session.call("connect", json!({ "token": token })).await.unwrap();
        (session, reply["connect"].clone())
    }

    async fn refused(&self, token: &str) -> String {
        self.upgraded(PATH).await.call("connect", json!({ "token": token })).await.unwrap_err().to_string()
    }

    /// A number of the node's metrics.
    async fn metric(&self, line: &str) -> Option<u64> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = (self.world.address, 9090);
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: n\r\n\r\n").await.ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await.ok()?;
        let value = page.lines().find_map(|found| found.strip_prefix(line))?;
        value.trim().parse::<f64>().ok().map(|value| value as u64)
    }
}

fn caps() -> Value {
    json!({"caps": [{"channels": ["news"], "allow": ["sub", "pub"]}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_any_way_bounds_what_is_done_and_is_in_no_log() {
    let scene = Scene::with_keys().await;
    let good = scene.issuer.token(&caps(), 600);
    assert_eq!(scene.status(&good).await, 101);
    assert_eq!(scene.upgrade(&format!("{PATH}?t={good}"), &[]).await.status, 101);
    assert_eq!(scene.upgrade(PATH, &[&format!("X-Token: {good}")]).await.status, 101);
    let twice = scene.upgrade(&format!("{PATH}?t={good}"), &[&format!("X-Token: {good}")]).await;
    assert_eq!(twice.status, 403);

    // Told at the upgrade, `connect` need not tell again.
    let mut session = scene.upgraded(&format!("{PATH}?t={good}")).await;
    let reply = session.call("connect", json!({})).await.unwrap();
    assert_eq!(reply["connect"]["expires"], true);
    let (mut session, told) = scene.connected(&good).await;
    assert!((590..=600).contains(&told["ttl"].as_u64().unwrap()), "{told}");
    session.subscribe("news").await.unwrap();
    let denied = session.subscribe("secret").await.unwrap_err().to_string();
    assert!(denied.contains("103"), "{denied}");
    let denied =
        session.call("publish", json!({"channel": "secret", "data": 1})).await.unwrap_err().to_string();
    assert!(denied.contains("103"), "{denied}");
    session.call("publish", json!({"channel": "news", "data": 1})).await.unwrap();

    let nobody = scene.upgraded(PATH).await.call("connect", json!({})).await.unwrap_err().to_string();
    assert!(nobody.contains("101"), "{nobody}");
    let expired = scene.issuer.token(&json!({}), -600);
    assert!(scene.refused(&expired).await.contains("109"));
    let (start, end) = (&good[..good.len() - 3], &good[good.len() - 2..]);
    let other = if good.as_bytes()[start.len()] == b'A' { 'B' } else { 'A' };
    let forged = format!("{start}{other}{end}");
    let end = scene.refused(&forged).await;
    assert!(end.contains("3500") && end.contains("invalid token"), "{end}");
    assert_eq!(scene.status(&forged).await, 403);

    let refused = |reason| format!("wss_node_tokens_refused_total{{reason=\"{reason}\"}}");
    assert_eq!(scene.metric(&refused("signature")).await, Some(2));
    assert_eq!(scene.metric(&refused("expired")).await, Some(1));
    let _told = scene.node.line("token_refused", PATIENCE);
    for token in [&good, &expired, &forged] {
        let (start, signature) = (&token[..60], token.rsplit('.').next().unwrap());
        assert_eq!((scene.node.count(start), scene.node.count(signature)), (0, 0), "a token in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_sessions_and_made_up_ones_ask_the_issuer_once() {
    let scene = Scene::with_keys().await;
    let old = scene.issuer.token(&json!({}), 600);
    let (mut session, _) = scene.connected(&old).await;
    session.subscribe("c").await.unwrap();
    assert_eq!(scene.issuer.fetches(), 1);

    scene.issuer.rotate("key-2");
    let new = scene.issuer.token(&json!({}), 600);
    let statuses = futures_util::future::join_all((0..10).map(|_| scene.status(&new))).await;
    assert_eq!((statuses, scene.issuer.fetches()), (vec![101; 10], 2), "one question for all");
    assert_eq!(scene.status(&old).await, 503, "its key is gone, and whether it comes back is not asked yet");
    session.call("publish", json!({"channel": "c", "data": 1})).await.unwrap();

    for made_up in 0..50 {
        scene.issuer.rotate(&format!("made-up-{made_up}"));
        let answer =
            scene.upgrade(PATH, &[&format!("X-Token: {}", scene.issuer.token(&json!({}), 600))]).await;
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(answer.status == 503 && (1..=30).contains(&wait), "{answer:?}");
    }
    assert_eq!(scene.issuer.fetches(), 2);
    assert_eq!(scene.status(&new).await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_keys_are_kept_whatever_the_issuer_answers() {
    let scene = Scene::open("jwks = \"http://ISSUER/jwks\"\njwks_refresh = \"1s\"", Mood::Good).await;
    let _fetched = scene.node.line("token keys fetched", PATIENCE);
    let good = scene.issuer.token(&json!({}), 600);
    let elsewhere = Issuer::start(scene.world.address).await;
    let moods = [
        Mood::Status(500),
        Mood::Rubbish,
        Mood::Huge,
        Mood::Elsewhere(elsewhere.url("jwks")),
        Mood::Slow(Duration::from_millis(100)),
    ];
    for mood in moods {
        let before = scene.issuer.fetches();
        scene.issuer.behave(mood.clone());
        // The second was asked for after the first was answered.
        eventually("two more fetches", PATIENCE, || async {
            (scene.issuer.fetches() >= before + 2).then_some(())
        })
        .await;
        assert_eq!(scene.status(&good).await, 101, "{mood:?}");
    }
    assert_eq!(elsewhere.fetches(), 0, "no other server is asked");
    assert_eq!(scene.node.count("token keys could not be fetched"), 1, "{}", scene.node.log());
    assert!(scene.metric("wss_node_jwks_failed_total").await.unwrap() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_its_issuer_and_says_when_to_come_back() {
    let scene = Scene::open("jwks = \"http://ISSUER/jwks\"", Mood::Status(503)).await;
    let good = scene.issuer.token(&json!({}), 600);
    let answer = scene.upgrade(PATH, &[&format!("Authorization: Bearer {good}")]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    let later = scene.refused(&good).await;
    assert!(later.contains("100") && later.contains("\"temporary\":true"), "{later}");
    scene.issuer.behave(Mood::Good);
    eventually("keys", PATIENCE, || async { (scene.status(&good).await == 101).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_are_asked_about_once_and_never_believed_past_their_end() {
    let rules = "jwks = \"http://ISSUER/jwks\"\n[token.introspection]\nurl = \"http://ISSUER/introspect\"\n\
                 client_id = \"node\"\nclient_secret = \"SECRET\"";
    let scene = Scene::open(rules, Mood::Good).await;
    let _fetched = scene.node.line("token keys fetched", PATIENCE);
    let now = jiff::Timestamp::now().as_second();
    scene
        .issuer
        .knows("opaque-1", json!({"active": true, "sub": "ann", "scope": "sub:news", "exp": now + 600}));
    scene.issuer.knows("opaque-2", json!({"active": true, "sub": "ann", "exp": now - 600}));
    scene.issuer.knows("opaque-3", json!({"active": true, "sub": "ann", "exp": now + 4}));
    scene.issuer.behave(Mood::Slow(Duration::from_millis(300)));
    let statuses = futures_util::future::join_all((0..20).map(|_| scene.status("opaque-1"))).await;
    assert_eq!((statuses, scene.issuer.questions()), (vec![101; 20], 1), "one question for all");
    let (mut session, told) = scene.connected("opaque-1").await;
    assert_eq!((told["expires"].as_bool(), scene.issuer.questions()), (Some(true), 1));
    session.subscribe("news").await.unwrap();
    assert!(session.subscribe("secret").await.unwrap_err().to_string().contains("103"));

    scene.issuer.behave(Mood::Good);
    for _ in 0..2 {
        assert_eq!(scene.status("nobody-knows-it").await, 403);
    }
    assert_eq!((scene.status("opaque-2").await, scene.issuer.questions()), (403, 3));
    assert!(scene.refused("opaque-2").await.contains("109"));
    assert_eq!(scene.status("opaque-3").await, 101);
    // What looks like a JWT is checked by its signature, and nobody is asked.
    let questions = scene.issuer.questions();
    assert_eq!(
        (scene.status(&scene.issuer.token(&json!({}), 600)).await, scene.issuer.questions()),
        (101, questions)
    );

    // Its end is told by the answer, and so is asked for again.
    scene.issuer.knows("opaque-3", json!({"active": false}));
    eventually("the end of opaque-3", PATIENCE, || async {
        (scene.status("opaque-3").await == 403).then_some(())
    })
    .await;

    for mood in [Mood::Status(500), Mood::Rubbish, Mood::Huge, Mood::Elsewhere(scene.issuer.url("token"))] {
        scene.issuer.behave(mood.clone());
        let answer = scene.upgrade(PATH, &["Authorization: Bearer unheard-of"]).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{mood:?}");
        assert_eq!(scene.status("opaque-1").await, 101, "what was said is good for a while: {mood:?}");
    }
    for token in ["opaque-1", "unheard-of", "p:w"] {
        assert_eq!(scene.node.count(token), 0, "{token} in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_unless_it_is_refreshed() {
    let scene = Scene::open("jwks = \"http://ISSUER/jwks\"\nrefresh_grace = \"1s\"", Mood::Good).await;
    let _fetched = scene.node.line("token keys fetched", PATIENCE);
    let (mut idle, told) = scene.connected(&scene.issuer.token(&json!({}), 8)).await;
    assert!((1..=8).contains(&told["ttl"].as_u64().unwrap()), "{told}");
    let (mut refreshed, _) = scene.connected(&scene.issuer.token(&json!({}), 8)).await;
    let reply =
        refreshed.call("refresh", json!({"token": scene.issuer.token(&json!({}), 600)})).await.unwrap();
    assert!(reply["refresh"]["ttl"].as_u64().unwrap() > 500, "{reply}");
    let end = idle.next().await.unwrap_err().to_string();
    assert!(end.contains("3005") && end.contains("connection expired"), "{end}");
    refreshed.call("publish", json!({"channel": "c", "data": 1})).await.unwrap();

    let other = json!({"token": scene.issuer.token(&json!({"sub": "bob"}), 600)});
    let end = refreshed.call("refresh", other).await.unwrap_err().to_string();
    assert!(end.contains("3500"), "{end}");
    let _told = scene.node.line("a refresh for another user", PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_told_at_the_start_with_its_line() {
    let world = World::new();
    let extra = "[token]\nkeys = [\"/nonexistent.pem\"]\n";
    world.configure_node("node-1", 0, &world.delivery_socket(), extra);
    for arguments in [&["run"][..], &["config", "check"]] {
        let mut command = Command::new(sealwire_tests::process::binary("wss-node"));
        command.args(arguments).arg("--config").arg(world.path("node-1.toml"));
        let ran = sealwire_tests::process::run(&mut command);
        let said = format!("{ran:?}");
        assert!(said.contains("token.keys.0: /nonexistent.pem: No such file"), "{said}");
        assert!(said.contains("node-1.toml:"), "{said}");
    }
}

/// The SDK gets tokens that last three seconds, begins with one that has ended, and goes on without a loss.
async fn refreshes_by_itself(name: &str, mut client: Command) {
    let scene = Scene::open("jwks = \"http://ISSUER/jwks\"", Mood::Good).await;
    let _fetched = scene.node.line("token keys fetched", PATIENCE);
    scene.issuer.offers(caps(), 3);
    client
        .args(["--url", &scene.world.url(), "--tokens", &scene.issuer.url("token"), "--ca"])
        .arg(&scene.root);
    client.args(["--token", &scene.issuer.token(&caps(), -600)]);
    let mut client = Process::start(name, &mut client);
    let connected = client.line("\"connected\"", PATIENCE);
    assert!(connected.contains("\"tokens\":1"), "told 109, it got another: {connected}");
    let _subscribed = client.line("\"subscribed\"", PATIENCE);
    let denied = client.line("\"denied\"", PATIENCE);
    assert!(denied.contains("103"), "{denied}");
    eventually("two refreshes", PATIENCE, || async { (scene.issuer.tokens() >= 3).then_some(()) }).await;
    let accepted = "wss_node_tokens_accepted_total";
    eventually("their effect", PATIENCE, || async {
        (scene.metric(accepted).await >= Some(3)).then_some(())
    })
    .await;
    client.close_input();
    let end: Value = serde_json::from_str(&client.line("\"end\"", PATIENCE)).unwrap();
    assert_eq!((&end["losses"], &end["state"]), (&json!(0), &json!("connected")), "{end}");
    assert_eq!(end["news"], "subscribed");
    assert!(client.ended(PATIENCE).success(), "{}", client.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_refreshes() {
    let (Some(node), Some(_)) = (tools::find("node"), tools::find("js/tokens.mjs")) else {
        return;
    };
    let mut client = Command::new(node);
    client.arg(tools::dir().join("js/tokens.mjs"));
    refreshes_by_itself("centrifuge-js", client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_refreshes() {
    let Some(python) = tools::find("python/bin/python") else { return };
    let mut client = Command::new(python);
    client.arg(tools::repository().join("tests/clients/python/tokens.py"));
    refreshes_by_itself("centrifuge-python", client).await;
}
