#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn config() -> TokenConfig {
    TokenConfig {
        issuer: Some("us".into()),
        audience: ["wss".to_owned(), "other".to_owned()].into(),
        ..TokenConfig::default()
    }
}

fn good() -> Value {
    json!({"sub": "ann", "iss": "us", "aud": "wss", "exp": now().as_second() + 60})
}

fn granted(claims: &Value, source: Source) -> Result<Grant, TokenFault> {
    Claims::parse(claims.to_string().as_bytes())?.grant(&config(), source, now())
}

fn with(name: &str, value: &Value) -> Result<Grant, TokenFault> {
    let mut claims = good();
    claims[name] = value.clone();
    granted(&claims, Source::Jwt)
}

#[test]
fn good_claims_are_a_grant() {
    let grant = granted(&good(), Source::Jwt).unwrap();
    let expires = Some(now() + Duration::from_secs(60));
    assert_eq!(grant, Grant { user: "ann".into(), expires, ..Grant::anonymous() });
    assert!(with("aud", &json!(["nobody", "other"])).is_ok());
    assert!(with("exp", &json!(1_800_000_000.5)).is_ok());
}

#[test]
fn each_claim_has_its_fault() {
    let second = now().as_second();
    let cases = [
        ("iss", json!("them"), TokenFault::Issuer),
        ("iss", Value::Null, TokenFault::Issuer),
        ("aud", json!("them"), TokenFault::Audience),
        ("aud", json!([]), TokenFault::Audience),
        ("aud", json!(vec!["wss"; MAX_AUDIENCES + 1]), TokenFault::Audience),
        ("aud", Value::Null, TokenFault::Audience),
        ("aud", json!(7), TokenFault::Malformed),
        ("exp", Value::Null, TokenFault::Malformed),
        ("exp", json!("soon"), TokenFault::Malformed),
        ("exp", json!(1e300), TokenFault::Malformed),
        ("exp", json!(1_800_000_060_000_u64), TokenFault::Malformed),
        ("exp", json!(second - 30), TokenFault::Expired),
        ("nbf", json!(second + 31), TokenFault::NotYetValid),
        ("iat", json!(second + 31), TokenFault::NotYetValid),
        ("nbf", json!(-1e300), TokenFault::Malformed),
        ("sub", json!(7), TokenFault::Malformed),
        ("sub", json!("x".repeat(256)), TokenFault::Malformed),
        ("sub", json!("a\nb"), TokenFault::Malformed),
        ("caps", json!({}), TokenFault::Malformed),
        ("caps", json!([{"channels": ["x".repeat(256)]}]), TokenFault::Malformed),
        ("caps", json!([{"channels": vec!["x"; MAX_CHANNELS + 1]}]), TokenFault::Malformed),
        ("caps", json!(vec![json!({}); MAX_CAPABILITIES + 1]), TokenFault::Malformed),
        ("caps", json!([{"channels": ["^a"], "match": "regex"}]), TokenFault::Malformed),
    ];
    for (name, value, fault) in cases {
        assert_eq!(with(name, &value), Err(fault), "{name}: {value}");
    }
    for (name, value) in [("exp", second - 29), ("nbf", second + 30), ("iat", second + 30)] {
        assert!(with(name, &json!(value)).is_ok(), "{name} within the leeway");
    }
}

#[test]
fn an_expired_token_of_somebody_else_is_not_told_to_come_back() {
    let mut claims = good();
    claims["exp"] = json!(1);
    claims["iss"] = json!("them");
    assert_eq!(granted(&claims, Source::Jwt), Err(TokenFault::Issuer));
}

#[test]
fn what_stands_twice_or_is_no_object_is_refused() {
    for text in [r#"{"sub":"a","sub":"b"}"#, r#"{"exp":1,"exp":9e9}"#, "[]", r#""x""#, "7", "", "{"] {
        assert_eq!(Claims::parse(text.as_bytes()).unwrap_err(), TokenFault::Malformed, "{text}");
    }
}

#[test]
fn capabilities_come_from_caps_or_else_from_words_of_the_scope() {
    let caps = json!([
        {"channels": ["news", "orders:*"], "allow": ["sub", "hst", "unheard-of"], "match": "wildcard"},
        {"channels": ["orders:7"], "allow": ["pub"]},
    ]);
    let mut claims = good();
    claims["scope"] = json!("pub:*");
    claims["caps"] = caps;
    let grant = granted(&claims, Source::Jwt).unwrap();
    assert!(grant.allows(Action::Subscribe, "orders:1") && grant.allows(Action::History, "news"));
    assert!(grant.allows(Action::Publish, "orders:7") && !grant.allows(Action::Publish, "news"));
    assert!(!grant.allows(Action::Presence, "news"));

    let grant = with("scope", &json!("openid sub:orders:* pub:orders:7 x:y")).unwrap();
    assert!(grant.allows(Action::Subscribe, "orders:1") && grant.allows(Action::Publish, "orders:7"));
    assert!(!grant.allows(Action::Publish, "orders:1") && !grant.allows(Action::Subscribe, "news"));
    // Nothing at all is everything; an empty list is nothing.
    assert_eq!(with("scope", &json!("openid profile")).unwrap().capabilities, None);
    assert!(!with("caps", &json!([])).unwrap().allows(Action::Subscribe, "news"));
}

#[test]
fn an_introspected_token_may_leave_out_what_its_server_has_checked() {
    let claims = json!({"active": true, "username": "bob"});
    let grant = granted(&claims, Source::Introspection).unwrap();
    assert_eq!((grant.user.as_str(), grant.expires), ("bob", None));
    assert_eq!(granted(&json!({"iss": "them"}), Source::Introspection), Err(TokenFault::Issuer));
    assert_eq!(granted(&json!({"aud": "them"}), Source::Introspection), Err(TokenFault::Audience));
    assert_eq!(granted(&json!({"exp": 1}), Source::Introspection), Err(TokenFault::Expired));
}
