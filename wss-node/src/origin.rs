//! Origins of web pages (RFC 6454) and the patterns that allow them. Browsers alone send them truly: they keep a page
//! from using what its visitor may do elsewhere.

use crate::host::{Authority, HostPattern};

/// Scheme, host and port, each exactly as browsers write them. `null` is none: a page in a sandbox says it, whoever
/// wrote the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    /// Reads the value of `Origin`; `None` if it is no single origin: `null`, a path, user information, a second one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let sound = scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(rest);
        let authority = Authority::parse(authority)?;
        sound.then(|| Self { scheme: scheme.to_ascii_lowercase(), authority })
    }

    /// The origin of pages that come from the same host as the node: over TLS, and with the port of `host`.
    pub(crate) fn own(host: &Authority) -> Self {
        Self { scheme: "https".to_owned(), authority: host.clone() }
    }

    fn port(&self) -> Option<u16> {
        self.authority.port.or(default_port(&self.scheme))
    }

    fn is(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.authority.host == other.authority.host
            && self.port() == other.port()
    }

    /// Whether it may connect; `host` is that of the request. Without patterns only the host's own pages may.
    pub(crate) fn is_allowed(&self, patterns: &[OriginPattern], host: Option<&Authority>) -> bool {
        if patterns.is_empty() {
            return host.is_some_and(|host| self.is(&Self::own(host)));
        }
        patterns.iter().any(|pattern| pattern.matches(self))
    }
}

/// RFC 9110 section 4.2; other schemes have none.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// Which origins may connect: an item of `gate.origins`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum OriginPattern {
    /// `*`: all, but not `null`.
    Any,
    /// `https://app.example.com`, `https://*.example.com:8443`
    Of {
        /// In lower case.
        scheme: String,
        /// Which hosts.
        host: HostPattern,
        /// `None`: of a scheme without ports.
        port: Option<u16>,
    },
}

impl OriginPattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        // A wildcard is no host; what stands for it decides nothing else.
        let (scheme, authority) = text.split_once("://")?;
        let (wildcard, authority) = match authority.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, authority),
        };
        let origin = Origin::parse(&format!("{scheme}://{authority}"))?;
        let port = origin.port();
        let Authority { host, .. } = origin.authority;
        let host =
            if wildcard { HostPattern::parse(&format!("*.{host}"))? } else { HostPattern::Exact(host) };
        Some(Self::Of { scheme: origin.scheme, host, port })
    }

    fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Any => true,
            Self::Of { scheme, host, port } => {
                *scheme == origin.scheme && *port == origin.port() && host.matches(&origin.authority.host)
            }
        }
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!(
                "\"{text}\": expected an origin such as https://app.example.com, https://*.example.com or *, \
                 without a path, international names as xn--"
            )
        })
    }
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
