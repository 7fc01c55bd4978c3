//! The page that a request comes from, and whether it may.

use http::HeaderMap;
use http::header::{HeaderName, ORIGIN};

use super::head::{Several, several};
use super::refusal::{Outcome, Refusal};
use crate::config::GateConfig;
use crate::host::Authority;
use crate::origin::Origin;

/// Drafts of the WebSocket protocol before RFC 6455 called it so.
const SEC_WEBSOCKET_ORIGIN: HeaderName = HeaderName::from_static("sec-websocket-origin");
/// What of a refused Origin is told to the audit log.
const MAX_SHOWN_CHARS: usize = 200;

/// Checks where an upgrade comes from; `host` is that of the request.
pub(super) fn check(headers: &HeaderMap, gate: &GateConfig, host: Option<&Authority>) -> Result<(), Refusal> {
    let text = match (several(headers, &ORIGIN), several(headers, &SEC_WEBSOCKET_ORIGIN)) {
        (Several::More, _) | (_, Several::More) => {
            return Err(Refusal::new(Outcome::BadRequest, "several Origin fields"));
        }
        (Several::None, Several::None) => return missing(gate),
        (Several::One(origin), Several::One(legacy)) if origin != legacy => {
            return Err(refused().detail("Origin and Sec-WebSocket-Origin differ".to_owned()));
        }
        (Several::One(origin), _) | (Several::None, Several::One(origin)) => origin,
    };
    allowed(text, gate, host)
}

/// Whether nobody says where it comes from, and that is fine.
pub(super) fn missing(gate: &GateConfig) -> Result<(), Refusal> {
    if gate.allow_missing_origin {
        return Ok(());
    }
    Err(Refusal::new(Outcome::OriginMissing, "Origin is missing"))
}

/// Whether the origin of a header may connect.
pub(super) fn allowed(text: &str, gate: &GateConfig, host: Option<&Authority>) -> Result<(), Refusal> {
    if Origin::parse(text).is_some_and(|origin| origin.is_allowed(&gate.origins, host)) {
        return Ok(());
    }
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    Err(refused().detail(format!("Origin {shown:?} is not allowed")))
}

/// Whether pages of the node's own host may.
pub(super) fn own(gate: &GateConfig, host: &Authority) -> Result<(), Refusal> {
    if Origin::own(host).is_allowed(&gate.origins, Some(host)) { Ok(()) } else { Err(refused()) }
}

fn refused() -> Refusal {
    Refusal::new(Outcome::OriginRefused, "this origin is not allowed")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn outcome(gate: &GateConfig, fields: &[(&'static str, &str)]) -> Outcome {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let host = Authority::parse("a.example");
        check(&headers, gate, host.as_ref()).map_or_else(|refusal| refusal.outcome, |()| Outcome::Accepted)
    }

    #[test]
    fn the_legacy_name_counts_only_alone_and_may_not_contradict() {
        use Outcome::{Accepted, BadRequest, OriginRefused};
        const OWN: &str = "https://a.example";
        let (origin, legacy) = ("origin", "sec-websocket-origin");
        let cases: [(&[(&str, &str)], Outcome); 12] = [
            (&[], Accepted),
            (&[(origin, OWN)], Accepted),
            (&[(legacy, OWN)], Accepted),
            (&[(origin, OWN), (legacy, OWN)], Accepted),
            (&[(origin, "https://evil.example")], OriginRefused),
            (&[(legacy, "https://evil.example")], OriginRefused),
            (&[(origin, OWN), (legacy, "https://evil.example")], OriginRefused),
            (&[(origin, "https://evil.example"), (legacy, OWN)], OriginRefused),
            (&[(origin, OWN), (origin, OWN)], BadRequest),
            (&[(origin, OWN), (legacy, OWN), (legacy, OWN)], BadRequest),
            (&[(origin, "null")], OriginRefused),
            // There, but empty: not the same as missing.
            (&[(origin, "")], OriginRefused),
        ];
        for (fields, expected) in cases {
            assert_eq!(outcome(&GateConfig::default(), fields), expected, "{fields:?}");
        }
        let all = GateConfig { origins: vec!["*".to_owned().try_into().unwrap()], ..GateConfig::default() };
        assert_eq!(outcome(&all, &[(origin, "https://evil.example")]), Accepted);
        assert_eq!(outcome(&all, &[(origin, "null")]), OriginRefused);
    }

    #[test]
    fn browsers_only_means_that_an_origin_must_be_there() {
        let gate = GateConfig { allow_missing_origin: false, ..GateConfig::default() };
        assert_eq!(outcome(&gate, &[]), Outcome::OriginMissing);
        assert_eq!(outcome(&gate, &[("origin", "https://a.example")]), Outcome::Accepted);
    }
}
