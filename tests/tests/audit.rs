//! The audit file of the node: its lines, its end and its new beginning, and what a flood leaves of itself.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use sealwire_tests::eventually;
use sealwire_tests::gate::{Gate, PATH};
use sealwire_tests::process::run;
use sealwire_tests::world::{PATIENCE, World};
use serde_json::{Value, json};

/// What the audit file holds.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_file_is_turned_over_and_a_flood_is_told_in_sum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let extra =
        format!("[gate]\norigins = [\"https://app.test\"]\n[audit]\nfile = {path:?}\nlines_per_second = 5\n");
    let gate = Gate::open(&["node.test"], &extra).await;
    let evil = "Origin: https://evil.test";
    assert_eq!(gate.asker.upgrade(PATH, &[evil]).await.unwrap().status, 403);
    let line = eventually("a line", PATIENCE, || async { lines(&path).into_iter().next() }).await;
    let expected = json!({
        "time": line["time"],
        "what": "origin_refused",
        "address": "127.250.0.2",
        "peer": line["peer"],
        "detail": format!("GET {PATH}: Origin \"https://evil.test\" is not allowed"),
    });
    assert_eq!(line, expected);
    assert!(line["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(line["peer"].as_str().unwrap().starts_with("127.250.0.2:"));
    assert_eq!(gate.node.count("origin_refused"), 0, "in the file and not in the log");

    // logrotate: moved away, then SIGHUP. The node goes on, with a new file.
    let old = dir.path().join("audit.jsonl.1");
    std::fs::rename(&path, &old).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(gate.node.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("a new file", PATIENCE, || async { path.exists().then_some(()) }).await;
    for _ in 0..30 {
        assert_eq!(gate.asker.upgrade(PATH, &[evil]).await.unwrap().status, 403);
    }
    let sum = eventually("a sum", PATIENCE, || async {
        lines(&path).into_iter().find(|line| line["what"] == "left_out")
    })
    .await;
    assert_eq!(sum["left_out"], "origin_refused");
    assert!(sum["count"].as_u64().unwrap() > 0, "{sum}");
    eventually("all are accounted for", PATIENCE, || async {
        let all = lines(&path);
        let told = all.iter().filter(|line| line["what"] == "origin_refused").count() as u64;
        let left_out: u64 = all.iter().filter_map(|line| line["count"].as_u64()).sum();
        (told + left_out == 30).then_some(())
    })
    .await;
    assert_eq!(lines(&old).len(), 1);
    drop(gate);

    // A file that cannot be made is told before anything listens.
    let world = World::new();
    world.configure_node("node-1", 0, &world.delivery_socket(), "[audit]\nfile = \"/nonexistent/audit\"\n");
    let ran = run(&mut world.node_command("node-1"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("audit.file: cannot open /nonexistent/audit: No such file"), "{ran:?}");
}
