//! The Autobahn test suite judges the node's WebSocket: all cases that are about the protocol itself (1 to 7 and 10) and
//! about its limits (9), strictly.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sealwire_tests::process::Process;
use sealwire_tests::tools;
use sealwire_tests::world::World;
use serde_json::{Value, json};
use wss_node::config::Config;
use wss_node::telemetry::Telemetry;

/// Two minutes on a busy machine; most of that is section 9, with messages of up to 16 MiB.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many cases those sections have in the suite's version 0.8.2.
const CASES: usize = 301;

/// Its largest messages have 16 MiB, in as many as 65,536 fragments.
const CONFIG: &str = "server_names = [\"node.test\"]\n[token]\nanonymous = true\n[gate]\norigins = [\"*\"]\n\
     [limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\nunauthenticated = 0\n\
     [session]\nmessage_bytes = 67108864\nmessage_fragments = 4294967295\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_finds_nothing() {
    let Some(wstest) = tools::find("autobahn/wstest") else { return };
    let world = World::new();
    let listener = tokio::net::TcpListener::bind((world.address, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config::from_text(&world.path("echo.toml"), CONFIG).unwrap();
    let telemetry = Arc::new(Telemetry::start(&config).unwrap());
    let echo = tokio::spawn(wss_node::testing::echo(listener, config, telemetry));

    let cases: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 9, 10].map(|section| format!("{section}.*")).into();
    let spec = json!({
        "outdir": world.path("report"),
        "servers": [{ "agent": "wss-node", "url": format!("ws://{address}/connection/websocket") }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let spec = world.write("fuzzingclient.json", &spec.to_string());
    let mut command = Command::new(wstest);
    command.args(["-m", "fuzzingclient", "-s"]).arg(spec).current_dir(world.path("."));
    let mut suite = Process::start("wstest", &mut command);
    let status = tokio::task::block_in_place(|| suite.ended(PATIENCE));
    assert!(status.success(), "{}", suite.log());
    assert!(!echo.is_finished());

    let report = std::fs::read_to_string(world.path("report/index.json")).unwrap();
    let report: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&report).unwrap();
    let judged = &report["wss-node"];
    let found: Vec<_> = judged.iter().filter(|(_, case)| !is_good(case)).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(judged.len(), CASES, "{:?}", judged.keys());
}

/// Informational cases have no right answer; "non-strict" is a fault.
fn is_good(case: &Value) -> bool {
    ["behavior", "behaviorClose"]
        .iter()
        .all(|aspect| matches!(case[aspect].as_str(), Some("OK" | "INFORMATIONAL")))
}
