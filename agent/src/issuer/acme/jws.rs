//! Requests that instant-acme cannot make are signed here: JWS in the flattened JSON form (RFC 7515 section
//! 7.2.2), by the account's key or HS256 by a key that the CA gave out of band. So are those that it cannot
//! sign: it knows ES256 only, and accounts of other clients have other keys.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair, RSA_PKCS1_SHA256,
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use zeroize::Zeroizing;

/// An account's key. Ours are P-256 (ES256, the one algorithm that every ACME CA must take: RFC 8555 section
/// 6.2); those that other clients made may be P-384 or RSA.
pub(super) struct AccountKey {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ec(EcdsaKeyPair, &'static Curve),
    Rsa {
        pair: rsa::KeyPair,
        /// Modulus and exponent, as in the JWK.
        public: (String, String),
    },
}

/// By RFC 7518 sections 3.4 and 6.2.1.1.
struct Curve {
    name: &'static str,
    algorithm: &'static str,
    signing: &'static EcdsaSigningAlgorithm,
}

static CURVES: [Curve; 2] = [
    Curve { name: "P-256", algorithm: "ES256", signing: &ECDSA_P256_SHA256_FIXED_SIGNING },
    Curve { name: "P-384", algorithm: "ES384", signing: &ECDSA_P384_SHA384_FIXED_SIGNING },
];

impl AccountKey {
    /// From PKCS#8 (DER).
    ///
    /// # Errors
    /// Why not.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        let ec = CURVES.iter().find_map(|curve| {
            EcdsaKeyPair::from_pkcs8(curve.signing, der).ok().map(|pair| Pair::Ec(pair, curve))
        });
        let pair = match ec {
            Some(pair) => pair,
            None => rsa_pair(der).map_err(|error| {
                format!("expected a key on P-256 or P-384, or RSA of 2048 to 8192 bits, in PKCS#8: {error}")
            })?,
        };
        Ok(Self { pair, pkcs8: Zeroizing::new(der.to_vec()) })
    }

    /// Whether instant-acme can sign with it.
    pub(super) fn is_es256(&self) -> bool {
        self.algorithm() == "ES256"
    }

    /// By RFC 7518 section 3.1.
    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ec(_, curve) => curve.algorithm,
            Pair::Rsa { .. } => "RS256",
        }
    }

    /// From a PEM block PRIVATE KEY.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        let der = Zeroizing::new(der.secret_pkcs8_der().to_vec());
        Self::from_pkcs8(&der)
    }

    /// PKCS#8 (DER).
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key (RFC 7517), its members in the order that the thumbprint wants.
    pub(super) fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ec(pair, curve) => {
                // Uncompressed: 4, x, y (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                json!({"crv": curve.name, "kty": "EC", "x": encode(x), "y": encode(y)})
            }
            Pair::Rsa { public: (modulus, exponent), .. } => {
                json!({"e": exponent, "kty": "RSA", "n": modulus})
            }
        }
    }

    /// RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        encode(&sealwire_proto::validate::sha256(self.jwk().to_string().as_bytes()))
    }

    /// Signs `payload` under a protected header, to which `alg` is added.
    ///
    /// # Errors
    /// The library's refusal, which has no known cause.
    pub(super) fn sign(&self, header: Value, payload: &str) -> Result<Value, String> {
        flattened(header, self.algorithm(), &encode(payload.as_bytes()), |input| self.signature(input))
    }

    /// Signs anew what another key has signed: a request of instant-acme, whose account has this key.
    ///
    /// # Errors
    /// It is no JWS in the flattened form, or as [`AccountKey::sign`].
    pub(super) fn sign_again(&self, jws: &[u8]) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct Jws {
            protected: String,
            payload: String,
        }
        let Jws { protected, payload } = serde_json::from_slice(jws).map_err(|error| error.to_string())?;
        let header = BASE64_URL_SAFE_NO_PAD.decode(protected).map_err(|error| error.to_string())?;
        let header: Value = serde_json::from_slice(&header).map_err(|error| error.to_string())?;
        // One that shows its key instead is about that key, not about the account.
        if header.get("kid").is_none() {
            return Err("the request does not name its account".to_owned());
        }
        flattened(header, self.algorithm(), &payload, |input| self.signature(input))
    }

    fn signature(&self, input: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair, _) => pair.sign(&random, input).map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa { pair, .. } => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature).map(|()| signature)
            }
        };
        signature.map_err(|_| "the account key does not sign".to_owned())
    }
}

fn rsa_pair(der: &[u8]) -> Result<Pair, String> {
    let pair = rsa::KeyPair::from_pkcs8(der).map_err(|error| error.to_string())?;
    // RFC 8017 appendix A.1.1.
    let (_, key) = RSAPublicKey::from_der(pair.public_key().as_ref()).map_err(|error| error.to_string())?;
    let public = (encode(unsigned(key.modulus)), encode(unsigned(key.exponent)));
    Ok(Pair::Rsa { pair, public })
}

/// Without the zero that DER puts before a number whose first bit is set.
fn unsigned(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

/// HS256, for an external account binding (RFC 8555 section 7.3.4).
///
/// # Errors
/// None that is known.
pub(super) fn sign_hs256(key: &[u8], header: Value, payload: &str) -> Result<Value, String> {
    flattened(header, "HS256", &encode(payload.as_bytes()), |input| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Ok(hmac::sign(&key, input).as_ref().to_vec())
    })
}

/// `payload` is encoded already.
fn flattened(
    mut header: Value,
    algorithm: &str,
    payload: &str,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<Value, String> {
    header["alg"] = algorithm.into();
    let protected = encode(header.to_string().as_bytes());
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({"protected": protected, "payload": payload, "signature": encode(&signature)}))
}

/// base64url without padding, as everything in JOSE.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };

    fn public(key: &AccountKey) -> Vec<u8> {
        match &key.pair {
            Pair::Ec(pair, _) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa { pair, .. } => pair.public_key().as_ref().to_vec(),
        }
    }

    fn header(jws: &Value) -> Value {
        let header = BASE64_URL_SAFE_NO_PAD.decode(jws["protected"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&header).unwrap()
    }

    fn key() -> AccountKey {
        let (_, pkcs8) = instant_acme::Key::generate_pkcs8().unwrap();
        AccountKey::from_pkcs8(pkcs8.secret_pkcs8_der()).unwrap()
    }

    #[test]
    fn what_is_signed_verifies_with_every_kind_of_key() {
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let kinds: [(AccountKey, &str, &'static dyn VerificationAlgorithm); 3] = [
            (key(), "ES256", &ECDSA_P256_SHA256_FIXED),
            (AccountKey::from_pkcs8(p384.as_ref()).unwrap(), "ES384", &ECDSA_P384_SHA384_FIXED),
            (AccountKey::from_pkcs8(rsa.as_ref()).unwrap(), "RS256", &RSA_PKCS1_2048_8192_SHA256),
        ];
        for (key, algorithm, verification) in kinds {
            assert_eq!(key.is_es256(), algorithm == "ES256");
            let theirs = self::key().sign(json!({"kid": "k", "nonce": "n"}), r#"{"a":1}"#).unwrap();
            for (jws, other) in [
                (key.sign(json!({"url": "https://ca.example"}), r#"{"a":1}"#), ("url", "https://ca.example")),
                (key.sign_again(theirs.to_string().as_bytes()), ("nonce", "n")),
            ] {
                let jws = jws.unwrap();
                let part = |name: &str| jws[name].as_str().unwrap().to_owned();
                assert_eq!(part("payload"), encode(br#"{"a":1}"#));
                assert_eq!(
                    (&header(&jws)["alg"], &header(&jws)[other.0]),
                    (&algorithm.into(), &other.1.into())
                );
                let input = format!("{}.{}", part("protected"), part("payload"));
                let signature = BASE64_URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
                let public = UnparsedPublicKey::new(verification, public(&key));
                public.verify(input.as_bytes(), &signature).unwrap();
                public.verify(b"another", &signature).unwrap_err();
            }
        }
        let shown = key().sign(json!({"jwk": {}}), "").unwrap().to_string();
        assert!(key().sign_again(shown.as_bytes()).unwrap_err().contains("account"));
        key().sign_again(b"{").unwrap_err();
    }

    #[test]
    fn hs256_is_that_of_rfc_7515() {
        // Appendix A.1; its header is not ours, so the signing input is taken as a whole.
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = BASE64_URL_SAFE_NO_PAD.decode(key).unwrap();
        let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog\
                     Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), input.as_bytes());
        assert_eq!(encode(tag.as_ref()), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let jws = sign_hs256(&key, json!({"kid": "k"}), "{}").unwrap();
        let signed = format!("{}.{}", jws["protected"].as_str().unwrap(), jws["payload"].as_str().unwrap());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
        assert_eq!(jws["signature"], encode(tag.as_ref()));
    }

    #[test]
    fn the_jwk_has_the_members_and_order_of_rfc_7638() {
        let key = key();
        let jwk = key.jwk().to_string();
        assert!(jwk.starts_with(r#"{"crv":"P-256","kty":"EC","x":""#), "{jwk}");
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let jwk = AccountKey::from_pkcs8(rsa.as_ref()).unwrap().jwk();
        assert!(jwk.to_string().starts_with(r#"{"e":"AQAB","kty":"RSA","n":""#), "{jwk}");
        assert_eq!(jwk["n"].as_str().unwrap().len(), (2048usize / 8 * 4).div_ceil(3), "no zero in front");
        // Section 3.2. That the thumbprint is instant-acme's too is seen in the account's tests.
        assert_eq!(key.thumbprint().len(), 43);
        assert!(AccountKey::from_pkcs8(b"no key").is_err());
    }
}
