//! Tokens against a verifier with keys from files: every classic attack has its exact answer.
#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::auth::testing::{Issuer, base64url, pem, sign_hs256};

static ISSUER: LazyLock<Issuer> = LazyLock::new(Issuer::new);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn claims() -> Value {
    json!({"sub": "ann", "exp": now().as_second() + 60})
}

/// A verifier with these public keys, and a shared secret or none.
fn verifier(keys: &[&[u8]], secret: Option<&[u8]>) -> Verifier {
    let dir = TempDir::new().unwrap();
    let mut config = TokenConfig::default();
    for (position, der) in keys.iter().enumerate() {
        let path = dir.path().join(position.to_string());
        std::fs::write(&path, pem(der)).unwrap();
        config.keys.push(path);
    }
    config.hs256_secret = secret.map(|secret| {
        let path = dir.path().join("secret");
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    });
    Verifier::new(&config, "token").unwrap()
}

fn with_all_keys(secret: Option<&[u8]>) -> Verifier {
    let spki = ISSUER.spki();
    verifier(&[&spki[0], &spki[1], &spki[2]], secret)
}

fn verified(verifier: &Verifier, token: &str) -> Result<Grant, TokenFault> {
    // Keys from files are at hand: it never waits.
    let mut checking = std::pin::pin!(verifier.verify(token, now()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match checking.as_mut().poll(&mut context) {
        std::task::Poll::Ready(outcome) => outcome,
        std::task::Poll::Pending => panic!("it waited"),
    }
}

#[test]
fn each_algorithm_lets_its_key_in() {
    let verifier = with_all_keys(Some(SECRET));
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = ISSUER.sign(&json!({"alg": algorithm, "kid": "any", "typ": "at+jwt"}), &claims());
        assert_eq!(verified(&verifier, &token).unwrap().user, "ann", "{algorithm}");
    }
    let token = sign_hs256(SECRET, &json!({"alg": "HS256"}), &claims());
    assert_eq!(verified(&verifier, &token).unwrap().user, "ann");
}

#[test]
fn classic_attacks_have_their_faults() {
    let verifier = with_all_keys(None);
    let other = Issuer::new();
    let spki = ISSUER.spki();
    let rs256 = json!({"alg": "RS256"});
    let good = ISSUER.sign(&rs256, &claims());
    let parts: Vec<_> = good.split('.').collect();
    let of = |header: &Value| ISSUER.sign(header, &claims());
    let raw = |header: &str| format!("{}.{}.{}", base64url(header), parts[1], parts[2]);
    let forged = base64url(json!({"sub": "root", "exp": 9_999_999_999_u64}).to_string());
    let [mut embedded, _, _] = other.jwks("x");
    embedded["alg"] = "RS256".into();
    let cases = [
        ("none", of(&json!({"alg": "none"})), TokenFault::Algorithm),
        ("None", of(&json!({"alg": "None"})), TokenFault::Algorithm),
        (
            "nOnE, no signature",
            format!("{}.{}.", base64url(r#"{"alg":"nOnE"}"#), parts[1]),
            TokenFault::Algorithm,
        ),
        ("no alg", raw("{}"), TokenFault::Malformed),
        ("alg is no string", raw(r#"{"alg":["RS256"]}"#), TokenFault::Malformed),
        ("alg twice", raw(r#"{"alg":"none","alg":"RS256"}"#), TokenFault::Malformed),
        ("header is a list", raw(r#"["RS256",null,null,null]"#), TokenFault::Malformed),
        ("header is text", raw(r#""RS256""#), TokenFault::Malformed),
        ("crit", of(&json!({"alg": "RS256", "crit": ["exp"]})), TokenFault::Malformed),
        ("b64", of(&json!({"alg": "RS256", "b64": false})), TokenFault::Malformed),
        ("kid too long", of(&json!({"alg": "RS256", "kid": "k".repeat(256)})), TokenFault::Malformed),
        (
            "HS256, not configured",
            sign_hs256(SECRET, &json!({"alg": "HS256"}), &claims()),
            TokenFault::Algorithm,
        ),
        ("RS512", of(&json!({"alg": "RS512"})), TokenFault::Algorithm),
        ("PS256", of(&json!({"alg": "PS256"})), TokenFault::Algorithm),
        (
            "public key as secret",
            sign_hs256(&spki[0], &json!({"alg": "HS256"}), &claims()),
            TokenFault::Algorithm,
        ),
        (
            "public PEM as secret",
            sign_hs256(pem(&spki[0]).as_bytes(), &json!({"alg": "HS256"}), &claims()),
            TokenFault::Algorithm,
        ),
        ("another issuer", other.sign(&rs256, &claims()), TokenFault::Signature),
        (
            "its key brought along",
            other.sign(&json!({"alg": "RS256", "jwk": embedded}), &claims()),
            TokenFault::Signature,
        ),
        (
            "its keys at a URL",
            other.sign(
                &json!({"alg": "RS256", "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}),
                &claims(),
            ),
            TokenFault::Signature,
        ),
        (
            "kid as a path",
            other.sign(&json!({"alg": "RS256", "kid": "../../../dev/null"}), &claims()),
            TokenFault::Signature,
        ),
        ("claims exchanged", format!("{}.{forged}.{}", parts[0], parts[2]), TokenFault::Signature),
        ("signature cut", format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]), TokenFault::Signature),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), TokenFault::Signature),
        (
            "zero signature of ECDSA",
            format!("{}.{}.{}", base64url(r#"{"alg":"ES256"}"#), parts[1], base64url([0; 64])),
            TokenFault::Signature,
        ),
        ("padded", format!("{good}=="), TokenFault::Signature),
        ("two parts", format!("{}.{}", parts[0], parts[1]), TokenFault::Malformed),
        ("four parts", format!("{good}.x"), TokenFault::Malformed),
        ("encrypted, five parts", format!("{good}.x.y"), TokenFault::Malformed),
        ("opaque", "0123456789".to_owned(), TokenFault::Malformed),
        ("empty", String::new(), TokenFault::Malformed),
        ("with a space", format!(" {good}"), TokenFault::Malformed),
        ("too long", "a".repeat(8193), TokenFault::TooLong),
        ("over", ISSUER.sign(&rs256, &json!({"exp": 1})), TokenFault::Expired),
        ("for ever", ISSUER.sign(&rs256, &json!({"sub": "ann"})), TokenFault::Malformed),
        ("claims are a list", ISSUER.sign(&rs256, &json!([])), TokenFault::Malformed),
    ];
    for (name, token, fault) in cases {
        assert_eq!(verified(&verifier, &token), Err(fault), "{name}");
    }
    assert!(verified(&verifier, &good).is_ok());
}

#[test]
fn an_algorithm_belongs_to_its_key() {
    let spki = ISSUER.spki();
    let only_ec = verifier(&[&spki[1]], None);
    let only_rsa = verifier(&[&spki[0]], Some(SECRET));
    let rs256 = ISSUER.sign(&json!({"alg": "RS256"}), &claims());
    assert_eq!(verified(&only_ec, &rs256), Err(TokenFault::Algorithm));
    // With a secret configured, HS256 is a signature by that secret and no other.
    let confused = sign_hs256(&spki[0], &json!({"alg": "HS256"}), &claims());
    assert_eq!(verified(&only_rsa, &confused), Err(TokenFault::Signature));
    let nothing = Verifier::new(&TokenConfig { anonymous: true, ..TokenConfig::default() }, "token").unwrap();
    assert_eq!(verified(&nothing, &rs256), Err(TokenFault::UnknownKey));
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "x".repeat(32)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let missing = dir.path().join("missing");
    let base = TokenConfig::default;
    let introspection = crate::config::IntrospectionConfig {
        url: "https://issuer.example/i".into(),
        client_id: "node".into(),
        client_secret: path.clone(),
        cache: std::time::Duration::ZERO,
    };
    let jwks = Some("https://issuer.example/jwks".to_owned());
    let cases = [
        (TokenConfig { keys: vec![missing.clone()], ..base() }, "token.keys.0: ", "No such file"),
        (TokenConfig { keys: vec![path.clone()], ..base() }, "token.keys.0: ", "no block PUBLIC KEY"),
        (TokenConfig { hs256_secret: Some(path.clone()), ..base() }, "token.hs256_secret: ", "chmod"),
        (
            TokenConfig { introspection: Some(introspection), ..base() },
            "token.introspection.client_secret: ",
            "chmod",
        ),
        (
            TokenConfig { jwks, roots: Some(missing), ..base() },
            "token.jwks: ",
            "cannot read the trust anchors",
        ),
        (TokenConfig { header: Some("a b".into()), ..base() }, "token.header: ", "is no name of a header"),
    ];
    for (config, key, reason) in cases {
        let error = Verifier::new(&config, "token").unwrap_err().to_string();
        assert!(error.starts_with(key) && error.contains(reason), "{error}");
    }
    std::fs::write(&path, "x".repeat(31)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let short = TokenConfig { hs256_secret: Some(path), ..base() };
    assert!(
        Verifier::new(&short, "token").unwrap_err().to_string().contains("31 bytes, expected at least 32")
    );
}

#[test]
fn nothing_shows_a_secret() {
    let shown = format!("{:?}", with_all_keys(Some(SECRET)));
    let bytes = format!("{:?}", &SECRET[..8]);
    assert!(
        !shown.contains("0123456789abcdef") && !shown.contains(bytes.trim_matches(['[', ']'])),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn random_text_is_no_token(token in "[A-Za-z0-9._~+/=-]{0,200}|\\PC{0,100}") {
        prop_assert!(verified(&with_all_keys(Some(SECRET)), &token).is_err());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(position in any::<prop::sample::Index>(), byte in 33_u8..127) {
        static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| with_all_keys(Some(SECRET)));
        static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
            let signed = ["RS256", "ES256", "EdDSA"].map(|alg| ISSUER.sign(&json!({"alg": alg}), &claims()));
            signed.into_iter().chain([sign_hs256(SECRET, &json!({"alg": "HS256"}), &claims())]).collect()
        });
        for token in TOKENS.iter() {
            let mut changed = token.clone().into_bytes();
            let position = position.index(changed.len());
            let old = std::mem::replace(&mut changed[position], byte);
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(verified(&VERIFIER, &changed).is_ok(), old == byte);
        }
    }
}
