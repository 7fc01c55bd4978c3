#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

fn audit(file: Option<&Path>, lines_per_second: u32) -> Audit {
    let config = AuditConfig { file: file.map(Path::to_owned), lines_per_second, remembered: 100 };
    Audit::new(&config, Arc::default()).unwrap()
}

fn refused(address: &str) -> Entry {
    Entry {
        what: "origin_refused",
        address: address.parse().ok(),
        session: None,
        user: None,
        tenant: Some("acme".to_owned()),
        detail: "Origin \"null\" is not allowed".to_owned(),
    }
}

#[tokio::test]
async fn a_flood_is_told_in_sum_and_remembered_and_halts_are_told_in_any_case() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = audit(Some(&path), 5);
    for _ in 0..50 {
        audit.record_from(&refused("192.0.2.1"), "10.0.0.1:5".parse().unwrap());
    }
    for _ in 0..20 {
        audit.note("breaker_open", "expired".to_owned());
    }
    tokio::time::sleep(SUM_EVERY).await;
    audit.flush().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |what: &str| lines.iter().filter(|line| line["what"] == what).count();
    // A slow machine may let one or two more through meanwhile.
    assert!((5..10).contains(&count("origin_refused")), "{text}");
    assert_eq!((count("breaker_open"), count("left_out")), (20, 1), "{text}");
    let sum = lines.iter().find(|line| line["what"] == "left_out").unwrap();
    let left_out = sum["count"].as_u64().unwrap() as usize;
    assert_eq!(
        (sum["left_out"].as_str().unwrap(), left_out + count("origin_refused")),
        ("origin_refused", 50)
    );
    assert!(
        sum["detail"].as_str().unwrap().starts_with(&format!("{left_out} more origin_refused in the last "))
    );
    assert_eq!(Counters::get(&audit.counters.audit_left_out), left_out as u64);
    let first = &lines[0];
    assert_eq!((first["address"].as_str(), first["peer"].as_str()), (Some("192.0.2.1"), Some("10.0.0.1:5")));
    assert_eq!((first["tenant"].as_str(), first.get("session")), (Some("acme"), None));
    assert_eq!(audit.about("192.0.2.1", 100).len(), 50, "all are remembered");
}

#[test]
fn without_a_file_all_is_remembered_just_the_same() {
    let audit = audit(None, 1);
    for _ in 0..150 {
        audit.record(&refused("2001:db8::1"));
    }
    assert_eq!((audit.about("2001:db8::/32", 1000).len(), audit.forgotten()), (100, 50));
    assert_eq!(audit.about("2001:db8::1", 3).len(), 3);
}
