#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::super::dns::test_server::TestServer;
use super::*;

fn facts(identifier: &str) -> Facts {
    Facts {
        identifier: identifier.into(),
        token: String::new(),
        key_authorization: String::new(),
        account_uri: "https://ca.example/acct/1".into(),
        issuer_domains: vec!["ca.example".into(), "other.example".into()],
    }
}

#[test]
fn records_are_read_as_cas_read_them() {
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let base = |record| allows(record, &facts("a.example"), now);
    let wildcard = |record| allows(record, &facts("*.a.example"), now);
    let good = "ca.example; accounturi=https://ca.example/acct/1";
    assert!(base(good) && !wildcard(good));
    assert!(base("other.example ;\tAccountURI = https://ca.example/acct/1"));
    let both = "ca.example; accounturi=https://ca.example/acct/1; policy=WildCard";
    assert!(base(both) && wildcard(both));
    for bad in [
        "",
        "ca.example",
        "evil.example; accounturi=https://ca.example/acct/1",
        "ca.example; accounturi=https://ca.example/acct/2",
        "ca.example; accounturi=https://ca.example/acct/1;",
        "ca.example; accounturi=https://ca.example/acct/1; policy",
        "ca.example; accounturi=https://ca.example/acct/1; persistUntil=1700000000",
        "ca.example; accounturi=https://ca.example/acct/1; persistUntil=soon",
    ] {
        assert!(!base(bad), "{bad}");
    }
    assert!(base("ca.example; accounturi=https://ca.example/acct/1; persistUntil=4000000000"));
    assert!(!wildcard("ca.example; accounturi=https://ca.example/acct/1; policy=other"));
}

#[tokio::test]
async fn a_missing_record_is_told_in_full_and_a_standing_one_is_enough() {
    let server = TestServer::start("example.", None).await;
    let solver = DnsPersist01 { resolver: Resolver::new(&[&[server.address()]]), look: true };
    let soon = || Instant::now() + Duration::from_secs(10);
    let error = solver.prepare(&facts("*.a.example"), soon()).await.err().unwrap();
    let record = "_validation-persist.a.example. TXT \"ca.example; accounturi=https://ca.example/acct/1; policy=wildcard\"";
    assert!(error.message.contains(&format!("set this record once, then renew: {record} (")), "{error}");

    server.txt(
        "_validation-persist.a.example.",
        "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard",
    );
    for identifier in ["a.example", "*.a.example"] {
        solver.prepare(&facts(identifier), soon()).await.unwrap().clean_up().await;
    }
    let unsaid = Facts { issuer_domains: Vec::new(), ..facts("a.example") };
    assert_eq!(solver.prepare(&unsaid, soon()).await.err().unwrap().class, ErrorClass::Ca);
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_left_to_the_ca() {
    let solver = DnsPersist01 { resolver: Resolver::new(&[&["127.0.0.1:9".parse().unwrap()]]), look: true };
    let soon = Instant::now() + Duration::from_secs(20);
    assert!(solver.prepare(&facts("a.example"), soon).await.is_ok());
}

#[test]
fn what_the_ca_wants_is_remembered() {
    let json = br#"{"challenges": [{"type": "http-01", "token": "t"},
        {"type": "dns-persist-01", "issuer-domain-names": ["ca.example"]}]}"#;
    let standing =
        Standing { account_uri: "https://ca.example/acct/1".into(), issuer_domains: issuer_domains(json) };
    assert_eq!(standing.issuer_domains, ["ca.example"]);
    assert!(issuer_domains(b"<html>").is_empty());
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(remembered(dir.path()), None);
    standing.remember(dir.path());
    assert_eq!(remembered(dir.path()).unwrap(), standing);
    assert_eq!(
        standing.record("a.example"),
        "_validation-persist.a.example. TXT \"ca.example; accounturi=https://ca.example/acct/1\""
    );
}
