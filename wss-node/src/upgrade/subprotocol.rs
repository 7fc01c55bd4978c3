//! Which of the offered subprotocols is spoken.

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use super::head::tokens;
use super::refusal::{Outcome, Refusal};
use crate::wire::Framing;

/// The Centrifuge protocol in JSON; clients that offer none speak it too.
const JSON: &str = Framing::Json.subprotocol();
/// The same in Protobuf.
const PROTOBUF: &str = Framing::Protobuf.subprotocol();

/// The one to answer with; `None` if none was offered. Names are case-sensitive (RFC 6455 section 4.2.2, item 5.5).
pub(super) fn choose(headers: &HeaderMap, is_required: bool) -> Result<Option<&'static str>, Refusal> {
    let refused = |text| Err(Refusal::new(Outcome::SubprotocolRefused, text));
    let offered: Vec<_> = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    // The client's first choice (RFC 6455 section 4.1, item 10).
    let spoken = |name: &&str| [JSON, PROTOBUF].into_iter().find(|own| own == name);
    if let Some(chosen) = offered.iter().find_map(spoken) {
        return Ok(Some(chosen));
    }
    if offered.is_empty() && !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        if is_required {
            return refused("a subprotocol is required: offer centrifuge-json or centrifuge-protobuf");
        }
        return Ok(None);
    }
    refused("none of the offered subprotocols is spoken here")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_is_chosen_and_what_is_unknown_refused() {
        let choice = |offers: &[&str], is_required| {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(SEC_WEBSOCKET_PROTOCOL, offer.parse().unwrap());
            }
            choose(&headers, is_required).map_err(|refusal| refusal.text)
        };
        for offers in [
            [JSON].as_slice(),
            &["mqtt, centrifuge-json"],
            &["mqtt", "centrifuge-json"],
            &["centrifuge-json,centrifuge-protobuf"],
        ] {
            assert_eq!(choice(offers, true), Ok(Some(JSON)), "{offers:?}");
        }
        for offers in [[PROTOBUF].as_slice(), &["mqtt", "centrifuge-protobuf, centrifuge-json"]] {
            assert_eq!(choice(offers, true), Ok(Some(PROTOBUF)), "{offers:?}");
        }
        assert_eq!(choice(&[], false), Ok(None));
        assert!(choice(&[], true).unwrap_err().contains("required"));
        for offers in [["mqtt"].as_slice(), &[""], &["Centrifuge-JSON"], &["centrifuge-json2"]] {
            assert!(choice(offers, false).unwrap_err().contains("none of"), "{offers:?}");
        }
    }
}
