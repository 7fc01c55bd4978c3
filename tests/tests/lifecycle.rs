//! Decisions as an operator sees them: the CA's renewal information followed without being asked, `why`, `plan`
//! and `history`, and a clock that a CA contradicts.
#![allow(missing_docs, clippy::unwrap_used)]

mod seed;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use sealwire_tests::eventually;
use sealwire_tests::pebble::{Pebble, manage};
use sealwire_tests::process::Ran;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use seed::ask_at_once;

fn sealwire<const N: usize>(world: &World, arguments: [&str; N]) -> Ran {
    let ran = tokio::task::block_in_place(|| world.run(arguments));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_in_the_past_renews_by_itself_and_counts_as_a_replacement() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    ask_at_once(&world);
    world.configure_agent(&AgentSettings { issuers: pebble.issuer.clone(), ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let agent = world.start_agent();
    let _node = world.start_node("node-1");
    world.proven().await;
    let _told = agent.line("the CA tells when to renew", PATIENCE);
    let why = sealwire(&world, ["why"]).out;
    for part in
        ["the CA's window", "counts for no limit", "asked again", "of 300 in 3h orders used", "survives"]
    {
        assert!(why.contains(part), "{part}:\n{why}");
    }
    // Pebble looks for serial numbers without the zero that DER puts before those that would be negative.
    let serial = world.web().await.unwrap().current.unwrap().serial;
    let is_found = serial.starts_with(|digit: char| digit < '8');
    drop(agent);

    // An incident at the CA: the window now lies in the past, which the agent learns at its next question.
    let chain = std::fs::read_to_string(world.path("state/live/web/fullchain.pem")).unwrap();
    let answer = r#"{"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"},
        "explanationURL": "https://ca.example/incident"}"#;
    let body = serde_json::json!({"Certificate": chain, "ARIResponse": answer});
    let file = world.write("ari.json", &body.to_string());
    assert_eq!(manage(&world, "set-renewal-info/", Some(&format!("@{}", file.display()))), "");
    let memory = world.path("state/certificates/web/memory.json");
    let mut remembered: serde_json::Value = serde_json::from_slice(&std::fs::read(&memory).unwrap()).unwrap();
    remembered["ari"]["next"] = Timestamp::now().to_string().into();
    std::fs::write(&memory, remembered.to_string()).unwrap();

    let agent = world.start_agent();
    eventually("generation 2", PATIENCE, || async {
        let web = world.web().await.filter(|web| web.state == "proven")?;
        (web.current?.generation == 2).then_some(())
    })
    .await;
    let _told = agent.line("https://ca.example/incident", PATIENCE);
    assert_eq!(agent.line("ORDERED", PATIENCE).contains("as a renewal"), is_found, "{serial}");
    assert_eq!(pebble.orders(), 2);
    let history = sealwire(&world, ["history"]).out;
    assert!(
        history.contains("the CA's window 2026-01-01T00:00:00Z") && history.contains("done"),
        "{history}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_foresees_every_order_and_what_an_outage_would_cost() {
    let world = World::new();
    // Some hours after it is due, whatever the time of day: 6 days and 16 hours from now.
    let opens = (Timestamp::now().as_second() / 3600 + 16 + 6) % 24;
    let certificate = format!("maintenance = {{ opens = [\"0 {opens} * * *\"], lasts = \"1h\" }}\n");
    let issuers = "[internal.pki]\nleaf_lifetime = \"240h\"\n".to_owned();
    world.configure_agent(&AgentSettings { issuers, certificate, ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let plan = sealwire(&world, ["plan", "--days", "30", "--json"]).out;
    let orders: Vec<serde_json::Value> =
        plan.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Every two thirds of ten days.
    assert!((4..=5).contains(&orders.len()), "{plan}");
    for order in &orders {
        let at: Timestamp = order["at"].as_str().unwrap().parse().unwrap();
        assert_eq!(at.as_second() % 86_400 / 3600, opens, "in the window: {order}");
        let survives = order["survives_seconds"].as_i64().unwrap();
        assert!((86_400..4 * 86_400).contains(&survives), "{order}");
    }
    let text = sealwire(&world, ["plan"]).out;
    assert!(text.contains("The shortest outage of all issuers that would be felt"), "{text}");
    let why = sealwire(&world, ["why", "web"]).out;
    for part in ["67 % of the lifetime", &format!("0 {opens} * * *"), "maintenance window", "calm"] {
        assert!(why.contains(part), "{part}:\n{why}");
    }
    for (arguments, code, text) in [
        (["plan", "--days", "0"].as_slice(), 2, "expected 1 to 3650"),
        (&["why", "nope"], 2, "no certificate is named"),
        (&["history", "nope"], 2, "no certificate is named"),
    ] {
        let ran = tokio::task::block_in_place(|| world.run(arguments.iter().copied()));
        assert!(ran.code == code && ran.err.contains(text), "{ran:?}");
    }
}

/// A server at `address` whose clock is behind by an hour: any request gets an ACME directory.
fn slow_clock(address: std::net::SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            if stream.read(&mut head).is_err() {
                continue;
            }
            let hour_ago = Timestamp::try_from(SystemTime::now() - Duration::from_hours(1)).unwrap();
            let date = hour_ago.strftime("%a, %d %b %Y %H:%M:%S GMT");
            let body = format!(
                "{{\"newNonce\": \"http://{address}/n\", \"newAccount\": \"http://{address}/a\", \"newOrder\": \"http://{address}/o\"}}"
            );
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_a_ca_contradicts_is_an_incident_and_renews_nothing() {
    let world = World::new();
    slow_clock((world.address, 14000).into());
    let issuers = format!(
        "[internal.pki]\nleaf_lifetime = \"10m\"\n[acme.slow]\ndirectory = \"http://{}:14000/dir\"\nterms_of_service_agreed = true\n",
        world.address
    );
    let certificate = "issuers = [\"pki\"]\n".to_owned();
    world.configure_agent(&AgentSettings { issuers, certificate, ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let incident = eventually("the incident", PATIENCE, || async {
        world.status().await?.incidents.into_iter().find(|incident| incident.about == "clock of slow")
    })
    .await;
    assert!(incident.text.contains("our clock is 1h 0m ahead of that of slow"), "{}", incident.text);
    let text = sealwire(&world, ["status"]).out;
    assert!(text.contains("! warning (clock_skew): clock of slow: our clock is 1h 0m ahead"), "{text}");
    assert_eq!(world.proven().await.orders, 1, "what another CA says is no reason to renew");
}
