//! A decision as a line of JSON. JSON escapes control characters, so nobody can write a line of his own.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::Serialize;

use super::Decision;

/// One line; what is not known is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line<'a> {
    time: Timestamp,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    detail: &'a str,
    /// Of a line that stands for others: which, and how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl<'a> Line<'a> {
    pub(super) fn of(decision: &'a Decision) -> Self {
        let Decision { at, entry, peer } = decision;
        Self {
            time: *at,
            what: entry.what,
            address: entry.address,
            peer: *peer,
            session: entry.session.as_deref(),
            user: entry.user.as_deref(),
            tenant: entry.tenant.as_deref(),
            detail: &entry.detail,
            ..Self::default()
        }
    }

    /// That there were more, which nobody told.
    pub(super) fn left_out(what: &'a str, count: u64, detail: &'a str, at: Timestamp) -> Self {
        Self {
            time: at,
            what: "left_out",
            detail,
            left_out: Some(what),
            count: Some(count),
            ..Self::default()
        }
    }

    /// That lines were lost.
    pub(super) fn lost(count: u64, detail: &'a str, at: Timestamp) -> Self {
        Self { time: at, what: "lost", detail, count: Some(count), ..Self::default() }
    }

    /// With its end.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Nothing in it can fail to be JSON.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Entry;
    use super::*;

    #[test]
    fn one_line_whatever_a_client_wrote() {
        let entry = Entry {
            what: "origin_refused",
            address: "192.0.2.1".parse().ok(),
            session: None,
            user: Some("a\n{\"what\":\"forged\"}".to_owned()),
            tenant: None,
            detail: "x\r\n\u{1b}[2Jy".to_owned(),
        };
        let decision = Decision::new(&entry, "10.0.0.1:5".parse().ok(), Timestamp::from_second(1).unwrap());
        let text = String::from_utf8(Line::of(&decision).encode()).unwrap();
        let expected = "{\"time\":\"1970-01-01T00:00:01Z\",\"what\":\"origin_refused\",\"address\":\"192.0.2.1\",\
                        \"peer\":\"10.0.0.1:5\",\"user\":\"a\\n{\\\"what\\\":\\\"forged\\\"}\",\
                        \"detail\":\"x\\r\\n\\u001b[2Jy\"}\n";
        assert_eq!(text, expected);
    }
}
