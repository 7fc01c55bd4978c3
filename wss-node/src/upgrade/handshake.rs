//! The opening handshake of RFC 6455 section 4.2, as far as the protocol asks for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use http::{Method, Response, StatusCode, Version};
use http_body_util::Full;
use sha1::{Digest, Sha1};

use super::head::{Head, lists, single};
use super::refusal::{Outcome, Refusal};

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What comes before everything else about a request.
pub(super) fn check_line(head: &Head<'_>) -> Result<(), Refusal> {
    if head.method != Method::GET {
        return Err(Refusal::new(Outcome::MethodNotAllowed, "a WebSocket begins with GET"));
    }
    if head.version != Version::HTTP_11 {
        return Err(Refusal::new(Outcome::HttpVersion, "a WebSocket upgrade needs HTTP/1.1"));
    }
    Ok(())
}

/// Checks the headers; gives the value of `Sec-WebSocket-Accept`.
pub(super) fn accept_key(head: &Head<'_>) -> Result<String, Refusal> {
    let headers = head.headers;
    let bad = |text| Refusal::new(Outcome::BadRequest, text);
    if !headers.contains_key(HOST) {
        return Err(bad("Host is missing"));
    }
    if !lists(headers, &UPGRADE, "websocket") || !lists(headers, &CONNECTION, "upgrade") {
        return Err(bad("expected a WebSocket upgrade: Upgrade: websocket, Connection: Upgrade"));
    }
    match single(headers, &SEC_WEBSOCKET_VERSION) {
        Some("13") => {}
        Some(_) => {
            let text = "only version 13 of the WebSocket protocol";
            return Err(Refusal::new(Outcome::WebSocketVersion, text));
        }
        None => return Err(bad("Sec-WebSocket-Version is missing, or there are several")),
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
        .ok_or_else(|| bad("Sec-WebSocket-Key must be the base64 of 16 bytes"))?;
    // Item 5.4 of section 4.2.2.
    Ok(STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()))
}

/// The 101.
pub(super) fn switching(
    accept_key: &str,
    subprotocol: Option<&'static str>,
    cookie: Option<HeaderValue>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    // Base64 is always a legal value.
    if let Ok(key) = accept_key.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::head::tests::request;
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_accepted_with_its_key() {
        let request = request(&[]);
        assert_eq!(accept_key(&Head::of(&request)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_fault_has_its_outcome() {
        let cases = [
            (("host", ""), Outcome::BadRequest),
            (("upgrade", ""), Outcome::BadRequest),
            (("upgrade", "h2c"), Outcome::BadRequest),
            (("connection", "close"), Outcome::BadRequest),
            (("sec-websocket-key", ""), Outcome::BadRequest),
            (("sec-websocket-key", "c2hvcnQ="), Outcome::BadRequest),
            (("sec-websocket-key", "not base64 at all!!"), Outcome::BadRequest),
            (("sec-websocket-version", ""), Outcome::BadRequest),
            (("sec-websocket-version", "8"), Outcome::WebSocketVersion),
            (("upgrade", "WebSocket"), Outcome::Accepted),
            (("connection", "keep-alive, upgrade"), Outcome::Accepted),
        ];
        for (change, expected) in cases {
            let request = request(&[change]);
            let found =
                accept_key(&Head::of(&request)).map_or_else(|refusal| refusal.outcome, |_| Outcome::Accepted);
            assert_eq!(found, expected, "{change:?}");
        }
        let mut two = request(&[]);
        two.headers_mut().append("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        assert_eq!(accept_key(&Head::of(&two)).unwrap_err().outcome, Outcome::BadRequest);
    }

    #[test]
    fn only_get_of_http_1_1() {
        let mut other = request(&[]);
        check_line(&Head::of(&other)).unwrap();
        *other.version_mut() = Version::HTTP_10;
        assert_eq!(check_line(&Head::of(&other)).unwrap_err().outcome, Outcome::HttpVersion);
        *other.method_mut() = Method::POST;
        let refusal = check_line(&Head::of(&other)).unwrap_err();
        assert_eq!(refusal.outcome, Outcome::MethodNotAllowed);
        assert_eq!(refusal.response().headers()["allow"], "GET");
    }
}
