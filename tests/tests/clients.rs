//! The official Centrifuge clients, unmodified: they connect with TLS verified, subscribe, publish and
//! receive, and renewals under them are not noticed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use sealwire_tests::process::Process;
use sealwire_tests::steps::Renewal;
use sealwire_tests::tools;
use sealwire_tests::world::{PATIENCE, World};

async fn sessions_survive_renewals(name: &str, mut client: Command) {
    let world = World::new();
    let (_agent, mut node) = world.start().await;
    let (_, root) = world.roots().await;
    client
        .args(["--url", &world.url(), "--channel", "news", "--publish", "50", "--expect", "50"])
        .args(["--sessions", "5", "--deadline", "60", "--hold", "--ca"])
        .arg(root);
    let mut client = Process::start(name, &mut client);
    let _ready = client.line("\"ready\"", PATIENCE);
    let received = client.line("\"received\"", PATIENCE);
    let received: serde_json::Value = serde_json::from_str(&received).unwrap();
    assert_eq!((&received["gaps"], &received["publications"]), (&0.into(), &50.into()), "{received}");

    let mut admin = world.admin().await;
    for _ in 0..3 {
        assert!(Renewal::follow(&mut admin, false).await.unwrap().is_done());
    }
    client.close_input();
    let end = client.line("\"end\"", PATIENCE);
    let end: serde_json::Value = serde_json::from_str(&end).unwrap();
    assert_eq!((&end["disconnects"], &end["sessions_open"]), (&0.into(), &5.into()), "{end}");
    assert!(client.ended(PATIENCE).success(), "{}", client.log());

    // The node gives everything back and stops in good order.
    node.terminate();
    assert!(node.ended(Duration::from_secs(30)).success(), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    let (Some(node), Some(_)) = (tools::find("node"), tools::find("js/node_modules/centrifuge")) else {
        return;
    };
    let mut client = Command::new(node);
    client.arg(tools::dir().join("js/session.mjs"));
    sessions_survive_renewals("centrifuge-js", client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    let Some(python) = tools::find("python/bin/python") else { return };
    let mut client = Command::new(python);
    client.arg(tools::repository().join("tests/clients/python/session.py"));
    sessions_survive_renewals("centrifuge-python", client).await;
}
