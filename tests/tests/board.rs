//! The example of a shared board, as `make demo` serves it, in a real browser: two pages see what each of them does.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use sealwire_tests::process::{Process, own};
use sealwire_tests::tools;
use sealwire_tests::world::PATIENCE;
use serde_json::Value;

fn event(browser: &Process, name: &str) -> Value {
    let line = browser.line(&format!("\"event\":\"{name}\""), PATIENCE);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn two_pages_share_a_board() {
    let names = ["node", "chromium", "certutil", "js/board.mjs", "js/node_modules/centrifuge"];
    let Some(found) = names.map(tools::find).into_iter().collect::<Option<Vec<_>>>() else { return };
    let arguments = ["--keep", "--seconds", "2", "--every", "1", "--sessions", "10"];
    let mut command = own("sealwire-demo", arguments);
    command.env("SEALWIRE_TOOLS", tools::dir());
    let mut demo = Process::start("demo", &mut command);
    let page = demo.line("?node=wss://", PATIENCE);
    let root = demo.line("openssl s_client", PATIENCE);
    let root = root.split("-CAfile ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();

    let shot = tools::repository().join("target/board.png");
    std::fs::create_dir_all(shot.parent().unwrap()).unwrap();
    let mut command = Command::new(&found[0]);
    command.arg(&found[3]).args(["--page", page.trim(), "--ca", root, "--shot"]).arg(&shot);
    let mut browser = Process::start("board", &mut command);

    // Both show the same note where one of them dragged it, and each the other's cursor.
    let moved = event(&browser, "moved");
    let [here, there] = [&moved["here"], &moved["there"]];
    assert_eq!(here["notes"], there["notes"], "{moved}");
    assert_eq!(here["notes"][0]["text"], "Buy milk", "{moved}");
    assert_ne!(here["notes"][0]["at"], moved["from"], "{moved}");
    assert_eq!((&here["cursors"][0]["name"], &there["cursors"][0]["name"]), (&"bob".into(), &"ann".into()));
    assert_eq!(here["cursors"][0]["at"], serde_json::json!([150, 420]), "{moved}");

    // And it is drawn: pixels have the colours that the style asks for, which the empty board has not.
    let drawn = event(&browser, "drawn");
    for part in ["note", "cursor"] {
        assert_eq!(drawn[part]["pixel"], drawn[part]["style"], "{part}: {drawn}");
        assert_ne!(drawn[part]["pixel"], drawn["background"], "{part}: {drawn}");
    }
    assert_ne!(drawn["note"]["pixel"], drawn["cursor"]["pixel"], "{drawn}");
    assert!(drawn["colours"].as_u64().unwrap() > 20, "text and shadows have more: {drawn}");
    assert_eq!(drawn["size"], serde_json::json!([900, 600]));
    assert!(std::fs::read(&shot).unwrap().starts_with(b"\x89PNG\r\n"), "{}", shot.display());

    let removed = event(&browser, "removed");
    assert_eq!(removed["here"]["notes"], removed["there"]["notes"], "{removed}");
    assert!(browser.ended(PATIENCE).success(), "{}", browser.log());
    demo.interrupt();
    assert!(demo.ended(PATIENCE).success(), "{}", demo.log());
}
