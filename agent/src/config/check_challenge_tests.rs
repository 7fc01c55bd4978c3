#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::config::{ChallengeKind, Config};

const GOOD: &str = r#"
state_dir = "/s"
[acme.ca]
directory = "https://ca.example/dir"
terms_of_service_agreed = true
challenges = ["dns-01", "http-01"]
dns = "zone"
[acme.other]
directory = "https://other.example/dir"
terms_of_service_agreed = true
[dns.zone]
type = "rfc2136"
server = "127.0.0.1:53"
tsig_name = "key"
tsig_key_file = "/key"
[[certificate]]
name = "web"
identifiers = ["a.example", "*.a.example", "127.0.0.1"]
issuers = ["ca"]
"#;

fn load(text: &str) -> Result<Config, String> {
    Config::from_text(Path::new("t.toml"), text).map_err(|error| error.to_string())
}

fn error_of(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    load(&GOOD.replace(from, to)).unwrap_err()
}

#[test]
fn defaults_and_overrides() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.acme["other"].challenges, [ChallengeKind::Http01]);
    let text = GOOD.replace(
        "issuers = [\"ca\"]",
        "issuers = [\"ca\"]\nchallenges = [\"dns-persist-01\", \"tls-alpn-01\"]",
    );
    let own = load(&text).unwrap().certificates[0].challenges.clone().unwrap();
    assert_eq!(own, [ChallengeKind::DnsPersist01, ChallengeKind::TlsAlpn01]);
}

#[test]
fn every_identifier_needs_a_type_that_fits() {
    let text = error_of("[\"dns-01\", \"http-01\"]", "[\"http-01\", \"tls-alpn-01\"]");
    assert!(text.starts_with("t.toml:6: acme.ca.challenges: *.a.example of certificate \"web\""), "{text}");
    assert!(text.contains("\"dns-01\" or \"dns-persist-01\" only"), "{text}");
    let text = error_of("[\"dns-01\", \"http-01\"]", "[\"dns-01\"]");
    assert!(text.contains("127.0.0.1 of") && text.contains("\"http-01\" or \"tls-alpn-01\" only"), "{text}");
    let text = error_of("issuers = [\"ca\"]", "issuers = [\"ca\"]\nchallenges = [\"http-01\"]");
    assert!(text.contains("certificate.0.challenges: *.a.example"), "{text}");
    assert!(error_of("[\"dns-01\", \"http-01\"]", "[]").contains("is empty"));
    assert!(error_of("[\"dns-01\", \"http-01\"]", "[\"dns-01\", \"dns-01\"]").contains("stands twice"));
    assert!(error_of("\"dns-01\", ", "\"dns-02\", ").contains("dns-02"));
}

#[test]
fn dns_01_needs_a_provider_that_exists() {
    let text = error_of("dns = \"zone\"\n", "");
    assert!(text.contains("acme.ca.challenges: \"dns-01\" needs a provider"), "{text}");
    let text = error_of("dns = \"zone\"\n", "dns = \"zonk\"\n");
    assert!(text.contains("acme.ca.dns: \"zonk\" is not configured; add [dns.zonk]"), "{text}");
    let text = error_of("issuers = [\"ca\"]", "issuers = [\"ca\"]\ndns = \"zonk\"");
    assert!(text.contains("certificate.0.dns: \"zonk\""), "{text}");
}

#[test]
fn keys_of_providers_go_with_their_type() {
    let text = error_of("type = \"rfc2136\"", "type = \"webhook\"\nurl = \"https://h.example/\"");
    assert!(text.contains("dns.zone.server: does not go with type = \"webhook\""), "{text}");
    let text = error_of("server = \"127.0.0.1:53\"\n", "");
    assert!(text.contains("dns.zone: `server` is missing"), "{text}");
    let text = error_of("tsig_name = \"key\"\n", "");
    assert!(text.contains("belong together"), "{text}");
    assert!(error_of("\"/key\"", "\"key\"").contains("dns.zone.tsig_key_file: \"key\" is relative"));
    assert!(error_of("tsig_name", "tsig_nane").contains("tsig_nane"));
    for (url, good) in [
        ("https://h.example/x", true),
        ("http://127.0.0.1:80/x", true),
        ("http://[::1]/x", true),
        ("http://h.example/x", false),
        ("http://127.0.0.1.evil.example/", false),
        ("ftp://127.0.0.1/", false),
        ("h.example", false),
    ] {
        let hook = format!("[dns.hook]\ntype = \"webhook\"\nurl = \"{url}\"\n[[certificate]]");
        assert_eq!(load(&GOOD.replace("[[certificate]]", &hook)).is_ok(), good, "{url}");
    }
}

#[test]
fn stateless_needs_one_account_per_name() {
    let stateless = format!("{GOOD}\n[http01]\nstateless = true\n");
    load(&stateless).unwrap();
    let text = load(&stateless.replace("issuers = [\"ca\"]", "issuers = [\"ca\", \"other\"]")).unwrap_err();
    assert!(text.contains("*.a.example"), "wildcards come first: {text}");
    let two = stateless
        .replace("\"*.a.example\", ", "")
        .replace("issuers = [\"ca\"]", "issuers = [\"ca\", \"other\"]");
    let text = load(&two).unwrap_err();
    assert!(text.contains("certificate.0.issuers: a.example is validated by \"http-01\" for both"), "{text}");
}
