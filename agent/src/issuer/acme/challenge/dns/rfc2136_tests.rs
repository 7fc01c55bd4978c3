#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::super::test_server::TestServer;
use super::*;
use crate::config::DnsType;
use crate::issuer::ErrorClass;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key_file(key: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", BASE64_STANDARD.encode(key)).unwrap();
    file
}

fn config(server: SocketAddr, key: &tempfile::NamedTempFile, more: &str) -> DnsConfig {
    let text = format!(
        "type = \"rfc2136\"\nserver = \"{server}\"\ntsig_name = \"key.example\"\ntsig_key_file = \"{}\"\n{more}",
        key.path().display()
    );
    use figment::providers::{Format, Toml};
    figment::Figment::from(Toml::string(&text)).extract().unwrap()
}

fn record(name: &str, value: &str) -> Record {
    Record { fqdn: Name::from_ascii(name).unwrap(), value: value.into(), identifier: "a.example".into() }
}

#[tokio::test]
async fn values_live_side_by_side_and_only_ours_is_removed() {
    let algorithms = [
        ("", Algorithm::HmacSha256),
        ("tsig_algorithm = \"hmac-sha384\"", Algorithm::HmacSha384),
        ("tsig_algorithm = \"hmac-sha512\"", Algorithm::HmacSha512),
    ];
    for (more, algorithm) in algorithms {
        let server = TestServer::start("example.", Some(("key.example.", algorithm, KEY))).await;
        let name = "_acme-challenge.a.example.";
        server.txt(name, "somebody else's");
        let key = key_file(KEY);
        let provider = Rfc2136::new(&config(server.address(), &key, more)).unwrap();
        provider.change(Action::Present, &record(name, "one")).await.unwrap();
        provider.change(Action::Present, &record(name, "two")).await.unwrap();
        assert_eq!(server.values(name), ["one", "somebody else's", "two"], "{more}");
        provider.change(Action::Cleanup, &record(name, "one")).await.unwrap();
        assert_eq!(server.values(name), ["somebody else's", "two"]);
        provider.change(Action::Cleanup, &record(name, "gone already")).await.unwrap();
        assert_eq!(server.values(name), ["somebody else's", "two"]);
    }
}

#[tokio::test]
async fn refusals_say_what_to_compare() {
    let server = TestServer::start("example.", Some(("key.example.", Algorithm::HmacSha256, KEY))).await;
    let name = "_acme-challenge.a.example.";
    let wrong = key_file(b"another key, thirty-two bytes lon");
    let provider = Rfc2136::new(&config(server.address(), &wrong, "")).unwrap();
    let error = provider.change(Action::Present, &record(name, "v")).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.contains("refuses TSIG key \"key.example\": BadSig"), "{error}");

    let key = key_file(KEY);
    let mut other = config(server.address(), &key, "");
    other.tsig_name = Some("nobody.example".into());
    let error = Rfc2136::new(&other).unwrap().change(Action::Present, &record(name, "v")).await.unwrap_err();
    assert!(error.message.contains("BadKey"), "{error}");

    let mut unsigned = config(server.address(), &key, "");
    (unsigned.tsig_name, unsigned.tsig_key_file) = (None, None);
    let error =
        Rfc2136::new(&unsigned).unwrap().change(Action::Present, &record(name, "v")).await.unwrap_err();
    assert!(error.message.contains("update-policy"), "{error}");

    let provider = Rfc2136::new(&config(server.address(), &key, "zone = \"other\"")).unwrap();
    let error = provider.change(Action::Present, &record(name, "v")).await.unwrap_err();
    assert!(error.message.contains("not in the zone other"), "{error}");
    let provider = Rfc2136::new(&config(server.address(), &key, "")).unwrap();
    let error =
        provider.change(Action::Present, &record("_acme-challenge.a.elsewhere.", "v")).await.unwrap_err();
    assert!(error.message.contains("knows no zone"), "{error}");
    assert!(server.values(name).is_empty());
}

#[tokio::test]
async fn an_answer_that_is_not_signed_is_not_believed() {
    // This server has no key: it takes the update and does not sign.
    let server = TestServer::start("example.", None).await;
    let key = key_file(KEY);
    let provider = Rfc2136::new(&config(server.address(), &key, "")).unwrap();
    let error =
        provider.change(Action::Present, &record("_acme-challenge.a.example.", "v")).await.unwrap_err();
    assert!(error.message.contains("no good signature"), "{error}");
}

#[test]
fn key_files_are_checked_at_the_start() {
    let server = "127.0.0.1:53".parse().unwrap();
    let key = key_file(KEY);
    std::fs::set_permissions(key.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Rfc2136::new(&config(server, &key, "")).err().unwrap();
    assert!(error.message.contains("chmod 0600"), "{error}");
    let mut text = tempfile::NamedTempFile::new().unwrap();
    text.write_all(b"not base64!").unwrap();
    let error = Rfc2136::new(&config(server, &text, "")).err().unwrap();
    assert!(error.message.contains("is not base64") && !error.message.contains("not base64!"), "{error}");
    let mut gone = config(server, &key, "");
    assert_eq!(gone.r#type, DnsType::Rfc2136);
    gone.tsig_key_file = Some("/nonexistent".into());
    assert!(Rfc2136::new(&gone).err().unwrap().message.contains("/nonexistent does not exist"));
}
