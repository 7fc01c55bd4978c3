//! Maps, and batches.

use serde_json::{Value, json};

use crate::scene::Scene;

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
    assert_eq!(scene.result("map_stats", json!({"channel": "board:1"})).await["num_keys"], 0);

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
