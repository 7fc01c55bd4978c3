#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Proxies: 10.0.0.0/8 and 2001:db8:ff::/48.
fn proxy(header: ForwardedHeader) -> ProxyConfig {
    let trusted = ["10.0.0.0/8", "2001:db8:ff::/48"].map(|network| network.parse().unwrap()).to_vec();
    ProxyConfig { trusted, header, sticky_cookie: None }
}

fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name.clone(), line.parse().unwrap());
    }
    headers
}

fn client(header: ForwardedHeader, lines: &[&str], hop: &str) -> Result<String, Unreadable> {
    let name = match header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => FORWARDED,
        ForwardedHeader::XRealIp => X_REAL_IP,
    };
    client_address(hop.parse().unwrap(), &headers(&name, lines), &proxy(header))
        .map(|address| address.to_string())
}

const PROXY: &str = "10.0.0.1";

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    use ForwardedHeader::{Forwarded, XForwardedFor, XRealIp};
    let forged: [(ForwardedHeader, &[&str]); 5] = [
        (XForwardedFor, &["198.51.100.7"]),
        (XForwardedFor, &["10.0.0.2", "garbage"]),
        (Forwarded, &["for=198.51.100.7"]),
        (Forwarded, &["for=\"unterminated"]),
        (XRealIp, &["198.51.100.7", "198.51.100.8"]),
    ];
    for (header, lines) in forged {
        assert_eq!(client(header, lines, "203.0.113.9").unwrap(), "203.0.113.9", "{lines:?}");
        assert_eq!(client(header, lines, "::ffff:203.0.113.9").unwrap(), "203.0.113.9", "{lines:?}");
    }
}

#[test]
fn x_forwarded_for_is_walked_from_the_right() {
    let cases: [(&[&str], Option<&str>); 20] = [
        (&[], Some(PROXY)),
        (&["198.51.100.7"], Some("198.51.100.7")),
        // What the client wrote is to the left of what the proxy saw.
        (&["1.1.1.1, 198.51.100.7"], Some("198.51.100.7")),
        (&["1.1.1.1", "198.51.100.7"], Some("198.51.100.7")),
        (&["1.1.1.1, 10.9.9.9, 198.51.100.7"], Some("198.51.100.7")),
        (&["1.1.1.1, 198.51.100.7, 10.0.0.2"], Some("198.51.100.7")),
        (&["198.51.100.7, 10.0.0.3", "10.0.0.2"], Some("198.51.100.7")),
        // It may write rubbish there.
        (&["rubbish, 198.51.100.7"], Some("198.51.100.7")),
        (&["10.0.0.4, 10.0.0.3"], Some("10.0.0.4")),
        (&["198.51.100.7:4711"], Some("198.51.100.7")),
        (&["2001:db8::7"], Some("2001:db8::7")),
        (&["[2001:db8::7]:4711, 2001:db8:ff::1"], Some("2001:db8::7")),
        (&["::ffff:198.51.100.7"], Some("198.51.100.7")),
        (&["198.51.100.7, unknown"], Some(PROXY)),
        (&["198.51.100.7, _hidden, 10.0.0.2"], Some("10.0.0.2")),
        (&["198.51.100.7, , "], Some("198.51.100.7")),
        (&["rubbish"], None),
        (&["198.51.100.7, rubbish, 10.0.0.2"], None),
        (&["198.51.100.256"], None),
        (&["fe80::1%eth0"], None),
    ];
    for (lines, expected) in cases {
        let found = client(ForwardedHeader::XForwardedFor, lines, PROXY);
        assert_eq!(found.as_deref().ok(), expected, "{lines:?}");
    }
}

#[test]
fn forwarded_is_read_by_its_whole_grammar() {
    let cases: [(&[&str], Option<&str>); 26] = [
        (&["for=198.51.100.7"], Some("198.51.100.7")),
        (&["For=\"198.51.100.7:4711\";Proto=https;by=10.0.0.1"], Some("198.51.100.7")),
        (&["for=\"[2001:db8:cafe::17]:4711\""], Some("2001:db8:cafe::17")),
        (&["for=\"[2001:db8:cafe::17]\""], Some("2001:db8:cafe::17")),
        (&["for=\"198\\.51.100.7\""], Some("198.51.100.7")),
        (&["for=1.1.1.1, for=198.51.100.7"], Some("198.51.100.7")),
        (&["for=1.1.1.1", "for=198.51.100.7"], Some("198.51.100.7")),
        (&["for=198.51.100.7;proto=https , for=10.0.0.2"], Some("198.51.100.7")),
        (&["for=198.51.100.7, for=unknown"], Some(PROXY)),
        (&["for=198.51.100.7, for=_hidden, for=10.0.0.2"], Some("10.0.0.2")),
        (&["for=\"_gazonk:_port\""], Some(PROXY)),
        (&["for=198.51.100.7, proto=https"], Some(PROXY)),
        (&["for=198.51.100.7;ext=\"a, for=1.1.1.1; \\\" x\""], Some("198.51.100.7")),
        (&[" , for=198.51.100.7 ,"], Some("198.51.100.7")),
        (&["for=198.51.100.7;"], Some("198.51.100.7")),
        // Quotes that a client leaves open.
        (&["for=\"1.1.1.1, for=198.51.100.7"], None),
        (&["for=\"1.1.1.1, for=\"[2001:db8::7]\""], None),
        (&["for=1.1.1.1;x=\", for=\"_a\""], None),
        (&["for=198.51.100.7:4711"], None),
        (&["for=[2001:db8::1]"], None),
        (&["for=\"2001:db8::1\""], None),
        (&["for=198.51.100.7;for=1.1.1.1"], None),
        (&["for"], None),
        (&["for="], None),
        (&["for =198.51.100.7"], None),
        (&["for=rubbish"], None),
    ];
    for (lines, expected) in cases {
        let found = client(ForwardedHeader::Forwarded, lines, PROXY);
        assert_eq!(found.as_deref().ok(), expected, "{lines:?}");
    }
}

#[test]
fn x_real_ip_is_one_address() {
    let cases: [(&[&str], Option<&str>); 6] = [
        (&[], Some(PROXY)),
        (&["198.51.100.7"], Some("198.51.100.7")),
        (&["2001:db8::7"], Some("2001:db8::7")),
        (&["198.51.100.7, 1.1.1.1"], None),
        (&["198.51.100.7", "198.51.100.7"], None),
        (&["rubbish"], None),
    ];
    for (lines, expected) in cases {
        let found = client(ForwardedHeader::XRealIp, lines, PROXY);
        assert_eq!(found.as_deref().ok(), expected, "{lines:?}");
    }
}

#[test]
fn one_header_is_believed_and_no_other() {
    let mut all = headers(&X_FORWARDED_FOR, &["198.51.100.1"]);
    all.insert(FORWARDED, "for=198.51.100.2".parse().unwrap());
    all.insert(X_REAL_IP, "198.51.100.3".parse().unwrap());
    for (header, expected) in [
        (ForwardedHeader::XForwardedFor, "198.51.100.1"),
        (ForwardedHeader::Forwarded, "198.51.100.2"),
        (ForwardedHeader::XRealIp, "198.51.100.3"),
    ] {
        let found = client_address(PROXY.parse().unwrap(), &all, &proxy(header)).unwrap();
        assert_eq!(found.to_string(), expected);
    }
}

#[test]
fn tls_in_front_of_the_proxy_must_be_told() {
    use ForwardedHeader::{Forwarded, XForwardedFor};
    let cases: [(ForwardedHeader, &HeaderName, &[&str], bool); 12] = [
        (XForwardedFor, &X_FORWARDED_PROTO, &[], false),
        (XForwardedFor, &X_FORWARDED_PROTO, &["https"], true),
        (XForwardedFor, &X_FORWARDED_PROTO, &["WSS"], true),
        (XForwardedFor, &X_FORWARDED_PROTO, &["http"], false),
        (XForwardedFor, &X_FORWARDED_PROTO, &["ws"], false),
        (XForwardedFor, &X_FORWARDED_PROTO, &[""], false),
        (XForwardedFor, &X_FORWARDED_PROTO, &["https, https"], true),
        (XForwardedFor, &X_FORWARDED_PROTO, &["https, http"], false),
        (XForwardedFor, &X_FORWARDED_PROTO, &["http", "https"], false),
        (XForwardedFor, &FORWARDED, &["proto=https"], false),
        (Forwarded, &FORWARDED, &["proto=http, for=1.1.1.1;proto=https"], true),
        (Forwarded, &FORWARDED, &["proto=https, for=1.1.1.1"], false),
    ];
    for (header, name, lines, expected) in cases {
        let told = came_over_tls(&headers(name, lines), &proxy(header));
        assert_eq!(told, expected, "{name} {lines:?}");
    }
}

proptest! {
    /// Whatever a client writes before it, what the nearest proxy saw is the client.
    #[test]
    fn nothing_in_front_of_what_the_proxy_wrote_changes_the_client(forged in "[ -~]{0,60}") {
        let line = format!("{forged}, 198.51.100.7");
        let found = client(ForwardedHeader::XForwardedFor, &[&line], PROXY);
        prop_assert_eq!(found.unwrap(), "198.51.100.7");
        let line = format!("{forged}, for=198.51.100.7");
        if let Ok(found) = client(ForwardedHeader::Forwarded, &[&line], PROXY) {
            prop_assert_eq!(found, "198.51.100.7");
        }
        let line = format!("{forged}, for=\"[2001:db8::7]:1\"");
        if let Ok(found) = client(ForwardedHeader::Forwarded, &[&line], PROXY) {
            prop_assert_eq!(found, "2001:db8::7");
        }
    }
}
