//! Public keys of issuers: from PEM files, and from key sets (RFC 7517).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use serde_json::Value;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::jwt::Key;

/// RFC 7518 section 3.3.
const MIN_RSA_BITS: usize = 2048;
/// What aws-lc takes.
const MAX_RSA_BITS: usize = 8192;
/// An uncompressed point on P-256 (SEC 1 section 2.3.3).
const P256_POINT_BYTES: usize = 65;
/// Keys of one set; issuers have two or three.
const MAX_KEYS: usize = 64;
/// RFC 8410 section 3.
const ED25519: &str = "1.3.101.112";

/// The keys of a PEM file: `PUBLIC KEY` and `CERTIFICATE` sections.
pub(super) fn from_pem_file(path: &Path) -> Result<Vec<Key>, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        let (kind, der) = section.map_err(|error| format!("{shown} is not PEM: {error}"))?;
        let key = match kind {
            SectionKind::PublicKey => from_spki(&SubjectPublicKeyInfoDer::from(der)),
            SectionKind::Certificate => from_certificate(&CertificateDer::from(der)),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                Err("holds a private key, which only the issuer should have; put the public key here"
                    .to_owned())
            }
            _ => continue,
        };
        keys.push(key.map_err(|fault| format!("{shown}: {fault}"))?);
    }
    if keys.is_empty() {
        return Err(format!("{shown} holds no PUBLIC KEY and no CERTIFICATE"));
    }
    Ok(keys)
}

fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Key, String> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| format!("certificate: {error}"))?;
    from_public_key(parsed.public_key())
}

fn from_spki(spki: &SubjectPublicKeyInfoDer<'_>) -> Result<Key, String> {
    let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|error| format!("public key: {error}"))?;
    from_public_key(&parsed)
}

fn from_public_key(spki: &SubjectPublicKeyInfo<'_>) -> Result<Key, String> {
    let key = |algorithm, key| Ok(Key { kid: None, algorithm, key });
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let modulus = rsa.modulus.without_leading_zeros();
            check_rsa(modulus)?;
            key(Algorithm::RS256, DecodingKey::from_rsa_raw_components(modulus, rsa.exponent))
        }
        Ok(PublicKey::EC(point)) if point.data().len() == P256_POINT_BYTES => {
            key(Algorithm::ES256, DecodingKey::from_ec_der(point.data()))
        }
        _ if spki.algorithm.algorithm.to_id_string() == ED25519 => {
            key(Algorithm::EdDSA, DecodingKey::from_ed_der(&spki.subject_public_key.data))
        }
        _ => Err("expected an RSA, P-256 or Ed25519 key (RS256, ES256, EdDSA)".to_owned()),
    }
}

fn check_rsa(modulus: &[u8]) -> Result<(), String> {
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Ok(());
    }
    Err(format!("an RSA key of {bits} bits, expected {MIN_RSA_BITS} to {MAX_RSA_BITS}"))
}

/// A DER integer begins with zero where its first bit is set.
trait LeadingZeros {
    fn without_leading_zeros(&self) -> &[u8];
}

impl LeadingZeros for [u8] {
    fn without_leading_zeros(&self) -> &[u8] {
        let zeros = self.iter().take_while(|byte| **byte == 0).count();
        &self[zeros..]
    }
}

/// A key of a set, as far as we go by it (RFC 7517 section 4, RFC 7518 section 6).
#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that can be used, and how many cannot.
///
/// # Errors
/// It is no set, or nothing in it can be used.
pub(super) fn from_set(json: &[u8]) -> Result<(Vec<Key>, usize), String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(json).map_err(|error| format!("no JWK set: {error}"))?;
    let found = set.keys.len();
    let keys: Vec<_> = set.keys.into_iter().take(MAX_KEYS).filter_map(from_jwk).collect();
    if keys.is_empty() {
        return Err(format!("none of its {found} keys is for RS256, ES256 or EdDSA signatures"));
    }
    let passed_over = found - keys.len();
    Ok((keys, passed_over))
}

fn from_jwk(jwk: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let verifies = |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
    if jwk.r#use.as_ref().is_some_and(|purpose| purpose != "sig")
        || jwk.key_ops.as_ref().is_some_and(|operations| !verifies(operations))
    {
        return None;
    }
    let bytes = |field: &Option<String>| URL_SAFE_NO_PAD.decode(field.as_ref()?.trim_end_matches('=')).ok();
    let (algorithm, name, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (modulus, exponent) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
            let modulus = modulus.without_leading_zeros();
            check_rsa(modulus).ok()?;
            (Algorithm::RS256, "RS256", DecodingKey::from_rsa_raw_components(modulus, &exponent))
        }
        ("EC", Some("P-256")) => {
            let point = [vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat();
            if point.len() != P256_POINT_BYTES {
                return None;
            }
            (Algorithm::ES256, "ES256", DecodingKey::from_ec_der(&point))
        }
        ("OKP", Some("Ed25519")) => {
            let point = bytes(&jwk.x).filter(|point| point.len() == 32)?;
            (Algorithm::EdDSA, "EdDSA", DecodingKey::from_ed_der(&point))
        }
        _ => return None,
    };
    if jwk.alg.as_ref().is_some_and(|alg| alg != name && !(name == "EdDSA" && alg == "Ed25519")) {
        return None;
    }
    Some(Key { kid: jwk.kid, algorithm, key })
}
