//! Requests that instant-acme cannot make are signed here: JWS in the flattened JSON form (RFC 7515 section
//! 7.2.2), ES256 by the account's key or HS256 by a key that the CA gave out of band.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// An account's key: ES256, the one algorithm that every ACME CA must take (RFC 8555 section 6.2).
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl AccountKey {
    /// From PKCS#8 (DER).
    ///
    /// # Errors
    /// Why not.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|error| format!("expected an ECDSA key on P-256 in PKCS#8: {error}"))?;
        Ok(Self { pair, pkcs8: Zeroizing::new(der.to_vec()) })
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
        // Uncompressed: 4, x, y (SEC 1 section 2.3.3).
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        json!({"crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y)})
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
        flattened(header, "ES256", payload, |input| {
            let signature = self.pair.sign(&SystemRandom::new(), input);
            Ok(signature.map_err(|_| "the account key does not sign".to_owned())?.as_ref().to_vec())
        })
    }
}

/// HS256, for an external account binding (RFC 8555 section 7.3.4).
///
/// # Errors
/// None that is known.
pub(super) fn sign_hs256(key: &[u8], header: Value, payload: &str) -> Result<Value, String> {
    flattened(header, "HS256", payload, |input| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Ok(hmac::sign(&key, input).as_ref().to_vec())
    })
}

fn flattened(
    mut header: Value,
    algorithm: &str,
    payload: &str,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<Value, String> {
    header["alg"] = algorithm.into();
    let (protected, payload) = (encode(header.to_string().as_bytes()), encode(payload.as_bytes()));
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
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    fn key() -> AccountKey {
        let (_, pkcs8) = instant_acme::Key::generate_pkcs8().unwrap();
        AccountKey::from_pkcs8(pkcs8.secret_pkcs8_der()).unwrap()
    }

    #[test]
    fn what_is_signed_verifies() {
        let key = key();
        let jws = key.sign(json!({"url": "https://ca.example"}), r#"{"a":1}"#).unwrap();
        let part = |name: &str| jws[name].as_str().unwrap().to_owned();
        let input = format!("{}.{}", part("protected"), part("payload"));
        let signature = BASE64_URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref());
        public.verify(input.as_bytes(), &signature).unwrap();
        public.verify(b"another", &signature).unwrap_err();
        let header = BASE64_URL_SAFE_NO_PAD.decode(part("protected")).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&header).unwrap(),
            json!({"alg": "ES256", "url": "https://ca.example"})
        );
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
        // Section 3.2. That the thumbprint is instant-acme's too is seen in the account's tests.
        assert_eq!(key.thumbprint().len(), 43);
        assert!(AccountKey::from_pkcs8(b"no key").is_err());
    }
}
