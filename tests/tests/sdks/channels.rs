//! Streams and values.

use sealwire_tests::faults::{End, Flow, Weather};
use sealwire_tests::world::PATIENCE;
use serde_json::{Value, json};

use super::scene::Scene;

/// What was missed during a cut comes once and in order; who was away for longer than history is told.
pub(super) async fn recovery(scene: &mut Scene, framing: &str) {
    let channel = format!("news:{framing}");
    let [near, far] = [format!("near {framing}"), format!("far {framing}")];
    let connect = scene.by_proxy(framing);
    let sdk = &mut scene.sdk;
    sdk.connect(&near, json!({ "framing": framing }));
    sdk.connect(&far, connect);
    for name in [&near, &far] {
        let told = sdk.subscribe(name, &channel, "stream", &json!({ "recoverable": true }));
        assert_eq!((&told["wasRecovering"], &told["at"]["offset"]), (&json!(false), &json!(0)), "{told}");
    }
    let publish =
        |n: u64| json!({ "client": near, "channel": channel, "data": { "n": n, "text": "größer > 1" } });
    let data = |n: u64| json!({ "n": n, "text": "größer > 1" });
    sdk.does("publish", publish(1));
    assert_eq!(sdk.publications(&far, 1), [data(1)]);

    scene.proxy.refuse(true).await;
    assert_eq!(scene.proxy.end(End::Reset), 1);
    sdk.event(&far, &["connecting"]);
    for n in 2..=6 {
        sdk.does("publish", publish(n));
    }
    scene.proxy.refuse(false).await;
    let told = sdk.event(&far, &["subscribed"]);
    assert_eq!((&told["wasRecovering"], &told["recovered"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(sdk.publications(&far, 5), (2..=6).map(data).collect::<Vec<_>>());
    sdk.does("publish", publish(7));
    assert_eq!(sdk.publications(&far, 1), [data(7)]);

    // 50 are kept.
    scene.proxy.refuse(true).await;
    scene.proxy.end(End::Cut);
    for n in 8..=60 {
        sdk.does("publish", publish(n));
    }
    scene.proxy.refuse(false).await;
    let told = sdk.event(&far, &["subscribed"]);
    assert_eq!((&told["wasRecovering"], &told["recovered"]), (&json!(true), &json!(false)), "{told}");
    assert_eq!(told["at"]["offset"], 60);
    sdk.does("publish", publish(61));
    assert_eq!(sdk.publications(&far, 1), [data(61)], "and goes on from there");
    assert_eq!(sdk.publications(&near, 61), (1..=61).map(data).collect::<Vec<_>>());
    assert_eq!(sdk.events(&near, "connecting").len(), 1, "nobody else has noticed");
    [near, far].into_iter().for_each(|name| drop(sdk.does("disconnect", json!({ "client": name }))));
}

/// After `recovery`, in the same channel.
pub(super) fn history(scene: &mut Scene, framing: &str) {
    let (channel, reader) = (format!("news:{framing}"), format!("reader {framing}"));
    let sdk = &mut scene.sdk;
    let id = sdk.connect(&reader, json!({ "framing": framing }));
    sdk.subscribe(&reader, &channel, "stream", &json!({}));
    let mut page = |options: Value| {
        let page = sdk.does("history", json!({ "client": reader, "channel": channel, "options": options }));
        let list = page["publications"].as_array().unwrap().clone();
        let offsets: Vec<_> = list.iter().map(|one| one["offset"].as_u64().unwrap()).collect();
        for one in &list {
            assert_eq!(one["data"]["n"], one["offset"], "{one}");
            assert!(one["publisher"].as_str().is_some_and(|publisher| publisher != id), "{one}");
        }
        (offsets, page)
    };
    let (none, page_of_none) = page(json!({ "limit": 0 }));
    assert_eq!((none.len(), &page_of_none["offset"]), (0, &json!(61)));
    let epoch = page_of_none["epoch"].as_str().unwrap().to_owned();
    assert_eq!(page(json!({ "limit": -1 })).0, (12..=61).collect::<Vec<_>>());
    let since = |offset: u64| json!({ "offset": offset, "epoch": epoch });
    assert_eq!(page(json!({ "limit": 3, "since": since(20) })).0, [21, 22, 23]);
    assert_eq!(page(json!({ "limit": 3, "since": since(20), "reverse": true })).0, [19, 18, 17]);
    assert_eq!(page(json!({ "limit": 2, "reverse": true })).0, [61, 60]);
    assert_eq!(page(json!({ "limit": 5, "since": since(61) })).0, [0_u64; 0]);
    let mut refused = |since: Value| {
        let options = json!({ "limit": 5, "since": since });
        sdk.ask("history", json!({ "client": reader, "channel": channel, "options": options })).unwrap_err()
    };
    assert_eq!(refused(json!({ "offset": 20, "epoch": "another" }))["code"], 112);
    assert_eq!(refused(since(3))["code"], 112, "it is not kept any more");
    // Where nobody can look.
    sdk.does("disconnect", json!({ "client": reader }));
}

pub(super) fn presence(scene: &mut Scene, framing: &str) {
    let channel = format!("room:{framing}");
    let token = |user: &str| scene.token(user, &json!({}), 600);
    let tokens = [token("ann"), token("ann"), token("bob")];
    let names = ["ann 1", "ann 2", "bob"].map(|name| format!("{name} {framing}"));
    let sdk = &mut scene.sdk;
    let mut ids = Vec::new();
    for (name, token) in names.iter().zip(tokens) {
        ids.push(sdk.connect(name, json!({ "framing": framing, "token": token })));
        sdk.subscribe(name, &channel, "stream", &json!({ "joinLeave": true }));
    }
    let [first, second, third] = &names;
    // Each sees those who come after it, and itself at most.
    for (who, user) in [(&ids[1], "ann"), (&ids[2], "bob")] {
        let mut join = sdk.event(first, &["join"]);
        if join["who"] == ids[0] {
            join = sdk.event(first, &["join"]);
        }
        assert_eq!((&join["who"], &join["user"]), (&json!(who), &json!(user)), "{join}");
    }
    let present = sdk.does("presence", json!({ "client": third, "channel": channel }));
    let expected = json!({ &ids[0]: "ann", &ids[1]: "ann", &ids[2]: "bob" });
    assert_eq!(present, expected);
    let stats = sdk.does("presenceStats", json!({ "client": third, "channel": channel }));
    assert_eq!(stats, json!({ "numClients": 3, "numUsers": 2 }));

    sdk.does("unsubscribe", json!({ "client": second, "channel": channel }));
    assert_eq!(sdk.event(second, &["unsubscribed"])["code"], 0);
    assert_eq!(sdk.event(first, &["leave"])["who"], json!(ids[1]));
    sdk.does("disconnect", json!({ "client": third }));
    assert_eq!(sdk.event(first, &["leave"])["who"], json!(ids[2]));
    let present = sdk.does("presence", json!({ "client": first, "channel": channel }));
    assert_eq!(present, json!({ &ids[0]: "ann" }));
    for name in [first, second] {
        sdk.does("disconnect", json!({ "client": name }));
    }
}

/// `server.time`, `session.info`, and `channel.publish` with an expectation and an idempotency key.
pub(super) fn procedures(scene: &mut Scene, framing: &str) {
    let (channel, caller) = (format!("news:calls {framing}"), format!("caller {framing}"));
    let token = scene.token("ann", &json!({}), 600);
    let sdk = &mut scene.sdk;
    let id = sdk.connect(&caller, json!({ "framing": framing, "token": token }));
    sdk.subscribe(&caller, &channel, "stream", &json!({}));
    let mut call = |method: &str, data: Value| {
        sdk.ask("rpc", json!({ "client": caller, "method": method, "data": data }))
    };
    let now = jiff::Timestamp::now().as_millisecond();
    let time = call("server.time", json!({})).unwrap()["time"].as_i64().unwrap();
    assert!((time - now).abs() < 60_000, "{time} {now}");
    let info = call("session.info", json!({})).unwrap();
    assert_eq!((&info["client"], &info["user"]), (&json!(id), &json!("ann")), "{info}");
    assert!(info["expires_at"].as_i64().is_some_and(|at| at * 1000 > now), "{info}");
    assert_eq!(call("no.such", json!({})).unwrap_err()["code"], 104);
    assert_eq!(call("channel.publish", json!({ "channel": channel })).unwrap_err()["code"], 107);

    let mut publish = |n: u64, more: Value| {
        let mut data = json!({ "channel": channel, "data": { "n": n } });
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call("channel.publish", data)
    };
    let first = publish(1, json!({ "expect": "absent" })).unwrap();
    assert_eq!((&first["published"], &first["offset"]), (&json!(true), &json!(1)), "{first}");
    let epoch = first["epoch"].clone();
    let at = |offset: u64| json!({ "epoch": epoch, "offset": offset });
    let second = publish(2, json!({ "expect": at(1), "idempotency_key": "two" })).unwrap();
    assert_eq!((&second["offset"], &second["duplicate"]), (&json!(2), &json!(false)), "{second}");
    // Whoever expects what was before is told what is now.
    for expect in [at(1), json!("absent"), at(7), json!({ "epoch": "another", "offset": 2 })] {
        let conflict = publish(9, json!({ "expect": expect })).unwrap();
        assert_eq!(conflict, json!({ "published": false, "current": at(2) }), "{expect}");
    }
    // A retry is told the first place, and nothing is published.
    let again = publish(2, json!({ "idempotency_key": "two" })).unwrap();
    let told = (&again["published"], &again["duplicate"], &again["offset"]);
    assert_eq!(told, (&json!(true), &json!(true), &json!(2)), "{again}");
    assert_eq!(publish(3, json!({ "expect": "present" })).unwrap()["offset"], 3);
    assert_eq!(sdk.publications(&caller, 3), [1, 2, 3].map(|n| json!({ "n": n })));
    sdk.does("disconnect", json!({ "client": caller }));
}

/// The last state comes with the subscription; changes come as differences; after a cut only the last.
pub(super) async fn values(scene: &mut Scene, framing: &str) {
    let channel = format!("price:{framing}");
    let [seller, buyer, late] = ["seller", "buyer", "late"].map(|name| format!("{name} {framing}"));
    // Large enough that a difference is smaller.
    let state = |n: u64| json!({ "n": n, "text": "das Gleiche wie immer, ".repeat(20), "ends": [n, n * 7] });
    let connect = scene.by_proxy(framing);
    let sdk = &mut scene.sdk;
    sdk.connect(&seller, json!({ "framing": framing }));
    sdk.connect(&buyer, connect);
    let options = json!({ "recoverable": true, "delta": "fossil" });
    sdk.subscribe(&seller, &channel, "stream", &json!({}));
    sdk.subscribe(&buyer, &channel, "stream", &options);
    let publish = |n: u64| json!({ "client": seller, "channel": channel, "data": state(n) });
    for n in 1..=5 {
        sdk.does("publish", publish(n));
    }
    assert_eq!(sdk.publications(&buyer, 5), (1..=5).map(state).collect::<Vec<_>>());

    scene.proxy.refuse(true).await;
    scene.proxy.end(End::Reset);
    sdk.event(&buyer, &["connecting"]);
    for n in 6..=9 {
        sdk.does("publish", publish(n));
    }
    scene.proxy.refuse(false).await;
    let told = sdk.event(&buyer, &["subscribed"]);
    assert_eq!((&told["wasRecovering"], &told["recovered"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(sdk.publications(&buyer, 1), [state(9)], "of several values the last one counts");
    sdk.does("publish", publish(10));
    assert_eq!(sdk.publications(&buyer, 1), [state(10)]);

    // Who comes later has the state at once.
    sdk.connect(&late, json!({ "framing": framing }));
    sdk.subscribe(&late, &channel, "stream", &options);
    assert_eq!(sdk.publications(&late, 1), [state(10)]);
    sdk.does("publish", publish(11));
    for name in [&buyer, &late] {
        assert_eq!(sdk.publications(name, 1), [state(11)]);
    }
    [seller, buyer, late]
        .into_iter()
        .for_each(|name| drop(sdk.does("disconnect", json!({ "client": name }))));
}

/// Who does not read is closed with 3008, comes back by itself, and has all.
pub(super) fn slow(scene: &mut Scene, framing: &str) {
    let channel = format!("slow:{framing}");
    let [writer, reader] = ["hasty", "slow"].map(|name| format!("{name} {framing}"));
    let connect = scene.by_proxy(framing);
    let sdk = &mut scene.sdk;
    sdk.connect(&writer, json!({ "framing": framing }));
    sdk.subscribe(&writer, &channel, "stream", &json!({}));
    let id = sdk.connect(&reader, connect);
    sdk.subscribe(&reader, &channel, "stream", &json!({ "recoverable": true }));
    scene.proxy.weather(Weather { to_client: Flow::Held, ..Weather::default() });
    let told = |node: &sealwire_tests::process::Process| {
        node.log().lines().any(|line| line.contains(&id) && line.contains("code=3008"))
    };
    let end = std::time::Instant::now() + PATIENCE;
    let mut published = 0;
    // First the buffers of the kernel are filled, then the session's queue.
    while !told(&scene.node) {
        assert!(std::time::Instant::now() < end, "after {published} the node has not closed it");
        published += 1;
        let data = json!({ "n": published, "text": "x".repeat(40_000) });
        sdk.does("publish", json!({ "client": writer, "channel": channel, "data": data }));
    }
    scene.proxy.weather(Weather::default());
    let why = sdk.event(&reader, &["connecting"]);
    let why = if why["code"] == 0 { sdk.event(&reader, &["connecting"]) } else { why };
    assert_eq!(why["code"], 3008, "{why}");
    let told = sdk.event(&reader, &["subscribed"]);
    assert_eq!((&told["wasRecovering"], &told["recovered"]), (&json!(true), &json!(true)), "{told}");
    for n in 1..=published {
        assert_eq!(sdk.event(&reader, &["publication"])["data"]["n"], n);
    }
    [writer, reader].into_iter().for_each(|name| drop(sdk.does("disconnect", json!({ "client": name }))));
}
