//! Keys that signatures of tokens are checked with: from PEM files, key sets (RFC 7517) and shared secrets. Pure but for
//! the mathematics.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, crypto};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::Deserialize;
use serde_json::Value;
use x509_parser::oid_registry::{OID_EC_P256, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

/// RSA keys of fewer bits are not safe (NIST SP 800-131A); those of more bits are not verified by aws-lc.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Keys of one set; issuers have two or three.
const MAX_KEYS: usize = 64;
/// Keys that one token is checked with: each costs a verification.
const MAX_TRIED: usize = 8;

/// How a token is signed (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
    Hs256,
}

impl Algorithm {
    /// As a header names it.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            "HS256" => Some(Self::Hs256),
            _ => None,
        }
    }
}

/// A key, which is for one algorithm only: that is what makes confusion of algorithms impossible.
#[derive(Debug)]
pub(super) struct Key {
    /// `kid` of its set; `None`: any token of its algorithm may be signed by it.
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    key: DecodingKey,
}

impl Key {
    /// A shared secret.
    pub(super) fn hs256(secret: &[u8]) -> Self {
        Self { kid: None, algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret) }
    }

    fn rsa(kid: Option<String>, modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let modulus = trimmed(modulus);
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!("an RSA key of {bits} bits, expected 2048 to 8192"));
        }
        let key = DecodingKey::from_rsa_raw_components(modulus, trimmed(exponent));
        Ok(Self { kid, algorithm: Algorithm::Rs256, key })
    }

    /// `point`: uncompressed (SEC 1 section 2.3.3).
    fn p256(kid: Option<String>, point: &[u8]) -> Result<Self, String> {
        if point.len() != 65 || point[0] != 4 {
            return Err("not an uncompressed point of P-256".to_owned());
        }
        Ok(Self { kid, algorithm: Algorithm::Es256, key: DecodingKey::from_ec_der(point) })
    }

    fn ed25519(kid: Option<String>, public: &[u8]) -> Result<Self, String> {
        if public.len() != 32 {
            return Err("not a key of Ed25519".to_owned());
        }
        Ok(Self { kid, algorithm: Algorithm::EdDsa, key: DecodingKey::from_ed_der(public) })
    }

    /// Whether its holder has signed a message; `signature` is base64url.
    pub(super) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        };
        crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    fn of_spki(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, String> {
        let unsupported = || "neither RSA, P-256 nor Ed25519".to_owned();
        if info.algorithm.algorithm == OID_SIG_ED25519 {
            return Self::ed25519(None, &info.subject_public_key.data);
        }
        match info.parsed().map_err(|error| error.to_string())? {
            PublicKey::RSA(rsa) => Self::rsa(None, rsa.modulus, rsa.exponent),
            PublicKey::EC(point) => {
                let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
                if curve.is_none_or(|curve| curve != OID_EC_P256) {
                    return Err(unsupported());
                }
                Self::p256(None, point.data())
            }
            _ => Err(unsupported()),
        }
    }
}

fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The public keys in a PEM file, those of its certificates among them.
///
/// # Errors
/// In words: a block that is none of these, or a key that no algorithm here is for.
pub(super) fn of_pem(pem: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = block.map_err(|error| format!("not PEM: {error}"))?;
        let key = match kind {
            SectionKind::PublicKey => {
                let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|error| error.to_string())?;
                Key::of_spki(&info)
            }
            SectionKind::Certificate => {
                let (_, found) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
                Key::of_spki(found.public_key())
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                Err("a private key, which belongs to the issuer alone; give the node the public one"
                    .to_owned())
            }
            _ => Err("a block that is neither PUBLIC KEY nor CERTIFICATE".to_owned()),
        };
        keys.push(key?);
    }
    match keys.len() {
        0 => Err("no block PUBLIC KEY or CERTIFICATE".to_owned()),
        1..=MAX_KEYS => Ok(keys),
        many => Err(format!("{many} keys, expected at most {MAX_KEYS}")),
    }
}

/// The members of a JWK that matter here (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    fn key(self) -> Result<Key, String> {
        if self.r#use.is_some_and(|purpose| purpose != "sig")
            || self.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Err("not for signatures".to_owned());
        }
        let part = |value: Option<String>, name: &str| {
            let value = value.ok_or_else(|| format!("{name} is missing"))?;
            URL_SAFE_NO_PAD.decode(value).map_err(|_| format!("{name} is not base64url"))
        };
        let kid = self.kid.filter(|kid| kid.len() <= 255);
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(kid, &part(self.n, "n")?, &part(self.e, "e")?),
            ("EC", Some("P-256")) => {
                let point = [&[4][..], &part(self.x, "x")?, &part(self.y, "y")?].concat();
                Key::p256(kid, &point)
            }
            ("OKP", Some("Ed25519")) => Key::ed25519(kid, &part(self.x, "x")?),
            // Symmetric keys in a public document are no secret.
            (kind, _) => Err(format!("kty {kind:.20} is of no use here")),
        }?;
        if self.alg.is_some_and(|alg| Algorithm::of(&alg) != Some(key.algorithm)) {
            return Err("for another algorithm".to_owned());
        }
        Ok(key)
    }
}

/// Keys, and how many of a set were of no use.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    pub(super) keys: Vec<Key>,
    pub(super) skipped: usize,
}

impl KeySet {
    /// The keys of a JWKS that signatures can be checked with; others are passed over (RFC 7517 section 5).
    ///
    /// # Errors
    /// In words: not a JWKS, or none of its keys is of use.
    pub(super) fn of_jwks(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        let set: Jwks = serde_json::from_slice(json).map_err(|error| format!("not a JWKS: {error}"))?;
        let count = set.keys.len();
        let sound = |jwk| serde_json::from_value::<Jwk>(jwk).map_err(|error| error.to_string())?.key();
        let keys: Vec<_> = set.keys.into_iter().filter_map(|jwk| sound(jwk).ok()).take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err(format!(
                "none of its {count} keys is of use: expected RSA, P-256 or Ed25519 for sig"
            ));
        }
        Ok(Self { skipped: count - keys.len(), keys })
    }

    /// Those that may have signed a token: what it names; where token or key has no name, all of its algorithm.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<&Key> {
        let fits = |key: &&Key| match (kid, key.kid.as_deref()) {
            (Some(wanted), Some(kid)) => kid == wanted,
            _ => key.algorithm == algorithm,
        };
        self.keys.iter().filter(fits).take(MAX_TRIED).collect()
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
