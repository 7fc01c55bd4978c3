#![allow(clippy::unwrap_used)]

use http::header::RETRY_AFTER;
use http::{Method, Version};

use super::head::tests::request;
use super::*;
use crate::config::Config;
use crate::tenant::Tenants;

fn tenant(gate: &str) -> Arc<Tenant> {
    let text = format!("server_names = [\"a\"]\n[token]\nanonymous = true\n[gate]\n{gate}");
    Arc::clone(Tenants::new(&Config::from_text("n.toml".as_ref(), &text).unwrap()).unwrap().everybody())
}

fn outcome(request: &Request<()>, gate: &str, room: Room) -> Outcome {
    let host = Authority::parse("a.example");
    let passed = before_token(&Head::of(request), &tenant(gate), host.as_ref(), room);
    passed.map_or_else(|refusal| refusal.outcome, |_| Outcome::Accepted)
}

/// A request with every fault: as one after the other is put right, the next is found.
#[test]
fn what_is_checked_first_is_told_first() {
    let mut request = request(&[
        ("upgrade", ""),
        ("sec-websocket-version", "8"),
        ("origin", "https://evil.example"),
        ("sec-websocket-protocol", "mqtt"),
    ]);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_10;
    let mut room = Room::Full;
    let next = |expected, request: &Request<()>, room| assert_eq!(outcome(request, "", room), expected);
    next(Outcome::MethodNotAllowed, &request, room);
    *request.method_mut() = Method::GET;
    next(Outcome::HttpVersion, &request, room);
    *request.version_mut() = Version::HTTP_11;
    next(Outcome::Full, &request, room);
    room = Room::Open;
    next(Outcome::BadRequest, &request, room);
    request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    next(Outcome::WebSocketVersion, &request, room);
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    next(Outcome::OriginRefused, &request, room);
    request.headers_mut().insert("origin", "https://a.example".parse().unwrap());
    next(Outcome::SubprotocolRefused, &request, room);
    request.headers_mut().insert("sec-websocket-protocol", "centrifuge-json".parse().unwrap());
    next(Outcome::Accepted, &request, room);
}

#[test]
fn a_full_stopping_or_halted_node_sends_clients_elsewhere() {
    for (room, after) in [(Room::Full, "1"), (Room::Stopping, "1"), (Room::Halted(7), "7")] {
        let response = room.check().unwrap_err().response();
        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], after);
    }
}

#[test]
fn every_outcome_has_a_word_of_its_own_and_the_status_of_the_documents() {
    let expected = [
        ("accepted", 101),
        ("bad_request", 400),
        ("forwarded_unreadable", 400),
        ("tls_required", 403),
        ("misdirected", 421),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("http_version", 505),
        ("stopping", 503),
        ("halted", 503),
        ("full", 503),
        ("websocket_version", 426),
        ("origin_refused", 403),
        ("origin_missing", 403),
        ("subprotocol_refused", 403),
        ("token_missing", 403),
        ("token_refused", 403),
        ("token_unavailable", 503),
        ("limit_reached", 429),
    ];
    let found = Outcome::ALL.map(|outcome| (outcome.as_str(), outcome.status().as_u16()));
    assert_eq!(found, expected);
    assert!(Outcome::ALL.into_iter().enumerate().all(|(number, outcome)| outcome as usize == number));
}
