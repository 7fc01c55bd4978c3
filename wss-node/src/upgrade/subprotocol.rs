//! Which of the offered subprotocols is spoken.

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use super::head::tokens;
use super::refusal::{Outcome, Refusal};

/// The Centrifuge protocol in JSON; clients that offer none speak it too.
pub(super) const JSON: &str = "centrifuge-json";
/// The same in Protobuf, which this version cannot speak.
const PROTOBUF: &str = "centrifuge-protobuf";

/// The one to answer with; `None` if none was offered. Names are case-sensitive (RFC 6455 section 4.2.2, item 5.5).
pub(super) fn choose(headers: &HeaderMap, is_required: bool) -> Result<Option<&'static str>, Refusal> {
    let refused = |text| Err(Refusal::new(Outcome::SubprotocolRefused, text));
    let offered: Vec<_> = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    if offered.contains(&JSON) {
        return Ok(Some(JSON));
    }
    if offered.contains(&PROTOBUF) {
        return refused("centrifuge-protobuf is not in this version: offer centrifuge-json");
    }
    if offered.is_empty() && !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        if is_required {
            return refused("a subprotocol is required: offer centrifuge-json");
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
            &["centrifuge-protobuf,centrifuge-json"],
        ] {
            assert_eq!(choice(offers, true), Ok(Some(JSON)), "{offers:?}");
        }
        assert_eq!(choice(&[], false), Ok(None));
        assert!(choice(&[], true).unwrap_err().contains("required"));
        assert!(choice(&[PROTOBUF, "mqtt"], false).unwrap_err().contains("not in this version"));
        for offers in [["mqtt"].as_slice(), &[""], &["Centrifuge-JSON"], &["centrifuge-json2"]] {
            assert!(choice(offers, false).unwrap_err().contains("none of"), "{offers:?}");
        }
    }
}
