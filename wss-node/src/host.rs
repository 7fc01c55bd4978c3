//! Hosts as they stand in URLs and in `Host`: `app.example.com:8443`, `[2001:db8::1]`; and patterns for them.

use std::net::{IpAddr, Ipv6Addr};

/// Longest DNS name in text (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// Host and port. The host is in lower case, an IPv6 address in its shortest form and without brackets; a trailing dot
/// stays, for browsers tell `a.example.` from `a.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    /// `None`: that of the scheme.
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Reads `host` or `host:port` (RFC 3986 section 3.2, without user information); `None` if it is neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = split(text)?;
        let port = port.map(parse_port).map_or(Some(None), |port| port.map(Some))?;
        Some(Self { host: parse_host(host)?, port })
    }

    /// The host without a trailing dot: as DNS and SNI see it.
    pub(crate) fn name(&self) -> &str {
        self.host.strip_suffix('.').unwrap_or(&self.host)
    }
}

/// The host, with its brackets if it has some, and what stands after the colon.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    // `parse` would take "+1" too.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse_host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(address.to_string());
    }
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_name = labels.len() <= MAX_NAME_BYTES && labels.split('.').all(|label| !label.is_empty());
    (is_name && text.bytes().all(sound)).then(|| text.to_ascii_lowercase())
}

/// Which hosts are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// All below a domain, at any depth, but not the domain itself; holds `.example.com`.
    Below(String),
}

impl HostPattern {
    /// Reads `example.com`, `*.example.com` or an address; `None` if it is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some(domain) = text.strip_prefix("*.") else {
            return Some(Self::Exact(parse_host(text)?));
        };
        let domain = parse_host(domain).filter(|domain| domain.parse::<IpAddr>().is_err())?;
        Some(Self::Below(format!(".{domain}")))
    }

    /// `host` as in [`Authority`].
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => host == exact,
            Self::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
        }
    }

    /// The greater wins where several match: an exact one, then the longest.
    pub(crate) fn rank(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(end) => end.len(),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("\"{text}\": expected a host such as a.example.com or *.a.example.com"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_strictly() {
        type Read = Option<(&'static str, Option<u16>)>;
        let cases: [(&str, Read); 24] = [
            ("example.com", Some(("example.com", None))),
            ("EXAMPLE.com:443", Some(("example.com", Some(443)))),
            ("example.com.", Some(("example.com.", None))),
            ("xn--bcher-kva.example", Some(("xn--bcher-kva.example", None))),
            ("my_host", Some(("my_host", None))),
            ("127.0.0.1:1", Some(("127.0.0.1", Some(1)))),
            ("[2001:DB8:0::1]:8443", Some(("2001:db8::1", Some(8443)))),
            ("[::1]", Some(("::1", None))),
            ("", None),
            (".", None),
            (":443", None),
            ("a..b", None),
            (".a", None),
            ("a:", None),
            ("a:65536", None),
            ("a:+1", None),
            ("a:1:2", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[fe80::1%eth0]", None),
            ("user@a", None),
            ("a/b", None),
            ("b\u{fc}cher.example", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(host, port)| Authority { host: host.to_owned(), port });
            assert_eq!(Authority::parse(text), expected, "{text:?}");
        }
        assert_eq!(Authority::parse("a.example.").unwrap().name(), "a.example");
        assert_eq!(Authority::parse(&"a.".repeat(128)), None);
    }

    #[test]
    fn wildcards_stand_for_labels_and_never_for_the_domain_itself() {
        let below = HostPattern::parse("*.Example.com").unwrap();
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("evilexample.com", false),
            ("a.example.com.", false),
            ("a.example.com.evil", false),
        ] {
            assert_eq!(below.matches(host), expected, "{host}");
        }
        for bad in ["*", "*.", "*.10.0.0.1", "a.*.example.com", "*a.example.com", "**.a", "a b", "a:1"] {
            assert_eq!(HostPattern::parse(bad), None, "{bad}");
        }
        assert!(HostPattern::parse("10.0.0.1").unwrap().matches("10.0.0.1"));
        assert!(HostPattern::parse("a.b").unwrap().rank() > below.rank());
    }
}
