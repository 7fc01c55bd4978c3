//! Incidents on their way to people: a real Alertmanager, and receivers that verify what they get.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sealwire_proto::v1::{BreakerState, Incident, IncidentsReply, IncidentsRequest, Report};
use sealwire_tests::alertmanager::Alertmanager;
use sealwire_tests::eventually;
use sealwire_tests::hook::{Request, secret};
use sealwire_tests::inbox::Inbox;
use sealwire_tests::process::{Process, run};
use sealwire_tests::relay::{Relay, Spoil};
use sealwire_tests::scripted_node::ScriptedNode;
use sealwire_tests::steps::Renewal;
use sealwire_tests::tools;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::Value;

const KEY: [u8; 32] = [7; 32];

/// An agent with these receivers, whose only certificate goes nowhere.
async fn start(world: &World, receivers: &str) -> Process {
    let alerts = format!("[alerts]\ninstance = \"edge-1\"\nsettle = \"1s\"\n{receivers}");
    world.configure_agent(&AgentSettings {
        issuers: format!("[internal.pki]\nleaf_lifetime = \"1h\"\n{alerts}"),
        certificate: "nodes = []\n".to_owned(),
        ..AgentSettings::default()
    });
    let agent = world.start_agent();
    world.state("stored").await;
    agent
}

fn alertmanager(world: &World) -> String {
    format!("[alerts.alertmanager.main]\nurl = \"http://{}\"\n", Alertmanager::address(world))
}

fn webhook(world: &World, inbox: &Inbox) -> String {
    let file = secret(world, "hook.key", &format!("whsec_{}\n", BASE64_STANDARD.encode(KEY)));
    format!("[alerts.webhook.hook]\nurl = \"http://{}/hook\"\nsecret_file = \"{file}\"\n", inbox.address)
}

fn pagerduty(world: &World, inbox: &Inbox, more: &str) -> String {
    let file = secret(world, "pagerduty.key", "R0UT1NG\n");
    format!(
        "[alerts.pagerduty.ops]\nurl = \"http://{}/pagerduty\"\nrouting_key_file = \"{file}\"\n{more}",
        inbox.address
    )
}

async fn incidents(world: &World) -> IncidentsReply {
    world.admin().await.incidents(IncidentsRequest { all: true }).await.unwrap().into_inner()
}

/// Waits for an incident of that kind that is open, or over.
async fn incident(world: &World, kind: &str, open: bool) -> Incident {
    eventually(&format!("{kind}, open: {open}"), PATIENCE, || async {
        let all = incidents(world).await.incidents;
        all.into_iter().rfind(|one| one.kind == kind).filter(|one| (one.resolved_ms == 0) == open)
    })
    .await
}

/// Messages that wait on disk for a receiver.
fn spooled(world: &World, receiver: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(world.path("state/alerts").join(receiver)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// Waits until Alertmanager has an alert of that name, or none.
async fn alert(alertmanager: &Alertmanager, name: &str, there: bool) -> Option<Value> {
    eventually(&format!("{name}: {there}"), PATIENCE, || async {
        let alerts = alertmanager.alerts().await?;
        let found = alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name);
        (found.is_some() == there).then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_has_an_alert_for_as_long_as_there_is_an_incident() {
    let world = World::new();
    let Some(receiver) = Alertmanager::start(&world).await else { return };
    let _agent = start(&world, &alertmanager(&world)).await;
    let node = ScriptedNode::pair(&world, "node-7").await;
    assert_eq!(receiver.alerts().await, Some(vec![]));

    node.breaker(BreakerState::Open, "expired").await;
    let found = alert(&receiver, "SealwireBreakerOpen", true).await.unwrap();
    let label = |name: &str| found["labels"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!([label("severity"), label("kind"), label("about")], ["critical", "breaker_open", "node-7"]);
    assert_eq!(label("instance"), "edge-1");
    let annotations = &found["annotations"];
    assert_eq!(annotations["description"], "the breaker is open: expired: as the test says: expired");
    assert_eq!(annotations["runbook"], "docs/operations.md#breaker_open");
    assert_eq!(found["status"]["state"], "active");

    node.breaker(BreakerState::Closed, "").await;
    alert(&receiver, "SealwireBreakerOpen", false).await;
    let over = incident(&world, "breaker_open", false).await;
    assert_eq!((over.count, over.about.as_str()), (1, "node-7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_alertmanager_was_down_is_told_after_the_agent_was_killed() {
    let world = World::new();
    if tools::find("prometheus-alertmanager").is_none() {
        return;
    }
    let mut agent = start(&world, &alertmanager(&world)).await;
    let node = ScriptedNode::pair(&world, "node-7").await;
    node.breaker(BreakerState::Open, "expired").await;
    let open = incident(&world, "breaker_open", true).await;
    eventually("it waits on disk", PATIENCE, || async {
        (spooled(&world, "alertmanager.main").len() == 1).then_some(())
    })
    .await;
    assert_eq!(incidents(&world).await.unsent["alertmanager.main"], 1);
    agent.kill();

    let receiver = Alertmanager::start(&world).await.unwrap();
    let _agent = world.start_agent();
    let found = alert(&receiver, "SealwireBreakerOpen", true).await.unwrap();
    assert_eq!(found["annotations"]["id"], open.id.as_str(), "it is the same incident");
    eventually("nothing waits", PATIENCE, || async {
        let none = incidents(&world).await.unsent["alertmanager.main"] == 0;
        (none && spooled(&world, "alertmanager.main").is_empty()).then_some(())
    })
    .await;
}

/// What PagerDuty was told: action and key.
fn events(inbox: &Inbox) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let taken = inbox.taken("/pagerduty").into_iter();
    taken.map(|event| (text(&event.body["event_action"]), text(&event.body["dedup_key"]))).collect()
}

/// The signature as the documentation says to verify it.
fn signature(request: &Request) -> String {
    let part = |name| request.header(name).unwrap();
    let mut signed = format!("{}.{}.", part("webhook-id"), part("webhook-timestamp")).into_bytes();
    signed.extend(&request.bytes);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signed");
    std::fs::write(&file, signed).unwrap();
    let key = sealwire_proto::hex(&KEY);
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{key}"), "-binary"]);
    let tag = openssl.arg(file).output().unwrap().stdout;
    assert_eq!(tag.len(), 32);
    format!("v1,{}", BASE64_STANDARD.encode(tag))
}

/// Whether the function in docs/operations.md takes a message for genuine, with this body.
fn genuine(request: &Request, body: &[u8]) -> bool {
    let text = std::fs::read_to_string(tools::repository().join("docs/operations.md")).unwrap();
    let function = text.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let headers: Value = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), Value::from(request.header(name).unwrap())))
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("body"), body).unwrap();
    let program = format!(
        "import base64, hmac, time\n{function}\nbody = open({:?}, 'rb').read()\n\
         print(genuine('whsec_{}', {headers}, body))\n",
        dir.path().join("body"),
        BASE64_STANDARD.encode(KEY)
    );
    let ran = run(Command::new("python3").args(["-c", &program]));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.trim() == "True"
}

#[tokio::test(flavor = "multi_thread")]
async fn one_receiver_that_is_down_delays_no_other_and_keeps_its_order() {
    let world = World::new();
    let inbox = Inbox::start(world.address).await;
    // More than will be asked for before it is forgiven.
    inbox.answer("/hook", [503; 100]);
    let receivers =
        format!("{}{}", webhook(&world, &inbox), pagerduty(&world, &inbox, "min_severity = \"critical\"\n"));
    let _agent = start(&world, &receivers).await;
    let (a, b) = (ScriptedNode::pair(&world, "node-a").await, ScriptedNode::pair(&world, "node-b").await);
    a.breaker(BreakerState::Open, "expired").await;
    let first = incident(&world, "breaker_open", true).await.id;
    b.breaker(BreakerState::Open, "revoked").await;
    eventually("two triggers", PATIENCE, || async { (events(&inbox).len() == 2).then_some(()) }).await;
    a.breaker(BreakerState::Closed, "").await;
    eventually("a resolution", PATIENCE, || async { (events(&inbox).len() == 3).then_some(()) }).await;
    let told = events(&inbox);
    let second = told[1].1.clone();
    let event = |action: &str, id: &str| (action.to_owned(), id.to_owned());
    assert_eq!(told, [event("trigger", &first), event("trigger", &second), event("resolve", &first)]);
    let trigger = &inbox.taken("/pagerduty")[0].body;
    assert_eq!(
        (&trigger["routing_key"], &trigger["payload"]["severity"]),
        (&"R0UT1NG".into(), &"critical".into())
    );
    assert_eq!(
        (&trigger["payload"]["source"], &trigger["payload"]["class"]),
        (&"edge-1".into(), &"breaker_open".into())
    );

    // All the while the webhook was asked for the same message, again and again.
    let refused: Vec<_> = inbox.posts("/hook").into_iter().map(|(_, request)| request).collect();
    assert!(!refused.is_empty() && inbox.taken("/hook").is_empty());
    let id = format!("{first}-opened");
    assert!(refused.iter().all(|request| request.header("webhook-id") == Some(&id)), "{refused:?}");
    let ran = tokio::task::block_in_place(|| world.run(["incidents"]));
    assert!(ran.out.contains("! 3 message(s) wait for webhook.hook"), "{ran:?}");

    inbox.forgive("/hook");
    eventually("all", PATIENCE, || async { (inbox.taken("/hook").len() == 3).then_some(()) }).await;
    let taken = inbox.taken("/hook");
    let ids: Vec<_> = taken.iter().map(|request| request.header("webhook-id").unwrap()).collect();
    assert_eq!(ids, [id, format!("{second}-opened"), format!("{first}-resolved")]);
    for request in &taken {
        assert_eq!(request.header("webhook-signature"), Some(signature(request).as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let told: i64 = request.header("webhook-timestamp").unwrap().parse().unwrap();
        let age = jiff::Timestamp::now().as_second() - told;
        assert!((0..60).contains(&age), "the time of the attempt: {age} s ago");
    }
    assert!(genuine(&taken[2], &taken[2].bytes), "as the documentation verifies it");
    let tampered = String::from_utf8(taken[2].bytes.clone()).unwrap().replace("resolved", "opened");
    assert!(!genuine(&taken[2], tampered.as_bytes()));
    assert_eq!(taken[2].body["type"], "incident.resolved");
    assert_eq!(taken[2].body["data"]["about"], "node-a");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_through_a_kill_and_are_sent_in_order_once_taken() {
    let world = World::new();
    let inbox = Inbox::start(world.address).await;
    inbox.answer("/hook", [500; 100]);
    let mut agent = start(&world, &webhook(&world, &inbox)).await;
    let (a, b) = (ScriptedNode::pair(&world, "node-a").await, ScriptedNode::pair(&world, "node-b").await);
    a.breaker(BreakerState::Open, "expired").await;
    incident(&world, "breaker_open", true).await;
    b.breaker(BreakerState::Open, "expired").await;
    eventually("both wait", PATIENCE, || async {
        (spooled(&world, "webhook.hook").len() == 2).then_some(())
    })
    .await;
    agent.kill();
    inbox.forgive("/hook");
    let _agent = world.start_agent();
    eventually("both", PATIENCE, || async { (inbox.taken("/hook").len() >= 2).then_some(()) }).await;
    eventually("nothing waits", PATIENCE, || async {
        spooled(&world, "webhook.hook").is_empty().then_some(())
    })
    .await;
    let taken = inbox.taken("/hook");
    let about: Vec<_> = taken.iter().map(|request| request.body["data"]["about"].as_str().unwrap()).collect();
    assert_eq!(about, ["node-a", "node-b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_dropped_and_others_are_told_of_it() {
    let world = World::new();
    let inbox = Inbox::start(world.address).await;
    inbox.answer("/hook", [400]);
    let receivers = format!("{}{}", webhook(&world, &inbox), pagerduty(&world, &inbox, ""));
    let agent = start(&world, &receivers).await;
    let (a, b) = (ScriptedNode::pair(&world, "node-a").await, ScriptedNode::pair(&world, "node-b").await);
    a.breaker(BreakerState::Open, "expired").await;
    let unsent = incident(&world, "alerts_unsent", true).await;
    assert_eq!(unsent.about, "webhook.hook");
    assert!(unsent.text.contains("it answers 400"), "{}", unsent.text);
    let _dropped = agent.line("an alert was given up", PATIENCE);
    eventually("others are told", PATIENCE, || async {
        events(&inbox).iter().any(|(action, id)| action == "trigger" && *id == unsent.id).then_some(())
    })
    .await;
    // The next one gets through, and it is well again; of its own failing it never heard.
    b.breaker(BreakerState::Open, "expired").await;
    incident(&world, "alerts_unsent", false).await;
    let heard: Vec<_> = inbox.taken("/hook").iter().map(|post| post.body["data"]["kind"].clone()).collect();
    assert_eq!(heard, ["breaker_open"]);
    assert_eq!(inbox.posts("/hook").len(), 2, "the refused one was not tried again");
    for secret in ["R0UT1NG", &BASE64_STANDARD.encode(KEY)] {
        assert!(!agent.log().contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_in_masses_are_incidents() {
    let world = World::new();
    let _agent = start(&world, "").await;
    let node = ScriptedNode::pair(&world, "node-7").await;
    let report = |handshakes, resets: u64, expired: u64| Report {
        handshakes,
        handshake_failures: resets + expired,
        failures: [("reset".to_owned(), resets), ("certificate_expired".to_owned(), expired)].into(),
        ..Report::default()
    };
    node.report(report(1000, 900, 900)).await;
    node.report(report(1010, 930, 904)).await;
    node.report(report(1020, 959, 904)).await;
    // The order of reports is kept, so once this one shows the others were judged.
    node.breaker(BreakerState::Open, "expired").await;
    incident(&world, "breaker_open", true).await;
    let kinds: Vec<_> = incidents(&world).await.incidents.into_iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["breaker_open"], "59 resets and 4 clients are not masses");

    // That report had no counts, as after a restart of the node: these are new.
    node.report(report(10, 60, 5)).await;
    let storm = incident(&world, "reset_storm", true).await;
    assert_eq!(storm.about, "node-7");
    assert!(storm.text.starts_with("60 of 75 handshakes were reset"), "{}", storm.text);
    let expired = incident(&world, "expired_handshakes", true).await;
    assert!(expired.text.starts_with("5 of 75 handshakes"), "{}", expired.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_incident_that_people_can_read_and_that_survives_a_kill() {
    let world = World::new();
    let issuers = "[internal.pki]\nleaf_lifetime = \"1h\"\n[alerts]\nsettle = \"2s\"\n".to_owned();
    world.configure_agent(&AgentSettings { issuers, ..AgentSettings::default() });
    let mut agent = world.start_agent();
    eventually("the agent is up", PATIENCE, || world.status()).await;
    let relay = Relay::start(&world.path("run/relay.sock"), &world.delivery_socket());
    world.configure_node("node-1", 0, &world.path("run/relay.sock"), "");
    let _node = world.start_node("node-1");
    world.proven().await;
    let ran = tokio::task::block_in_place(|| world.run(["incidents"]));
    assert_eq!((ran.code, ran.out.as_str()), (0, "no incident is open\n"));

    relay.set(Spoil::OtherName);
    let bad = Renewal::follow(&mut world.admin().await, true).await.unwrap();
    assert!(!bad.is_done());
    let refused = incident(&world, "refused", true).await;
    assert_eq!(refused.about, "web on node-1");
    assert!(refused.text.contains("NAME_MISMATCH"), "{}", refused.text);
    // Back at the last good one, which is proven again: the new one is wanted all the same.
    world.state("refused").await;
    agent.kill();
    let _agent = world.start_agent();
    world.state("refused").await;
    assert_eq!(incident(&world, "refused", true).await.id, refused.id);
    let cli = |arguments: &[&str]| {
        let ran = tokio::task::block_in_place(|| world.run(arguments.iter().copied()));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    };
    let text = cli(&["incidents"]);
    for part in ["SEVERITY", "warning", "refused", "web on node-1", "NAME_MISMATCH", "docs/operations.md"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(cli(&["status"]).contains("! warning (refused): web on node-1: "));

    relay.set(Spoil::Nothing);
    let good = Renewal::follow(&mut world.admin().await, true).await.unwrap();
    assert!(good.is_done(), "{:?}", good.steps);
    incident(&world, "refused", false).await;
    assert_eq!(cli(&["incidents"]), "no incident is open\n");
    let all: Value = serde_json::from_str(&cli(&["incidents", "--all", "--json"])).unwrap();
    let over = &all["incidents"][0];
    assert_eq!((&over["id"], &over["kind"]), (&refused.id.into(), &"refused".into()));
    assert!(over["resolved"].is_string() && all["unsent"].as_object().unwrap().is_empty(), "{all}");
}
