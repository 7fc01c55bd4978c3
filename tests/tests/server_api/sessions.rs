//! Sessions of the node.

use sealwire_tests::eventually;
use sealwire_tests::session::Session;
use sealwire_tests::world::PATIENCE;
use serde_json::json;

use crate::scene::{Scene, publication};

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
async fn channels_of_tenants_have_their_full_names() {
    let scene =
        Scene::open("[[tenant]]\nname = \"acme\"\npath = \"/acme\"\nchannel_prefix = \"acme:\"\n").await;
    let tls = std::sync::Arc::clone(&scene.tls);
    let mut session = Session::upgraded(scene.world().node_address(), tls, "/acme").await.unwrap();
    let reply = session.call("connect", json!({})).await.unwrap();
    let id = reply["connect"]["client"].as_str().unwrap();
    session.subscribe("news").await.unwrap();
    // That of everybody has the same name to its clients, and is another.
    scene.result("publish", json!({"channel": "news", "data": 1})).await;
    scene.result("publish", json!({"channel": "acme:news", "data": 2})).await;
    let push = session.next().await.unwrap();
    assert_eq!((&push["push"]["channel"], &push["push"]["pub"]["data"]), (&json!("news"), &json!(2)));
    let channels = scene.result("channels", json!({})).await;
    assert_eq!(channels["channels"], json!({"acme:news": {"num_clients": 1}}));
    let told = scene.result("subscribe", json!({"channel": "more", "client": id})).await;
    assert_eq!(told["sessions"], 0, "it is not a channel of this client");
    assert_eq!(scene.result("subscribe", json!({"channel": "acme:more", "client": id})).await["sessions"], 1);
    let push = session.next().await.unwrap();
    assert!(push["push"]["channel"] == "more" && push["push"]["subscribe"].is_object(), "{push}");
}
