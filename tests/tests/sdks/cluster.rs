//! Clients of two nodes that share channels.

use sealwire_tests::eventually;
use sealwire_tests::hook::secret;
use sealwire_tests::issuer::Issuer;
use sealwire_tests::nats::Nats;
use sealwire_tests::sdk::{Maker, Sdk};
use sealwire_tests::wire;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::json;

/// Who comes and goes on one node is told on the other; so is who is there. History that is removed by the API of one
/// is gone for the clients of the other, who begin anew by themselves.
pub(super) async fn shared(maker: Maker) {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let issuer = Issuer::start(world.address).await;
    world.configure_agent(&AgentSettings::default());
    let key = "one-key-of-the-application";
    let keys = secret(&world, "api-keys", key);
    let extra = format!(
        "[token]\nanonymous = true\njwks = {:?}\n[api]\nkeys_file = {keys:?}\n\
         [broker.nats]\nservers = {:?}\npartitions = 2\nreplicas = 1\n\
         [namespaces.room]\ndurability = \"cluster\"\npresence = true\njoin_leave = true\n",
        issuer.url("jwks"),
        nats.urls()
    );
    for (id, offset) in [("node-1", 0), ("node-2", 1)] {
        world.configure_node(id, offset, &world.delivery_socket(), &extra);
    }
    let _agent = world.start_agent();
    let nodes = [world.start_node("node-1"), world.start_node("node-2")];
    world.proven().await;
    let (_, root) = world.roots().await;
    for (number, node) in nodes.iter().enumerate() {
        let admin = (world.address, 9090 + number as u16).into();
        eventually("a node is ready", PATIENCE, || async {
            (wire::admin(admin, "/readyz").await.ok()?.0 == 200).then_some(())
        })
        .await;
        let _fetched = node.line("token keys fetched", PATIENCE);
    }
    let Some(mut sdk) = Sdk::start(maker, &world.url(), &root) else { return };
    let url = |port: u16| format!("wss://{}:{port}/connection/websocket", world.address);
    for framing in super::FRAMINGS {
        let channel = format!("room:{framing}");
        let [here, there] = ["here", "there"].map(|name| format!("{name} {framing}"));
        let mut ids = Vec::new();
        for (name, port) in [(&here, 8443), (&there, 8444)] {
            let claims =
                json!({ "sub": name, "caps": [{ "channels": ["*"], "allow": ["sub", "pub", "prs"] }] });
            let token = issuer.token(&claims, 600);
            ids.push(sdk.connect(name, json!({ "framing": framing, "url": url(port), "token": token })));
            sdk.subscribe(name, &channel, "stream", &json!({ "joinLeave": true, "recoverable": true }));
        }
        let mut join = sdk.event(&here, &["join"]);
        if join["who"] == ids[0] {
            join = sdk.event(&here, &["join"]);
        }
        assert_eq!((&join["who"], &join["user"]), (&json!(ids[1]), &json!(there)), "{join}");
        let expected = json!({ &ids[0]: here, &ids[1]: there });
        eventually("both are told to be there", PATIENCE, || {
            let told = sdk.does("presence", json!({ "client": here, "channel": channel }));
            std::future::ready((told == expected).then_some(()))
        })
        .await;

        // Who ends a subscription, and who goes away.
        for (way, with) in [("unsubscribe", json!({ "channel": channel })), ("disconnect", json!({}))] {
            let passing = format!("{way} {framing}");
            let id = sdk.connect(&passing, json!({ "framing": framing, "url": url(8444) }));
            sdk.subscribe(&passing, &channel, "stream", &json!({}));
            assert_eq!(sdk.event(&here, &["join"])["who"], id);
            let mut with = with;
            with["client"] = passing.into();
            sdk.does(way, with);
            assert_eq!(sdk.event(&here, &["leave"])["who"], id);
        }

        sdk.does("publish", json!({ "client": here, "channel": channel, "data": 1 }));
        assert_eq!(sdk.publications(&there, 1), [json!(1)]);
        let api = format!("http://{}:9090/api/history_remove", world.address);
        let asked = reqwest::Client::new().post(api).header("X-API-Key", key);
        let answer = asked.body(json!({ "channel": channel }).to_string()).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "{\"result\":{}}");
        for name in [&here, &there] {
            let told = sdk.event(name, &["subscribing"]);
            let told = if told["code"] == 0 { sdk.event(name, &["subscribing"]) } else { told };
            assert_eq!(told["code"], 2500, "{told}");
            let told = sdk.event(name, &["subscribed"]);
            assert_eq!((&told["recovered"], &told["at"]["offset"]), (&json!(false), &json!(0)), "{told}");
        }
        sdk.does("publish", json!({ "client": there, "channel": channel, "data": 2 }));
        assert_eq!(sdk.publications(&here, 2), [json!(1), json!(2)]);

        [here, there].into_iter().for_each(|name| drop(sdk.does("disconnect", json!({ "client": name }))));
    }
    for node in nodes {
        assert_eq!(node.count("panicked"), 0, "{}", node.log());
    }
}
