#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

fn ca() -> Ca {
    Ca { issuer: "pebble".into(), directory: "https://ca.example/dir".into(), account_dir: "/state/a".into() }
}

fn problem(kind: &str) -> Problem {
    serde_json::from_str(&format!(r#"{{"type":"{NAMESPACE}{kind}","detail":"why"}}"#)).unwrap()
}

fn answer(status: u16) -> Answer {
    Answer {
        url: "https://ca.example/order".into(),
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: Some(Duration::from_secs(7)),
        location: None,
        body: bytes::Bytes::new(),
        links: Vec::new(),
    }
}

fn json_error() -> Error {
    Error::Json(serde_json::from_str::<u8>("<html>").unwrap_err())
}

#[test]
fn problem_types_have_their_classes() {
    let expected = [
        (ErrorClass::Ca, "rateLimited"),
        (ErrorClass::Transient, "serverInternal badNonce orderNotReady"),
        (ErrorClass::Account, "unauthorized accountDoesNotExist userActionRequired"),
        (
            ErrorClass::Identifier,
            "dns connection tls caa rejectedIdentifier incorrectResponse unsupportedIdentifier",
        ),
        (ErrorClass::Ours, "malformed badCSR badPublicKey badSignatureAlgorithm externalAccountRequired"),
    ];
    for (class, kinds) in expected {
        for kind in kinds.split(' ') {
            let error = ca().error("place the order", &Error::Api(problem(kind)), Some(&answer(403)));
            assert_eq!(error.class, class, "{kind}");
            assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
            assert!(error.message.starts_with("issuer pebble: cannot place the order: why ("), "{error}");
        }
    }
}

#[test]
fn unknown_types_go_by_the_status() {
    for (status, class) in [
        (429, ErrorClass::Ca),
        (503, ErrorClass::Transient),
        (403, ErrorClass::Account),
        (400, ErrorClass::Ours),
    ] {
        let error = ca().error("x", &Error::Api(problem("brandNew")), Some(&answer(status)));
        assert_eq!(error.class, class, "{status}");
    }
}

#[test]
fn inside_an_order_a_problem_is_about_the_name() {
    let unauthorized = Error::Api(problem("unauthorized"));
    assert_eq!(ca().error("x", &unauthorized, Some(&answer(200))).class, ErrorClass::Identifier);
    assert_eq!(ca().error("x", &unauthorized, Some(&answer(403))).class, ErrorClass::Account);
    let overloaded = Error::Api(problem("serverInternal"));
    assert_eq!(ca().error("x", &overloaded, Some(&answer(200))).class, ErrorClass::Transient);
}

#[test]
fn subproblems_are_told_with_their_identifiers() {
    let compound: Problem = serde_json::from_str(
        r#"{"type":"urn:ietf:params:acme:error:compound","detail":"several","subproblems":[
            {"type":"urn:ietf:params:acme:error:caa","detail":"forbidden","identifier":{"type":"dns","value":"a.example"}},
            {"type":"urn:ietf:params:acme:error:caa","detail":"too","identifier":{"type":"ip","value":"::1"}}]}"#,
    )
    .unwrap();
    let error = ca().error("order", &Error::Api(compound), Some(&answer(403)));
    assert_eq!(error.class, ErrorClass::Identifier);
    assert_eq!(
        error.message,
        "issuer pebble: cannot order: several (compound); a.example: forbidden (caa); ::1: too (caa)"
    );
}

#[test]
fn what_is_no_acme_is_transient_unless_the_directory_itself_is_wrong() {
    let error = ca().error("order", &json_error(), Some(&answer(502)));
    assert_eq!((error.class, error.retry_after), (ErrorClass::Transient, Some(Duration::from_secs(7))));
    assert!(error.message.contains("answered 502 Bad Gateway"), "{error}");
    assert_eq!(ca().error("order", &json_error(), Some(&answer(429))).class, ErrorClass::Ca);
    assert_eq!(ca().error("order", &json_error(), None).class, ErrorClass::Transient);

    let directory = |status| Answer { url: ca().directory, ..answer(status) };
    assert_eq!(ca().error("x", &json_error(), Some(&directory(500))).class, ErrorClass::Transient);
    let error = ca().error("x", &json_error(), Some(&directory(404)));
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.contains("correct `directory` of [acme.pebble]"), "{error}");
    let moved = Answer { location: Some("https://new.example/".into()), ..directory(301) };
    let error = ca().error("x", &json_error(), Some(&moved));
    assert!(error.message.contains("moved to https://new.example/"), "{error}");
}

#[test]
fn an_unreachable_directory_is_one_clear_line() {
    let fault = HttpFault::Unreachable { url: ca().directory, detail: "connection refused".into() };
    let error = ca().error("load the account", &Error::Other(Box::new(fault)), None);
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(
        error.message,
        "issuer pebble: cannot reach the ACME directory https://ca.example/dir: connection refused; \
         check `directory` and `ca_file` of [acme.pebble]"
    );
    let insecure = Error::Other(Box::new(HttpFault::Insecure("http://ca.example/".into())));
    assert_eq!(ca().error("x", &insecure, None).class, ErrorClass::Ours);
}

#[test]
fn an_account_the_ca_does_not_know_comes_with_advice() {
    let error = ca().error("order", &Error::Api(problem("accountDoesNotExist")), Some(&answer(400)));
    assert_eq!(error.class, ErrorClass::Account);
    assert!(error.message.ends_with("the next order registers its key again"), "{error}");
}

#[test]
fn only_bad_nonces_are_repeated() {
    assert!(is_bad_nonce(&Error::Api(problem("badNonce"))));
    assert!(!is_bad_nonce(&Error::Api(problem("malformed"))));
    assert!(!is_bad_nonce(&json_error()));
}
