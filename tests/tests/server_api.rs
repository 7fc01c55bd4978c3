//! What applications ask of a real node, by HTTP and by gRPC, and what clients see of it.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "server_api/access.rs"]
mod access;
#[path = "server_api/grpc.rs"]
mod grpc;
#[path = "server_api/maps.rs"]
mod maps;
#[path = "server_api/publishing.rs"]
mod publishing;
#[path = "server_api/scene.rs"]
mod scene;
#[path = "server_api/sessions.rs"]
mod sessions;

use std::process::Command;

use scene::{KEY, Scene, publication, signed};
use sealwire_proto::v1::agent_message::Body;
use sealwire_proto::v1::{Halt, Resume};
use sealwire_tests::process::Process;
use sealwire_tests::world::PATIENCE;
use sealwire_tests::{eventually, tools};
use serde_json::{Value, json};
use wss_node::api::v1::PublishRequest;
use wss_node::api::v1::server_api_client::ServerApiClient;

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

#[tokio::test(flavor = "multi_thread")]
async fn applications_of_centrifugo_need_another_address_only() {
    let Some(python) = tools::find("python/bin/python") else { return };
    let scene = Scene::open("").await;
    let (mut session, id) = scene.session().await;
    session.subscribe("news").await.unwrap();
    eventually("it is present", PATIENCE, || async {
        let stats = scene.result("presence_stats", json!({"channel": "news"})).await;
        (stats["num_clients"] == 1).then_some(())
    })
    .await;
    let mut application = Command::new(python);
    application.arg(tools::repository().join("tests/clients/python/server_api.py"));
    application.args([&format!("{}/api", scene.base), KEY, &id]);
    let mut application = Process::start("cent", &mut application);
    let _told = application.line("\"told\"", PATIENCE);
    let expected = json!([
        ["publish", [1, 2, 2]],
        ["broadcast", [3, 102]],
        ["history", [2, 3, 3]],
        ["presence", [true, 1, 1]],
        ["channels", {"news": 1}],
        ["info", ["node-1"]],
        ["batch", [4, 1]],
        ["error", 102],
        ["unauthorized", true],
        ["told", true],
    ]);
    let told = application.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(told), expected);
    // What the session saw of it: each publication once, a subscription, the end of another, and its own end.
    for n in 1..=4 {
        assert_eq!(publication(&mut session).await["data"], json!({ "n": n }));
    }
    let pushes = [session.next().await.unwrap(), session.next().await.unwrap()];
    let saw = |name: &str| pushes.iter().any(|push| push["push"].get(name).is_some());
    assert!(saw("subscribe") && saw("unsubscribe"), "{pushes:?}");
    application.say("");
    let end = session.next().await.unwrap_err().to_string();
    assert!(end.contains("4100") && end.contains("moved"), "{end}");
    assert!(application.ended(PATIENCE).success(), "{}", application.log());
}
