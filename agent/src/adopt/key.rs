//! Keys as other clients write them, to PKCS#8.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use zeroize::{ZeroizeOnDrop, Zeroizing};

type Der = Zeroizing<Vec<u8>>;

/// The first private key of a PEM text, as PKCS#8 DER. lego and Caddy write SEC 1 (`EC PRIVATE KEY`).
pub(super) fn to_pkcs8(pem: &[u8]) -> Result<Der, String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("no private key: {error}"))?;
    match &key {
        PrivateKeyDer::Pkcs8(key) => Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
        PrivateKeyDer::Sec1(key) => {
            let der = key.secret_sec1_der();
            let pair = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
                .into_iter()
                .find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok());
            ec(&pair.ok_or("the EC key is damaged, or neither P-256 nor P-384")?)
        }
        PrivateKeyDer::Pkcs1(key) => {
            rsa(&rsa::KeyPair::from_der(key.secret_pkcs1_der()).map_err(|error| error.to_string())?)
        }
        _ => Err("a private key of an unknown kind".to_owned()),
    }
}

/// The members of a private JWK (RFC 7518 sections 6.2.2 and 6.3.2) that certbot writes. Flat, because serde
/// would copy secrets about to find out which kind it is.
#[derive(Deserialize, ZeroizeOnDrop)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<Number>,
    y: Option<Number>,
    n: Option<Number>,
    e: Option<Number>,
    d: Option<Number>,
    p: Option<Number>,
    q: Option<Number>,
    dp: Option<Number>,
    dq: Option<Number>,
    qi: Option<Number>,
}

/// Big-endian, in base64url.
#[derive(Deserialize, ZeroizeOnDrop)]
struct Number(String);

impl Number {
    /// Without zeros in front, which RSA numbers must not have.
    fn minimal(&self) -> Result<Der, String> {
        let mut bytes = self.bytes()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..zeros);
        Ok(bytes)
    }

    /// With zeros in front up to `length`, as numbers on a curve are written; older clients left them out.
    fn padded(&self, length: usize) -> Result<Der, String> {
        let number = self.minimal()?;
        let zeros = length.checked_sub(number.len()).ok_or("a number is too long for the curve")?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.resize(zeros, 0);
        bytes.extend_from_slice(&number);
        Ok(bytes)
    }

    fn bytes(&self) -> Result<Der, String> {
        // The content goes into no message: it is a secret even where it is malformed.
        let text = self.0.trim_end_matches('=');
        let bytes =
            BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number is not base64url".to_owned())?;
        Ok(Zeroizing::new(bytes))
    }
}

/// A private JWK (certbot's `private_key.json`), as PKCS#8 DER.
pub(super) fn jwk_to_pkcs8(json: &[u8]) -> Result<Der, String> {
    // serde's words may quote what it found.
    let damaged = |error: serde_json::Error| {
        format!("no private JWK (line {}, column {})", error.line(), error.column())
    };
    let jwk: Jwk = serde_json::from_slice(json).map_err(damaged)?;
    match jwk.kty.as_str() {
        "RSA" => {
            let number = |name: &str, number: &Option<Number>| present(name, number)?.minimal();
            let components = rsa::KeyPairComponents {
                public_key: rsa::PublicKeyComponents { n: number("n", &jwk.n)?, e: number("e", &jwk.e)? },
                d: number("d", &jwk.d)?,
                p: number("p", &jwk.p)?,
                q: number("q", &jwk.q)?,
                dP: number("dp", &jwk.dp)?,
                dQ: number("dq", &jwk.dq)?,
                qInv: number("qi", &jwk.qi)?,
            };
            let pair = rsa::KeyPair::from_components(&components);
            rsa(&pair.map_err(|error| format!("the RSA key cannot be used: {error}"))?)
        }
        "EC" => {
            let (algorithm, length): (&'static EcdsaSigningAlgorithm, _) = match jwk.crv.as_deref() {
                Some("P-256") => (&ECDSA_P256_SHA256_ASN1_SIGNING, 32),
                Some("P-384") => (&ECDSA_P384_SHA384_ASN1_SIGNING, 48),
                _ => return Err("the EC key is neither P-256 nor P-384".to_owned()),
            };
            let number = |name: &str, number: &Option<Number>| present(name, number)?.padded(length);
            // Uncompressed (SEC 1 section 2.3.3).
            let point = [&[4], &number("x", &jwk.x)?[..], &number("y", &jwk.y)?[..]].concat();
            let d = number("d", &jwk.d)?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &d, &point);
            ec(&pair.map_err(|error| format!("the EC key cannot be used: {error}"))?)
        }
        _ => Err("the key is neither RSA nor EC".to_owned()),
    }
}

fn present<'a>(name: &str, number: &'a Option<Number>) -> Result<&'a Number, String> {
    number.as_ref().ok_or_else(|| format!("the private JWK has no \"{name}\""))
}

fn ec(pair: &EcdsaKeyPair) -> Result<Der, String> {
    Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(|error| error.to_string())?.as_ref().to_vec()))
}

fn rsa(pair: &rsa::KeyPair) -> Result<Der, String> {
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| "the RSA key cannot be written as PKCS#8")?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

/// PEM of a PKCS#8 key.
pub(crate) fn pem_of(pkcs8: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pkcs8));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
