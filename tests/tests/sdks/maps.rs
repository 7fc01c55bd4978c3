//! Maps: the state in pages, live changes, what was missed.

use std::collections::BTreeMap;

use sealwire_tests::faults::End;
use serde_json::{Value, json};

use super::scene::Scene;

/// Keys at the start; more than a page.
const KEYS: usize = 25;

pub(super) async fn maps(scene: &mut Scene, framing: &str) {
    let channel = format!("board:{framing}");
    let [writer, reader] = ["writer", "reader"].map(|name| format!("{name} of maps {framing}"));
    let connect = scene.by_proxy(framing);
    let sdk = &mut scene.sdk;
    sdk.connect(&writer, json!({ "framing": framing }));
    sdk.subscribe(&writer, &channel, "map", &json!({}));
    assert_eq!(sdk.event(&writer, &["sync"])["entries"], json!({}));
    let set = |key: usize, n: u64| json!({ "client": writer, "channel": channel, "key": format!("k{key:02}"), "data": { "n": n } });
    let remove = |key: usize| json!({ "client": writer, "channel": channel, "key": format!("k{key:02}") });
    let mut state: BTreeMap<String, Value> = BTreeMap::new();
    for key in 0..KEYS {
        sdk.does("set", set(key, 1));
        state.insert(format!("k{key:02}"), json!({ "n": 1 }));
    }

    sdk.connect(&reader, connect);
    sdk.subscribe(&reader, &channel, "map", &json!({ "pageSize": 7 }));
    assert_eq!(sdk.event(&reader, &["sync"])["entries"], json!(state), "all pages of it");

    // Live: set anew, a new key, removed.
    sdk.does("set", set(3, 2));
    sdk.does("set", set(90, 1));
    sdk.does("remove", remove(4));
    let expected = [("k03", json!({ "n": 2 })), ("k90", json!({ "n": 1 })), ("k04", Value::Null)];
    for (key, data) in expected {
        let told = sdk.event(&reader, &["update"]);
        assert_eq!((&told["key"], &told["data"]), (&json!(key), &data), "{told}");
        assert_eq!(told["removed"], data.is_null(), "{told}");
    }

    // What changed during a cut comes as changes, once each change that is kept, and makes the same state.
    scene.proxy.refuse(true).await;
    scene.proxy.end(End::Reset);
    sdk.event(&reader, &["connecting"]);
    sdk.does("set", set(5, 2));
    sdk.does("remove", remove(6));
    sdk.does("set", set(91, 1));
    scene.proxy.refuse(false).await;
    let told = sdk.event(&reader, &["subscribed"]);
    assert_eq!((&told["wasRecovering"], &told["recovered"]), (&json!(true), &json!(true)), "{told}");
    let missed: Vec<_> = (0..3).map(|_| sdk.event(&reader, &["update"])).collect();
    let keys: Vec<_> = missed.iter().map(|told| (told["key"].clone(), told["removed"].clone())).collect();
    let expected =
        [("k05", false), ("k06", true), ("k91", false)].map(|(key, gone)| (json!(key), json!(gone)));
    assert_eq!(keys, expected);
    assert_eq!(sdk.events(&reader, "sync").len(), 1, "its state is still good");

    // Away for longer than the log: the state comes anew.
    scene.proxy.refuse(true).await;
    scene.proxy.end(End::Reset);
    for n in 0..210 {
        sdk.does("set", set(7, n));
    }
    sdk.does("remove", remove(8));
    scene.proxy.refuse(false).await;
    let synced = sdk.event(&reader, &["sync"]);
    for gone in ["k04", "k06", "k08"] {
        state.remove(gone);
    }
    for (key, n) in [("k03", 2), ("k05", 2), ("k07", 209), ("k90", 1), ("k91", 1)] {
        state.insert(key.to_owned(), json!({ "n": n }));
    }
    assert_eq!(synced["entries"], json!(state));
    sdk.does("set", set(7, 1));
    let told = sdk.event(&reader, &["update"]);
    assert_eq!((&told["key"], &told["data"]), (&json!("k07"), &json!({ "n": 1 })), "{told}");

    // By procedure: a key that must not be there, one that must, and the same again.
    let mut call = |more: Value| {
        let mut data = json!({ "channel": channel, "data": {} });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sdk.ask("rpc", json!({ "client": writer, "method": "channel.publish", "data": data }))
    };
    let first = call(json!({ "key": "lock", "expect": "absent", "idempotency_key": "a" })).unwrap();
    assert_eq!(first["published"], true, "{first}");
    assert_eq!(call(json!({ "key": "lock", "expect": "absent" })).unwrap()["published"], false);
    assert_eq!(call(json!({ "key": "none", "expect": "present" })).unwrap()["published"], false);
    let again = call(json!({ "key": "lock", "expect": "absent", "idempotency_key": "a" })).unwrap();
    assert_eq!((&again["duplicate"], &again["offset"]), (&json!(true), &first["offset"]), "{again}");
    let gone = call(json!({ "key": "lock", "removed": true, "expect": "present" })).unwrap();
    assert_eq!(gone["published"], true, "{gone}");
    [writer, reader].into_iter().for_each(|name| drop(sdk.does("disconnect", json!({ "client": name }))));
}
