//! What tokens do with subscriptions.

use sealwire_tests::faults::End;
use serde_json::json;

use super::scene::Scene;

/// A token names channels: the client is subscribed without asking, and recovers there too.
pub(super) async fn subscriptions_by_the_node(scene: &mut Scene, framing: &str) {
    let channel = format!("news:of ann {framing}");
    let [served, writer] = ["served", "writer"].map(|name| format!("{name} {framing}"));
    let mut connect = scene.by_proxy(framing);
    connect["token"] = scene.token("ann", &json!({ "channels": [channel] }), 600).into();
    let sdk = &mut scene.sdk;
    sdk.connect(&served, connect);
    let told = sdk.event(&served, &["subscribed"]);
    assert_eq!(told["channel"], json!(channel), "{told}");
    sdk.connect(&writer, json!({ "framing": framing }));
    sdk.subscribe(&writer, &channel, "stream", &json!({}));
    let publish = |n: u64| json!({ "client": writer, "channel": channel, "data": { "n": n } });
    sdk.does("publish", publish(1));
    assert_eq!(sdk.publications(&served, 1), [json!({ "n": 1 })]);

    scene.proxy.refuse(true).await;
    scene.proxy.end(End::Reset);
    sdk.event(&served, &["connecting"]);
    sdk.does("publish", publish(2));
    sdk.does("publish", publish(3));
    scene.proxy.refuse(false).await;
    let told = sdk.event(&served, &["subscribed"]);
    assert_eq!((&told["wasRecovering"], &told["recovered"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(sdk.publications(&served, 2), [json!({ "n": 2 }), json!({ "n": 3 })]);
    sdk.does("publish", publish(4));
    assert_eq!(sdk.publications(&served, 1), [json!({ "n": 4 })]);
    [served, writer].into_iter().for_each(|name| drop(sdk.does("disconnect", json!({ "client": name }))));
}

/// Before a token ends the client gives the next one. What that does not allow ends with 2000, and 103 is the answer to
/// whoever asks again.
pub(super) fn refresh(scene: &mut Scene, framing: &str) {
    let name = format!("refreshed {framing}");
    let token = scene.token("ann", &json!({}), 3);
    let less = json!({ "caps": [{ "channels": ["news:*"], "allow": ["sub"] }] });
    let next = scene.token("ann", &less, 600);
    let sdk = &mut scene.sdk;
    sdk.connect(&name, json!({ "framing": framing, "token": token, "asks": true }));
    sdk.subscribe(&name, "room:secret", "stream", &json!({}));
    sdk.subscribe(&name, "news:all", "stream", &json!({}));
    sdk.event(&name, &["token"]);
    sdk.does("token", json!({ "client": name, "token": next }));
    let ended = sdk.event(&name, &["unsubscribed"]);
    assert_eq!((&ended["channel"], &ended["code"]), (&json!("room:secret"), &json!(2000)), "{ended}");
    assert_eq!(sdk.events(&name, "connecting").len(), 1, "the connection is the first one");
    let refused = sdk.ask("publish", json!({ "client": name, "channel": "news:all", "data": {} }));
    assert_eq!(refused.unwrap_err()["code"], 103);
    let options = json!({ "client": name, "channel": "room:other", "kind": "stream", "options": {} });
    sdk.does("subscribe", options);
    let refused = sdk.event(&name, &["unsubscribed"]);
    assert_eq!((&refused["channel"], &refused["code"]), (&json!("room:other"), &json!(103)), "{refused}");
    sdk.does("disconnect", json!({ "client": name }));
}
