#![allow(clippy::unwrap_used)]

use super::*;

const PATH: &str = "/connection/websocket";

/// The example of RFC 6455 section 1.2, with some headers changed; an empty value removes one.
fn request(changes: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::get(PATH)
        .header("upgrade", "websocket")
        .header("connection", "keep-alive, Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    for (name, value) in changes {
        request.headers_mut().remove(*name);
        if !value.is_empty() {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
    }
    request
}

fn status(request: &Request<()>) -> u16 {
    decide(request, PATH, Room::Open).map_or_else(|refusal| refusal.status.as_u16(), |_| 101)
}

#[test]
fn the_example_of_the_rfc_is_accepted_with_its_key() {
    let accepted = decide(&request(&[]), PATH, Room::Open).unwrap();
    assert_eq!(accepted, Accepted { key: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into(), subprotocol: None });
}

#[test]
fn each_fault_has_its_status() {
    let cases = [
        (("upgrade", ""), 400),
        (("upgrade", "h2c"), 400),
        (("connection", "close"), 400),
        (("sec-websocket-key", ""), 400),
        (("sec-websocket-key", "c2hvcnQ="), 400),
        (("sec-websocket-key", "not base64 at all!!"), 400),
        (("sec-websocket-version", ""), 400),
        (("sec-websocket-version", "8"), 426),
        (("sec-websocket-protocol", "mqtt"), 403),
        (("sec-websocket-protocol", "mqtt, centrifuge-json"), 101),
        (("upgrade", "WebSocket"), 101),
    ];
    for (change, expected) in cases {
        assert_eq!(status(&request(&[change])), expected, "{change:?}");
    }
    let mut two = request(&[]);
    two.headers_mut().append("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    assert_eq!(status(&two), 400);
    let mut other = request(&[]);
    *other.method_mut() = Method::POST;
    assert_eq!(status(&other), 405);
    let mut other = request(&[]);
    *other.version_mut() = Version::HTTP_10;
    assert_eq!(status(&other), 505);
    let mut other = request(&[]);
    *other.uri_mut() = "/elsewhere".parse().unwrap();
    assert_eq!(status(&other), 404);
    let mut query = request(&[]);
    *query.uri_mut() = "/connection/websocket?x=1".parse().unwrap();
    assert_eq!(status(&query), 101);
}

#[test]
fn a_full_stopping_or_halted_node_sends_clients_elsewhere() {
    for (room, after) in [(Room::Full, "1"), (Room::Stopping, "1"), (Room::Halted(7), "7")] {
        let refusal = decide(&request(&[]), PATH, room).unwrap_err();
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        let (name, value) = refusal.header.unwrap();
        assert_eq!((name, value.to_str().unwrap()), (RETRY_AFTER, after));
    }
}

#[test]
fn the_chosen_subprotocol_is_told() {
    let accepted =
        decide(&request(&[("sec-websocket-protocol", "centrifuge-json")]), PATH, Room::Open).unwrap();
    assert_eq!(accepted.subprotocol, Some(JSON));
}
