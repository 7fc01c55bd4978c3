//! Keys and tokens of tests: an issuer with one key of each kind.
#![allow(clippy::unwrap_used)]

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Somebody who signs tokens.
pub(crate) struct Issuer {
    pub(crate) rsa: RsaKeyPair,
    pub(crate) ec: EcdsaKeyPair,
    pub(crate) ed: Ed25519KeyPair,
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// SubjectPublicKeyInfo of each.
    pub(crate) fn spki(&self) -> [Vec<u8>; 3] {
        [
            self.rsa.public_key().as_der().unwrap().as_ref().to_vec(),
            self.ec.public_key().as_der().unwrap().as_ref().to_vec(),
            self.ed.public_key().as_der().unwrap().as_ref().to_vec(),
        ]
    }

    /// A JWK of each, with a kid that ends in `suffix`.
    pub(crate) fn jwks(&self, suffix: &str) -> [Value; 3] {
        let components = aws_lc_rs::signature::RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let point = self.ec.public_key().as_ref();
        [
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": format!("rsa{suffix}"),
                   "n": base64url(&components.n), "e": base64url(&components.e)}),
            json!({"kty": "EC", "crv": "P-256", "kid": format!("ec{suffix}"),
                   "x": base64url(&point[1..33]), "y": base64url(&point[33..])}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("ed{suffix}"),
                   "x": base64url(self.ed.public_key().as_ref())}),
        ]
    }

    /// A token with this header, signed as its `alg` says; other algorithms are not signed at all.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match header["alg"].as_str().unwrap_or_default() {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            "ES256" => self.ec.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => Vec::new(),
        };
        format!("{signed}.{}", base64url(signature))
    }
}

/// A token with a shared secret.
pub(crate) fn sign_hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", base64url(tag))
}
