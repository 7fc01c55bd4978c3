#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn patterns(texts: &[&str]) -> Vec<OriginPattern> {
    texts.iter().map(|text| OriginPattern::parse(text).unwrap_or_else(|| panic!("{text}"))).collect()
}

#[test]
fn what_browsers_do_not_write_is_no_origin() {
    for text in [
        "null",
        "",
        "*",
        "https:",
        "https://",
        "//a.example",
        "a.example",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example#x",
        "https://user@a.example",
        "https://user:pass@a.example",
        "https://a.example:",
        "https://a.example:99999",
        "https://a.example https://b.example",
        "https://a.example, https://b.example",
        "https://a..example",
        "https://*.example",
        "https://[::1",
        "1https://a.example",
        "ht tps://a.example",
        "https://a.example\\@b.example",
        "https://b\u{fc}cher.example",
    ] {
        assert_eq!(Origin::parse(text), None, "{text:?}");
    }
}

#[test]
fn origins_are_matched_by_scheme_host_and_port() {
    let cases = [
        ("https://app.example.com", "https://app.example.com", true),
        ("https://app.example.com", "HTTPS://APP.Example.COM", true),
        ("https://app.example.com", "https://app.example.com:443", true),
        ("https://app.example.com:443", "https://app.example.com", true),
        ("https://app.example.com", "https://app.example.com:444", false),
        ("https://app.example.com", "http://app.example.com", false),
        ("https://app.example.com", "http://app.example.com:443", false),
        ("https://app.example.com", "https://app.example.com.", false),
        ("https://app.example.com.", "https://app.example.com.", true),
        ("https://app.example.com", "https://app.example.com.evil", false),
        ("https://app.example.com", "https://evil-app.example.com", false),
        ("https://app.example.com", "https://example.com", false),
        ("http://localhost:3000", "http://localhost:3000", true),
        ("http://localhost:3000", "http://localhost", false),
        ("http://localhost", "http://localhost:80", true),
        ("https://*.example.com", "https://a.example.com", true),
        ("https://*.example.com", "https://a.b.example.com", true),
        ("https://*.example.com", "https://example.com", false),
        ("https://*.example.com", "https://evilexample.com", false),
        ("https://*.example.com", "http://a.example.com", false),
        ("https://*.example.com", "https://a.example.com:8443", false),
        ("https://*.example.com:8443", "https://a.example.com:8443", true),
        ("https://[2001:db8::1]", "https://[2001:DB8:0:0::1]:443", true),
        ("https://[2001:db8::1]", "https://[2001:db8::2]", false),
        ("https://192.0.2.1", "https://192.0.2.1", true),
        ("https://xn--bcher-kva.example", "https://XN--bcher-kva.example", true),
        ("capacitor://localhost", "capacitor://localhost", true),
        ("capacitor://localhost", "capacitor://localhost:1", false),
        ("*", "https://anything.example:1", true),
    ];
    for (pattern, origin, expected) in cases {
        let allowed = Origin::parse(origin).unwrap().is_allowed(&patterns(&[pattern]), None);
        assert_eq!(allowed, expected, "{pattern} {origin}");
    }
}

#[test]
fn without_patterns_only_pages_of_the_same_host_and_port_over_tls_may() {
    let cases = [
        ("https://a.example", "a.example", true),
        ("https://a.example", "A.example:443", true),
        ("https://a.example:8443", "a.example:8443", true),
        ("https://a.example", "a.example:8443", false),
        ("http://a.example", "a.example", false),
        ("https://b.example", "a.example", false),
        ("https://[::1]:8443", "[::1]:8443", true),
    ];
    for (origin, host, expected) in cases {
        let (origin, host) = (Origin::parse(origin).unwrap(), Authority::parse(host));
        assert_eq!(origin.is_allowed(&[], host.as_ref()), expected, "{origin:?} {host:?}");
    }
    assert!(!Origin::parse("https://a.example").unwrap().is_allowed(&[], None));
}

#[test]
fn patterns_that_mean_nothing_are_refused() {
    for text in [
        "",
        "null",
        "example.com",
        "https://",
        "https://*",
        "https://a.example/",
        "https://*.*.example.com",
        "https://a*.example.com",
        "https://*.192.0.2.1",
        "https://*.[::1]",
        "*://a.example",
        "https://a.example:*",
        "https://a.example:0x1",
        "**",
    ] {
        assert_eq!(OriginPattern::parse(text), None, "{text:?}");
    }
}

/// What a person would say: the labels of the host, compared from the right.
fn naive(pattern: (&str, &[&str], bool, u16), origin: (&str, &[&str], u16)) -> bool {
    let (scheme, labels, wildcard, port) = pattern;
    let ends_alike = origin.1.iter().rev().zip(labels.iter().rev()).all(|(a, b)| a == b);
    let length = if wildcard { origin.1.len() > labels.len() } else { origin.1.len() == labels.len() };
    scheme == origin.0 && port == origin.2 && ends_alike && length
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(
        scheme in 0..2usize, other_scheme in 0..2usize,
        labels in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "example"]), 1..4),
        others in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "example"]), 1..5),
        wildcard: bool,
        port in prop::sample::select(vec![None, Some(80), Some(443), Some(8443)]),
        other_port in prop::sample::select(vec![None, Some(80), Some(443), Some(8443)]),
    ) {
        let schemes = [("https", 443), ("http", 80)];
        let ((scheme, default), (other, other_default)) = (schemes[scheme], schemes[other_scheme]);
        let suffix = |port: Option<u16>| port.map(|port| format!(":{port}")).unwrap_or_default();
        let star = if wildcard { "*." } else { "" };
        let pattern = format!("{scheme}://{star}{}{}", labels.join("."), suffix(port));
        let origin = format!("{other}://{}{}", others.join("."), suffix(other_port));
        let expected = naive(
            (scheme, &labels, wildcard, port.unwrap_or(default)),
            (other, &others, other_port.unwrap_or(other_default)),
        );
        let allowed = Origin::parse(&origin).unwrap().is_allowed(&patterns(&[&pattern]), None);
        prop_assert_eq!(allowed, expected, "{} {}", pattern, origin);
    }

    #[test]
    fn never_panics_and_never_takes_what_is_not_ascii(text in "\\PC*") {
        if let Some(origin) = Origin::parse(&text) {
            prop_assert!(text.is_ascii(), "{:?}", origin);
        }
    }
}
