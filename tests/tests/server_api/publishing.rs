//! Streams and values, and what is refused.

use serde_json::{Value, json};

use crate::scene::{KEY, Scene, publication};

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
        ("history_remove", json!({"channel": "bare:1"}), 108),
        ("history_remove", json!({"channel": "board:1"}), 108),
        ("history_remove", json!({"channel": "nowhere:1"}), 102),
        ("presence", json!({"channel": "last:1"}), 108),
        ("rpc", json!({"method": "x"}), 104),
        ("channels", json!({"pattern": "[a"}), 107),
    ] {
        assert_eq!(scene.error(method, body.clone()).await, code, "{method} {body}");
    }
    assert!(scene.metric("wss_node_api_calls_total{method=\"publish\",outcome=\"conflict\"} 3").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_history_is_gone_and_its_subscribers_are_told() {
    let scene = Scene::open("").await;
    let (mut session, _) = scene.session().await;
    session.subscribe("news").await.unwrap();
    for channel in ["news", "last:1"] {
        let first = scene.result("publish", json!({"channel": channel, "data": 1})).await;
        assert_eq!(scene.result("history_remove", json!({"channel": channel})).await, json!({}));
        let all = scene.result("history", json!({"channel": channel, "limit": -1})).await;
        assert_eq!((&all["publications"], &all["offset"]), (&json!([]), &json!(0)), "{channel}");
        assert_ne!(all["epoch"], first["epoch"]);
        let since = json!({"channel": channel, "limit": 1, "since": first});
        assert_eq!(scene.error("history", since).await, 112);
        let next = scene.result("publish", json!({"channel": channel, "data": 2})).await;
        assert_eq!((&next["offset"], &next["epoch"]), (&json!(1), &all["epoch"]), "{channel}");
    }
    assert_eq!(publication(&mut session).await["data"], 1);
    let told = session.next().await.unwrap();
    assert_eq!(told["push"]["unsubscribe"]["code"], 2500, "{told}");
    let audit = std::fs::read_to_string(scene.world().path("audit.jsonl")).unwrap();
    assert!(audit.contains("history_removed") && audit.contains("of last:1, by the API for 127."), "{audit}");
}
