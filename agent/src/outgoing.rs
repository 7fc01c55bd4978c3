//! What our HTTP requests have in common: TLS, whom they may go to in the clear, and how answers are read.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use sealwire_proto::anchors::Anchors;

/// A Retry-After beyond this is a mistake: no CA's limit lasts longer (Let's Encrypt: 7 days).
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_hours(7 * 24);

/// TLS that trusts these roots.
///
/// # Errors
/// What rustls says of the set-up.
pub(crate) fn tls(anchors: &Anchors) -> Result<ClientConfig, rustls::Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore { roots: anchors.as_slice().to_vec() })
        .with_no_client_auth())
}

/// Whether a host of a URL is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    address == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a URL is https, or http that does not leave this machine.
pub(crate) fn is_sound(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback(host),
        _ => false,
    }
}

/// Retry-After is a number of seconds or an HTTP-date (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        // A date in the past means now.
        Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The beginning of an answer's body; what breaks off is as long as it is.
pub(crate) async fn excerpt(response: &mut reqwest::Response, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        read.extend_from_slice(&chunk);
        if read.len() >= bytes {
            read.truncate(bytes);
            break;
        }
    }
    read
}

/// What a stranger wrote, fit for one line of a log.
pub(crate) fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let wait = |value| retry_after(value, now);
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("Mon, 23 Nov 2026 10:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("18446744073709551615"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("Fri, 01 Jan 2100 00:00:00 GMT"), Some(MAX_RETRY_AFTER));
        for nonsense in ["", "soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn in_the_clear_only_to_this_machine() {
        for good in ["https://x.example/a", "http://127.0.0.1:1/", "http://[::1]/d", "http://localhost"] {
            assert!(is_sound(good), "{good}");
        }
        for bad in
            ["http://x.example/", "http://10.0.0.1/", "http://localhost.evil.example/", "/a", "ftp://x", ""]
        {
            assert!(!is_sound(bad), "{bad}");
        }
    }
}
