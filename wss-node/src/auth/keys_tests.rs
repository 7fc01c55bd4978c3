#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::auth::testing::{Issuer, pem};

fn error_of(text: &str) -> String {
    of_pem(text.as_bytes()).unwrap_err()
}

#[test]
fn public_keys_and_certificates_are_read_from_pem() {
    let issuer = Issuer::new();
    let text: String = issuer.spki().iter().map(|der| pem(der)).collect();
    let algorithms = |keys: Vec<Key>| keys.into_iter().map(|key| key.algorithm).collect::<Vec<_>>();
    let all = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    assert_eq!(algorithms(of_pem(text.as_bytes()).unwrap()), all);

    let certificate = rcgen::generate_simple_self_signed(["issuer.example".to_owned()]).unwrap();
    assert_eq!(algorithms(of_pem(certificate.cert.pem().as_bytes()).unwrap()), [Algorithm::Es256]);
    assert!(error_of(&certificate.signing_key.serialize_pem()).starts_with("a private key"));
}

#[test]
fn other_keys_are_refused_with_the_reason() {
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(error_of(&p384.public_key_pem()).starts_with("neither RSA, P-256"));
    assert_eq!(
        Key::rsa(None, &[[0; 8].as_slice(), &[255; 128]].concat(), &[3]).unwrap_err(),
        "an RSA key of 1024 bits, expected 2048 to 8192"
    );
    assert!(error_of("").starts_with("no block"));
    assert!(error_of("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").len() > 5);
    let one = pem(&Issuer::new().spki()[2]);
    assert!(error_of(&one.repeat(MAX_KEYS + 1)).starts_with("65 keys"));
}

#[test]
fn keys_of_a_set_that_are_of_no_use_are_passed_over_and_counted() {
    let issuer = Issuer::new();
    let [rsa, ec, ed] = issuer.jwks("1");
    let mut useless = vec![
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "o"}),
        json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": ed["x"]}),
        json!({"kty": "new"}),
        json!({"kty": 7}),
        json!("x"),
    ];
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("RS512")),
        ("alg", json!("HS256")),
        ("n", json!("AQAB")),
        ("n", json!("+/")),
    ] {
        let mut key = rsa.clone();
        key[name] = value;
        useless.push(key);
    }
    let skipped = useless.len();
    let keys: Vec<_> = useless.iter().cloned().chain([rsa, ec, ed]).collect();
    let set = KeySet::of_jwks(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    let kids: Vec<_> = set.keys.iter().map(|key| key.kid.as_deref().unwrap()).collect();
    assert_eq!((kids, set.skipped), (vec!["rsa1", "ec1", "ed1"], skipped));
    assert!(KeySet::of_jwks(json!({"keys": useless}).to_string().as_bytes()).is_err());
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "<html>"] {
        assert!(KeySet::of_jwks(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn candidates_go_by_name_or_else_by_algorithm() {
    let issuer = Issuer::new();
    let keys: Vec<_> = issuer.jwks("1").into_iter().chain(issuer.jwks("2")).collect();
    let set = KeySet::of_jwks(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    assert_eq!(set.candidates(Some("ec2"), Algorithm::Rs256).len(), 1);
    assert_eq!(set.candidates(None, Algorithm::Rs256).len(), 2);
    assert!(set.candidates(Some("ec3"), Algorithm::Es256).is_empty());
    assert!(set.candidates(None, Algorithm::Hs256).is_empty());
}
