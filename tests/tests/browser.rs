//! The official client in a real browser, which verifies TLS against the internal root: it connects, publishes, comes
//! back after a drain, and pages of other sites learn nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use sealwire_tests::process::Process;
use sealwire_tests::tools;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::Value;

const PAGES: u16 = 7001;

fn event(browser: &Process, name: &str) -> Value {
    let line = browser.line(&format!("\"event\":\"{name}\""), PATIENCE);
    serde_json::from_str(&line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium() {
    let names = ["node", "chromium", "certutil", "js/browser.mjs", "js/node_modules/centrifuge"];
    let Some(found) = names.map(tools::find).into_iter().collect::<Option<Vec<_>>>() else { return };
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let origin = format!("http://{}:{PAGES}", world.address);
    let extra = format!("[gate]\norigins = [\"{origin}\"]\n[drain]\nwindow = \"1s\"\n");
    world.configure_node("node-1", 0, &world.delivery_socket(), &extra);
    let (_agent, mut node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let (_, root) = world.roots().await;
    let check = format!("https://{}/connect/check", world.node_address());

    let mut command = Command::new(&found[0]);
    command.arg(&found[3]).args(["--url", &world.url(), "--check", &check, "--ca"]).arg(root);
    command.args(["--bind", &world.address.to_string(), "--port", &PAGES.to_string()]);
    let mut browser = Process::start("chromium", &mut command);
    let allowed = event(&browser, "allowed");
    assert_eq!((&allowed["connected"], &allowed["received"]), (&true.into(), &"first".into()), "{allowed}");
    assert_eq!(
        (&allowed["check"]["status"], &allowed["check"]["ok"]),
        (&200.into(), &true.into()),
        "{allowed}"
    );

    // A page of another site sees a connection that does not come about, and cannot read why.
    let foreign = event(&browser, "foreign");
    assert_eq!((&foreign["code"], &foreign["connected"]), (&1006.into(), &false.into()), "{foreign}");
    assert_eq!(foreign["check"]["error"], "TypeError", "{foreign}");

    // The node stops and another takes its place: the client is told to come back, and does.
    node.terminate();
    let told = event(&browser, "connecting");
    assert_eq!((&told["code"], &told["reason"]), (&3001.into(), &"shutdown".into()), "{told}");
    assert!(node.ended(PATIENCE).success(), "{}", node.log());
    let _node = world.start_node("node-1");
    assert_eq!(event(&browser, "back")["received"], "again");
    browser.close_input();
    let _end = event(&browser, "end");
    assert!(browser.ended(PATIENCE).success(), "{}", browser.log());
}
