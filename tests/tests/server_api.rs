//! What applications ask of a real node, by HTTP and by gRPC, and what clients see of it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use reqwest::{Client, Response, Version};
use rustls::{ClientConfig, RootCertStore};
use sealwire_proto::v1::agent_message::Body;
use sealwire_proto::v1::{Halt, Resume};
use sealwire_tests::authority::Authority;
use sealwire_tests::process::Process;
use sealwire_tests::scripted_agent::Scripted;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::world::{PATIENCE, World};
use sealwire_tests::{eventually, tools};
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use wss_node::api::v1::server_api_client::ServerApiClient;
use wss_node::api::v1::{
    BatchRequest, Command as Asked, Expect, InfoRequest, MapPublishRequest, PublishRequest, PublishResponse,
};

const HOUR: Duration = Duration::from_secs(3600);
const KEY: &str = "one-key-of-the-application";
const OTHER_KEY: &str = "another-key-of-the-application";
const NAMESPACES: &str = "
[namespaces.default]
presence = true
history = 50
recovery_limit = 10
[namespaces.bare]
history = 0
[namespaces.raw]
payload = \"bytes\"
[namespaces.last]
kind = \"value\"
[namespaces.board]
kind = \"map\"
keys = 1500
";

/// A node with the API, and an application that asks.
struct Scene {
    scripted: Scripted,
    tls: Arc<ClientConfig>,
    http: Client,
    base: String,
}

/// Writes a file with keys.
fn keys(path: &Path, keys: &[&str]) {
    std::fs::write(path, keys.join("\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Scene {
    /// On the admin address, with a key.
    async fn open(api: &str) -> Self {
        let world = World::new();
        let file = world.path("api-keys");
        keys(&file, &["# the shop", KEY]);
        let audit = world.path("audit.jsonl");
        let extra = format!("[audit]\nfile = {audit:?}\n[api]\nkeys_file = {file:?}\n{api}\n{NAMESPACES}",);
        let mut scripted = Scripted::start_with(world, &extra, |_| {}).await;
        let ca = Authority::new("api");
        ca.write(&scripted.world);
        scripted.pairing.serve(ca.bundle(&scripted.world, 1, HOUR)).await;
        let base = format!("http://{}:9090", scripted.world.address);
        Self { tls: tls(&ca.anchors()).unwrap(), http: Client::new(), base, scripted }
    }

    fn world(&self) -> &World {
        &self.scripted.world
    }

    async fn raw(&self, method: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Response {
        let mut request = self.http.post(format!("{}/api/{method}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// The body of an answer, which is always 200 unless that is asked for.
    async fn ask(&self, method: &str, body: Value) -> Value {
        let response = self.raw(method, &[("X-API-Key", KEY)], body.to_string()).await;
        assert_eq!((response.status().as_u16(), method), (200, method));
        response.json().await.unwrap()
    }

    /// The result of a method that is to succeed.
    async fn result(&self, method: &str, body: Value) -> Value {
        let mut answer = self.ask(method, body).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The code of a method that is to fail.
    async fn error(&self, method: &str, body: Value) -> u64 {
        let answer = self.ask(method, body.clone()).await;
        assert!(
            !answer["error"]["message"].as_str().unwrap_or_default().is_empty(),
            "{method} {body}: {answer}"
        );
        answer["error"]["code"].as_u64().unwrap()
    }

    /// A connected session and its id.
    async fn session(&self) -> (Session, String) {
        let address = self.world().node_address();
        let opened = Session::upgraded(address, Arc::clone(&self.tls), "/connection/websocket").await;
        let mut session = opened.unwrap();
        let reply = session.call("connect", json!({})).await.unwrap();
        (session, reply["connect"]["client"].as_str().unwrap().to_owned())
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.base.clone()).unwrap().connect().await.unwrap()
    }

    async fn metric(&self, line: &str) -> bool {
        let text = self.http.get(format!("{}/metrics", self.base)).send().await.unwrap();
        text.text().await.unwrap().lines().any(|found| found == line)
    }
}

/// With a key.
fn signed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("apikey {KEY}").parse().unwrap());
    request
}

/// The next publication that a session sees.
async fn publication(session: &mut Session) -> Value {
    loop {
        let mut push = session.next().await.unwrap()["push"].take();
        if push.get("pub").is_some() {
            return push["pub"].take();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_has_its_place_and_reaches_clients() {
    let scene = Scene::open("").await;
    let (mut session, _) = scene.session().await;
    session.subscribe("news").await.unwrap();

    let first =
        scene.result("publish", json!({"channel": "news", "data": {"n": 1}, "tags": {"a": "b"}})).await;
    assert_eq!(first["offset"], 1);
    let seen = publication(&mut session).await;
    assert_eq!(
        (&seen["data"], &seen["offset"], &seen["tags"]),
        (&json!({"n": 1}), &json!(1), &json!({"a": "b"}))
    );

    // The same key: the same place, and nobody sees it twice.
    let again = json!({"channel": "news", "data": {"n": 2}, "idempotency_key": "k"});
    let second = scene.result("publish", again.clone()).await;
    let repeated = scene.result("publish", again).await;
    assert_eq!((&repeated["offset"], &repeated["duplicate"]), (&second["offset"], &json!(true)));

    // Compare and set, on the channel.
    let expect = |at: &Value| json!({"offset": at["offset"], "epoch": at["epoch"]});
    let stale = json!({"channel": "news", "data": 0, "expect": expect(&first)});
    let conflict = scene.ask("publish", stale.clone()).await;
    assert_eq!((&conflict["error"]["code"], &conflict["error"]["current"]), (&json!(113), &expect(&second)));
    let by_status = [("X-API-Key", KEY), ("X-Centrifugo-Error-Mode", "transport")];
    assert_eq!(scene.raw("publish", &by_status, stale.to_string()).await.status(), 409);
    let third = json!({"channel": "news", "data": {"n": 3}, "expect": expect(&second)});
    assert_eq!(scene.result("publish", third).await["offset"], 3);
    assert_eq!(scene.error("publish", json!({"channel": "news", "data": 0, "expect": "absent"})).await, 113);
    assert_eq!(
        scene.result("publish", json!({"channel": "new", "data": 0, "expect": "absent"})).await["offset"],
        1
    );
    assert_eq!(
        [publication(&mut session).await, publication(&mut session).await].map(|it| it["data"]["n"].clone()),
        [2, 3]
    );

    // To several at once, each with an answer of its own.
    let all = json!({"channels": ["news", "nowhere:1", "last:1"], "b64data": "eyJuIjo0fQ=="});
    let responses = scene.result("broadcast", all).await["responses"].take();
    assert_eq!(responses[0]["result"]["offset"], 4);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2]["result"]["offset"], 1);
    assert_eq!(publication(&mut session).await["data"], json!({"n": 4}));

    // What is kept of it.
    let history = scene.result("history", json!({"channel": "news", "limit": -1})).await;
    let numbers: Vec<_> =
        history["publications"].as_array().unwrap().iter().map(|it| it["data"]["n"].clone()).collect();
    assert_eq!((numbers, &history["offset"]), (vec![json!(1), json!(2), json!(3), json!(4)], &json!(4)));
    let since = expect(&second);
    let page = json!({"channel": "news", "limit": 1, "since": since});
    assert_eq!(scene.result("history", page).await["publications"][0]["offset"], 3);
    let newest = json!({"channel": "news", "limit": 1, "reverse": true});
    assert_eq!(scene.result("history", newest).await["publications"][0]["offset"], 4);
    let top = scene.result("history", json!({"channel": "news"})).await;
    assert_eq!((&top["publications"], &top["offset"]), (&json!([]), &json!(4)));
    let lost = json!({"channel": "news", "limit": 1, "since": {"offset": 2, "epoch": "another"}});
    assert_eq!(scene.error("history", lost).await, 112);
    for n in 5..=15 {
        scene.result("publish", json!({"channel": "news", "data": {"n": n}})).await;
    }
    let most = scene.result("history", json!({"channel": "news", "limit": 1000})).await;
    assert_eq!(most["publications"].as_array().unwrap().len(), 10, "recovery_limit");

    // Bytes are told as what they are.
    scene.result("publish", json!({"channel": "raw:1", "b64data": "/wA="})).await;
    let raw = scene.result("history", json!({"channel": "raw:1", "limit": 1})).await;
    assert_eq!(raw["publications"][0]["b64data"], "/wA=");

    for (method, body, code) in [
        ("publish", json!({}), 107),
        ("publish", json!({"channel": "news"}), 107),
        ("publish", json!({"channel": "news", "b64data": "!"}), 107),
        ("publish", json!({"channel": "news", "b64data": "/wA="}), 107),
        ("publish", json!({"channel": "news", "data": "x".repeat(70_000)}), 107),
        ("publish", json!({"channel": "n".repeat(300), "data": 1}), 107),
        ("publish", json!({"channel": "news", "data": 1, "key": "k"}), 107),
        ("publish", json!({"channel": "news", "data": 1, "version": 7}), 107),
        ("publish", json!({"channel": "news", "data": 1, "skip_history": true}), 108),
        ("publish", json!({"channel": "nowhere:1", "data": 1}), 102),
        ("broadcast", json!({"channels": [], "data": 1}), 107),
        ("history", json!({"channel": "bare:1", "limit": 1}), 108),
        ("history_remove", json!({"channel": "news"}), 108),
        ("presence", json!({"channel": "last:1"}), 108),
        ("rpc", json!({"method": "x"}), 104),
        ("channels", json!({"pattern": "[a"}), 107),
    ] {
        assert_eq!(scene.error(method, body.clone()).await, code, "{method} {body}");
    }
    assert!(scene.metric("wss_node_api_calls_total{method=\"publish\",outcome=\"conflict\"} 3").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_set_read_and_cleared() {
    let scene = Scene::open("").await;
    let set = |key: &str, data: i32, more: Value| {
        let mut body = json!({"channel": "board:1", "key": key, "data": data});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        body
    };
    let a = scene.result("map_publish", set("a", 1, json!({"idempotency_key": "once"}))).await;
    assert_eq!((&a["offset"], &a["suppressed"]), (&json!(1), &Value::Null));
    for (body, reason) in [
        (set("a", 2, json!({"idempotency_key": "once"})), "idempotency"),
        (set("a", 2, json!({"key_mode": "if_new"})), "key_exists"),
        (set("b", 2, json!({"key_mode": "if_exists"})), "key_not_found"),
        (set("a", 2, json!({"expect": {"offset": 9, "epoch": a["epoch"]}})), "position_mismatch"),
    ] {
        let suppressed = scene.result("map_publish", body).await;
        assert_eq!(
            (&suppressed["suppressed"], &suppressed["suppress_reason"]),
            (&json!(true), &json!(reason))
        );
    }
    let b = scene.result("map_publish", set("b", 2, json!({"tags": {"t": "1"}}))).await;
    assert_eq!(b["offset"], 2, "what was suppressed has no place");
    scene.result("map_publish", set("c", 3, json!({}))).await;

    // In pages, by one, and none.
    let first = scene.result("map_read_state", json!({"channel": "board:1", "limit": 2})).await;
    let keys = |page: &Value| -> Vec<Value> {
        page["entries"].as_array().unwrap().iter().map(|entry| entry["key"].clone()).collect()
    };
    assert_eq!((keys(&first), &first["offset"]), (vec![json!("a"), json!("b")], &json!(3)));
    assert_eq!((&first["entries"][1]["data"], &first["entries"][1]["tags"]), (&json!(2), &json!({"t": "1"})));
    let next = json!({"channel": "board:1", "limit": 2, "cursor": first["cursor"], "revision_epoch": first["epoch"]});
    let second = scene.result("map_read_state", next).await;
    assert_eq!((keys(&second), &second["cursor"]), (vec![json!("c")], &Value::Null));
    let one = scene.result("map_read_state", json!({"channel": "board:1", "key": "b"})).await;
    assert_eq!(one["entries"][0]["offset"], 2);
    assert_eq!(
        keys(&scene.result("map_read_state", json!({"channel": "board:1", "key": "bb"})).await),
        [] as [Value; 0]
    );
    assert_eq!(keys(&scene.result("map_read_state", json!({"channel": "board:1"})).await), [] as [Value; 0]);
    let other = json!({"channel": "board:1", "limit": 2, "revision_epoch": "another"});
    assert_eq!(scene.error("map_read_state", other).await, 112);

    let removed = scene.result("map_remove", json!({"channel": "board:1", "key": "a"})).await;
    assert_eq!(removed["offset"], 4);
    let gone = scene.result("map_remove", json!({"channel": "board:1", "key": "a"})).await;
    assert_eq!(gone["suppress_reason"], "key_not_found");
    let log = json!({"channel": "board:1", "since_offset": 3, "since_epoch": a["epoch"], "limit": -1});
    let log = scene.result("map_read_stream", log).await;
    assert_eq!((keys(&log), &log["entries"][0]["removed"]), (vec![json!("a")], &json!(true)));

    // More keys than a page, and than the log reaches back.
    let commands: Vec<_> =
        (0..1000).map(|n| json!({"map_publish": set(&format!("k{n:04}"), n, json!({}))})).collect();
    let batch = scene.ask("batch", json!({"commands": commands, "parallel": true})).await;
    let replies = batch["replies"].as_array().unwrap();
    assert!(
        replies.len() == 1000 && replies.iter().all(|reply| reply["map_publish"]["offset"].is_u64()),
        "{batch}"
    );
    assert_eq!(scene.result("map_stats", json!({"channel": "board:1"})).await["num_keys"], 1002);
    assert_eq!(scene.result("map_clear", json!({"channel": "board:1"})).await["num_keys"], 1002);
    assert_eq!(scene.result("map_stats", json!({"channel": "board:1"})).await["num_keys"], Value::Null);

    for (method, body, code) in [
        ("map_publish", json!({"channel": "news", "key": "a", "data": 1}), 107),
        ("map_publish", json!({"channel": "board:1", "data": 1}), 107),
        ("map_publish", set("a", 1, json!({"score": 1})), 107),
        ("map_publish", set("a", 1, json!({"key_mode": "if"})), 107),
        ("map_publish", set("a", 1, json!({"key_mode": "if_new", "expect": "absent"})), 107),
        ("map_read_state", json!({"channel": "board:1", "limit": 1, "cursor": "?"}), 107),
        ("publish", json!({"channel": "board:1", "data": 1}), 107),
    ] {
        assert_eq!(scene.error(method, body.clone()).await, code, "{method} {body}");
    }
    let batch = json!({"commands": [{"info": {}}, {}, {"map_stats": {"channel": "x:"}}, {"info": {}, "channels": {}}]});
    let replies = scene.ask("batch", batch).await["replies"].take();
    assert_eq!(replies[0]["info"]["nodes"][0]["name"], "node-1");
    assert_eq!([1, 2, 3].map(|n| replies[n]["error"]["code"].as_u64()), [Some(104), Some(102), Some(107)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_subscribed_counted_and_sent_away() {
    let scene = Scene::open("").await;
    let ((mut one, id), (mut two, other)) = (scene.session().await, scene.session().await);
    let told = scene.result("subscribe", json!({"channel": "news", "client": id})).await;
    assert_eq!(told["sessions"], 1);
    let push = one.next().await.unwrap();
    assert!(push["push"]["subscribe"].is_object() && push["push"]["channel"] == "news", "{push}");
    two.subscribe("news").await.unwrap();
    two.subscribe("other").await.unwrap();
    scene.result("publish", json!({"channel": "news", "data": 1})).await;
    assert_eq!(
        (publication(&mut one).await["data"].clone(), publication(&mut two).await["data"].clone()),
        (json!(1), json!(1))
    );

    eventually("both are present", PATIENCE, || async {
        let stats = scene.result("presence_stats", json!({"channel": "news"})).await;
        (stats == json!({"num_clients": 2, "num_users": 1})).then_some(())
    })
    .await;
    let presence = scene.result("presence", json!({"channel": "news"})).await;
    assert_eq!(presence["presence"][&other]["client"], json!(other), "{presence}");
    let channels = scene.result("channels", json!({"pattern": "n?w*"})).await;
    assert_eq!(channels["channels"], json!({"news": {"num_clients": 2}}));
    assert_eq!(scene.result("channels", json!({})).await["channels"]["other"]["num_clients"], 1);
    let node = scene.result("info", json!({})).await["nodes"][0].take();
    assert_eq!(
        [&node["num_clients"], &node["num_channels"], &node["num_subs"]],
        [&json!(2), &json!(2), &json!(3)]
    );

    let told = scene.result("unsubscribe", json!({"channel": "news", "client": other})).await;
    assert_eq!(told["sessions"], 1);
    let push = two.next().await.unwrap();
    assert_eq!(
        (&push["push"]["unsubscribe"]["code"], &push["push"]["channel"]),
        (&json!(2000), &json!("news"))
    );
    let code = json!({"client": id, "disconnect": {"code": 4100, "reason": "moved"}});
    assert_eq!(scene.result("disconnect", code).await["sessions"], 1);
    let end = one.next().await.unwrap_err().to_string();
    assert!(end.contains("4100") && end.contains("moved"), "{end}");
    assert_eq!(scene.result("refresh", json!({"client": other, "expired": true})).await["sessions"], 1);
    let end = two.next().await.unwrap_err().to_string();
    assert!(end.contains("3005"), "{end}");
    let audit = std::fs::read_to_string(scene.world().path("audit.jsonl")).unwrap();
    assert!(audit.contains(&id) && audit.contains("by the API for 127."), "{audit}");

    for (method, body, code) in [
        ("disconnect", json!({}), 107),
        ("disconnect", json!({"client": "x"}), 107),
        ("disconnect", json!({"client": id, "disconnect": {"code": 1006}}), 107),
        ("subscribe", json!({"channel": "news"}), 107),
        ("subscribe", json!({"channel": "board:1", "client": id}), 108),
        ("subscribe", json!({"channel": "news", "client": id, "expire_at": 7}), 108),
        ("refresh", json!({"client": id, "expire_at": 7}), 108),
    ] {
        assert_eq!(scene.error(method, body.clone()).await, code, "{method} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_a_key_are_let_in_and_not_too_much_at_once() {
    let scene = Scene::open("body_bytes = 2048\n").await;
    let body = || json!({"channel": "news", "data": 1}).to_string();
    for headers in
        [&[][..], &[("X-API-Key", "wrong")], &[("Authorization", KEY)], &[("Authorization", "Bearer x")]]
    {
        let response = scene.raw("publish", headers, body()).await;
        assert_eq!(response.status(), 401, "{headers:?}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], 101);
    }
    let in_the_path = scene.raw(&format!("publish?api_key={KEY}"), &[], body()).await;
    assert_eq!(in_the_path.status(), 401, "a key in a path ends up in logs");
    let lower = format!("apikey {KEY}");
    assert_eq!(scene.raw("publish", &[("Authorization", &lower)], body()).await.status(), 200);
    let audited = eventually("it is audited", PATIENCE, || async {
        let audit = std::fs::read_to_string(scene.world().path("audit.jsonl")).unwrap();
        audit.contains("api_refused").then_some(audit)
    })
    .await;
    assert!(audited.contains("no key for /api/publish") && !audited.contains(KEY), "{audited}");
    assert!(scene.metric("wss_node_api_refused_total{reason=\"unauthorized\"} 5").await);

    let with_key = [("X-API-Key", KEY)];
    assert_eq!(scene.raw("publish", &with_key, "x".repeat(3000)).await.status(), 413);
    assert_eq!(scene.raw("publish", &with_key, "{").await.status(), 400);
    assert_eq!(scene.raw("publish", &with_key, "[\"news\"]").await.status(), 400);
    assert_eq!(scene.raw("nothing", &with_key, "{}").await.status(), 404);
    let get = scene.http.get(format!("{}/api/info", scene.base)).header("X-API-Key", KEY);
    assert_eq!(get.send().await.unwrap().status(), 405);
    assert_eq!(scene.raw("info", &with_key, "").await.status(), 200, "no body is no field");

    // Keys are changed without a restart: first both are good, then the new one alone.
    let file = scene.world().path("api-keys");
    for (content, good, bad) in [(&[KEY, OTHER_KEY][..], OTHER_KEY, "wrong"), (&[OTHER_KEY], OTHER_KEY, KEY)]
    {
        keys(&file, content);
        eventually("the keys are read again", PATIENCE, || async {
            let good = scene.raw("info", &[("X-API-Key", good)], "").await.status();
            let bad = scene.raw("info", &[("X-API-Key", bad)], "").await.status();
            (good == 200 && bad == 401).then_some(())
        })
        .await;
    }
    // The rest of the admin address asks for none.
    assert!(scene.http.get(format!("{}/healthz", scene.base)).send().await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_does_the_same_under_both_names() {
    let scene = Scene::open("").await;
    let channel = scene.channel().await;
    let mut api = ServerApiClient::new(channel.clone());
    let refused = api.info(InfoRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let (mut session, _) = scene.session().await;
    session.subscribe("news").await.unwrap();
    let publish = |data: &'static str| PublishRequest {
        channel: "news".to_owned(),
        data: data.as_bytes().into(),
        ..PublishRequest::default()
    };
    let answer = api.publish(signed(publish("{\"n\":1}"))).await.unwrap().into_inner();
    assert_eq!((answer.error, answer.result.unwrap().offset), (None, 1));
    assert_eq!(publication(&mut session).await["data"]["n"], 1);

    // An error is an answer, unless the status is asked for.
    let stale = PublishRequest { expect: Some(Expect { absent: true, ..Expect::default() }), ..publish("0") };
    let answer = api.publish(signed(stale.clone())).await.unwrap().into_inner();
    let error = answer.error.unwrap();
    assert_eq!((error.code, error.current.unwrap().offset), (113, 1));
    let mut by_status = signed(stale);
    by_status.metadata_mut().insert("x-centrifugo-error-mode", "transport".parse().unwrap());
    assert_eq!(api.publish(by_status).await.unwrap_err().code(), Code::AlreadyExists);

    let commands = vec![
        Asked { info: Some(InfoRequest {}), ..Asked::default() },
        Asked {
            map_publish: Some(MapPublishRequest {
                channel: "board:1".to_owned(),
                key: "a".to_owned(),
                data: "1".into(),
                tags: BTreeMap::from([("t".to_owned(), "u".to_owned())]),
                ..MapPublishRequest::default()
            }),
            ..Asked::default()
        },
    ];
    let replies =
        api.batch(signed(BatchRequest { commands, parallel: false })).await.unwrap().into_inner().replies;
    assert_eq!(replies[0].info.as_ref().unwrap().nodes[0].num_clients, 1);
    assert_eq!(replies[1].map_publish.as_ref().unwrap().offset, 1);

    // As a client made from Centrifugo's definition asks.
    let mut centrifugos = Grpc::new(channel);
    centrifugos.ready().await.unwrap();
    let path = PathAndQuery::from_static("/centrifugal.centrifugo.api.CentrifugoApi/Publish");
    let codec = ProstCodec::<PublishRequest, PublishResponse>::default();
    let answer = centrifugos.unary(signed(publish("{\"n\":2}")), path, codec).await.unwrap().into_inner();
    assert_eq!(answer.result.unwrap().offset, 2);
    assert_eq!(publication(&mut session).await["data"]["n"], 2);
}

/// Trusts the node, and is somebody whom `authority` vouches for.
fn somebody(ca: &Authority, authority: Option<&Authority>, name: &str) -> Client {
    let mut roots = RootCertStore::empty();
    for certificate in ca.anchors().certificates() {
        roots.add(certificate.clone()).unwrap();
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let (chain, key) = authority.client(name);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Client::builder().tls_backend_preconfigured(config).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_address_of_its_own_a_certificate_is_the_key() {
    let world = World::new();
    let (applications, others, ca) =
        (Authority::new("ours"), Authority::new("others"), Authority::new("node"));
    let roots = world.write("applications.pem", &applications.pem());
    let extra = format!(
        "[api]\naddress = \"{}:9443\"\nclient_roots = {roots:?}\nclient_names = [\"shop.test\"]\n{NAMESPACES}",
        world.address
    );
    let mut scripted = Scripted::start_with(world, &extra, |_| {}).await;
    scripted.pairing.serve(ca.bundle(&scripted.world, 1, HOUR)).await;
    let url = format!("https://{}:9443/api/publish", scripted.world.address);
    let publish = |client: Client| {
        let body = json!({"channel": "news", "data": 1}).to_string();
        client.post(&url).body(body).send()
    };
    let answer = publish(somebody(&ca, Some(&applications), "shop.test")).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
    assert_eq!(answer.json::<Value>().await.unwrap()["result"]["offset"], 1);
    assert!(publish(somebody(&ca, Some(&applications), "someone.test")).await.is_err());
    assert!(publish(somebody(&ca, Some(&others), "shop.test")).await.is_err());
    assert!(publish(somebody(&ca, None, "")).await.is_err());
    let _told = scripted.node.line("none of these is in api.client_names", PATIENCE);
    let admin = format!("http://{}:9090/api/publish", scripted.world.address);
    let elsewhere = Client::new().post(admin).body("{}").send().await.unwrap();
    assert_eq!(elsewhere.status(), 404, "not on the admin address too");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_while_the_breaker_is_open() {
    let scene = Scene::open("").await;
    let body = json!({"channel": "news", "data": 1});
    scene.result("publish", body.clone()).await;
    let halt = Halt { by: "operator".into(), reason: "incident 7".into() };
    scene.scripted.pairing.say(Body::Halt(halt)).await;
    eventually("it is halted", PATIENCE, || async {
        let answer = scene.ask("publish", body.clone()).await;
        (answer["error"]["code"] == 100).then_some(())
    })
    .await;
    let by_status = [("X-API-Key", KEY), ("X-Centrifugo-Error-Mode", "transport")];
    let refused = scene.raw("publish", &by_status, body.to_string()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    let map = json!({"channel": "board:1", "key": "a", "data": 1});
    assert_eq!(scene.error("map_publish", map).await, 100);
    let read = scene.result("history", json!({"channel": "news", "limit": -1})).await;
    assert!(read["offset"].as_u64() >= Some(1), "what is there can be read: {read}");
    scene.scripted.pairing.say(Body::Resume(Resume { by: "operator".into() })).await;
    eventually("it goes on", PATIENCE, || async {
        let answer = scene.ask("publish", body.clone()).await;
        answer["result"]["offset"].as_u64().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_sees_what_is_published() {
    let (Some(node), Some(_)) = (tools::find("node"), tools::find("js/node_modules/centrifuge")) else {
        return;
    };
    let scene = Scene::open("").await;
    let mut client = Command::new(node);
    client.arg(tools::dir().join("js/session.mjs")).args([
        "--url",
        &scene.world().url(),
        "--channel",
        "news",
    ]);
    client.args(["--expect", "60", "--sessions", "3", "--ca"]).arg(scene.world().path("root.pem"));
    let mut client = Process::start("centrifuge-js", &mut client);
    let _ready = client.line("\"ready\"", PATIENCE);
    let mut api = ServerApiClient::new(scene.channel().await);
    for n in 1..=60 {
        let data = json!({ "n": n });
        match n % 3 {
            0 => {
                let data = data.to_string().into();
                let request =
                    PublishRequest { channel: "news".to_owned(), data, ..PublishRequest::default() };
                assert_eq!(api.publish(signed(request)).await.unwrap().into_inner().error, None);
            }
            1 => drop(scene.result("publish", json!({"channel": "news", "data": data})).await),
            _ => drop(scene.result("broadcast", json!({"channels": ["news", "other"], "data": data})).await),
        }
    }
    let received = client.line("\"received\"", PATIENCE);
    let received: Value = serde_json::from_str(&received).unwrap();
    assert_eq!((&received["gaps"], &received["publications"]), (&json!(0), &json!(60)), "{received}");
    assert!(client.ended(PATIENCE).success(), "{}", client.log());
}
