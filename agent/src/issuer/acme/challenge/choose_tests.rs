#![allow(clippy::unwrap_used)]

use super::*;

const CONFIG: &str = r#"
state_dir = "/s"
[acme.ca]
directory = "https://ca.example/dir"
terms_of_service_agreed = true
challenges = ["tls-alpn-01", "dns-01", "http-01"]
dns = "hook"
[dns.hook]
type = "exec"
program = "/bin/true"
[[certificate]]
name = "web"
identifiers = ["a.example", "*.a.example", "127.0.0.1"]
[[certificate]]
name = "other"
identifiers = ["b.example"]
challenges = ["http-01"]
"#;

fn challenges() -> Challenges {
    let config = Config::from_text(Path::new("t.toml"), CONFIG).unwrap();
    Challenges::new(&config, Path::new("/nonexistent")).unwrap()
}

fn kinds(challenges: &Challenges, certificate: &str, identifier: &str) -> Vec<&'static str> {
    challenges.candidates("ca", certificate, identifier).iter().map(|solver| solver.kind().name()).collect()
}

#[test]
fn each_identifier_has_the_types_that_fit_it_in_order() {
    let challenges = challenges();
    assert_eq!(kinds(&challenges, "web", "a.example"), ["tls-alpn-01", "dns-01", "http-01"]);
    assert_eq!(kinds(&challenges, "web", "*.a.example"), ["dns-01"]);
    assert_eq!(kinds(&challenges, "web", "127.0.0.1"), ["tls-alpn-01", "http-01"]);
    assert_eq!(kinds(&challenges, "other", "b.example"), ["http-01"]);
    assert!(challenges.http01().is_some() && challenges.tls_alpn01().is_some());
    assert!(Challenges::from(Http01::new()).tls_alpn01().is_none());
}

#[test]
fn what_failed_comes_last_until_all_have_failed_or_one_succeeds() {
    let challenges = challenges();
    challenges.failed_with("ca", "a.example", ChallengeKind::TlsAlpn01);
    assert_eq!(kinds(&challenges, "web", "a.example"), ["dns-01", "http-01", "tls-alpn-01"]);
    assert_eq!(kinds(&challenges, "web", "127.0.0.1"), ["tls-alpn-01", "http-01"], "another name");
    challenges.failed_with("ca", "a.example", ChallengeKind::Dns01);
    assert_eq!(kinds(&challenges, "web", "a.example"), ["http-01", "tls-alpn-01", "dns-01"]);
    challenges.failed_with("ca", "a.example", ChallengeKind::Http01);
    assert_eq!(kinds(&challenges, "web", "a.example"), ["tls-alpn-01", "dns-01", "http-01"]);
    challenges.failed_with("ca", "a.example", ChallengeKind::TlsAlpn01);
    challenges.succeeded("ca", &["a.example".to_owned()]);
    assert_eq!(kinds(&challenges, "web", "a.example"), ["tls-alpn-01", "dns-01", "http-01"]);
}

#[test]
fn a_file_that_cannot_be_used_is_told_at_the_start() {
    let text = CONFIG.replace("/bin/true", "/nonexistent/hook");
    let config = Config::from_text(Path::new("t.toml"), &text).unwrap();
    let error = Challenges::new(&config, Path::new("/nonexistent")).err().unwrap();
    assert!(error.message.starts_with("[dns.hook]: program /nonexistent/hook"), "{error}");
}
