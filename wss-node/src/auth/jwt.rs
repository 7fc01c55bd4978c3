//! The compact form of a signed JWT (RFC 7515 section 3.1), taken apart and checked against keys that the node has. Pure.
//! Nothing in a header brings a key along: `jwk`, `jku`, `x5u` and `x5c` are not even read.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fault::TokenFault;
use super::keys::{Algorithm, Key};

/// Longest `kid`, in bytes; those in use are hashes.
const MAX_KID_BYTES: usize = 255;

/// The parts of the header that decide.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    /// Extensions that must be understood (RFC 7515 section 4.1.11): none is.
    crit: Option<IgnoredAny>,
    /// Of RFC 7797, which would change what is signed.
    b64: Option<IgnoredAny>,
}

/// A token whose header was read and whose signature was not checked yet.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// Header and claims, as they were signed.
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

/// Whether a token is a JWT by its looks: three parts, of which the first is a JSON object.
pub(super) fn looks_like(token: &str) -> bool {
    let first = token.split('.').next().unwrap_or_default();
    token.split('.').count() == 3
        && URL_SAFE_NO_PAD.decode(first).is_ok_and(|json| json.trim_ascii_start().first() == Some(&b'{'))
}

impl<'a> Jwt<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`]; [`TokenFault::Algorithm`]: one that the node never takes, `none` among them.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenFault> {
        let malformed = TokenFault::Malformed;
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        if claims.contains('.') {
            return Err(malformed);
        }
        let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed)?;
        // serde would take an array for a struct.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed);
        }
        let header: Header<'_> = serde_json::from_slice(&json).map_err(|_| malformed)?;
        let too_long = header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES);
        if header.crit.is_some() || header.b64.is_some() || too_long {
            return Err(malformed);
        }
        let algorithm = Algorithm::of(&header.alg).ok_or(TokenFault::Algorithm)?;
        Ok(Self { algorithm, kid: header.kid.map(Cow::into_owned), signed, claims, signature })
    }

    /// The claims, if the holder of this key has signed them.
    ///
    /// # Errors
    /// [`TokenFault::Algorithm`]: the key is for another one, whatever the token says. [`TokenFault::Signature`].
    pub(super) fn signed_by(&self, key: &Key) -> Result<Vec<u8>, TokenFault> {
        if key.algorithm != self.algorithm {
            return Err(TokenFault::Algorithm);
        }
        if !key.has_signed(self.signed.as_bytes(), self.signature) {
            return Err(TokenFault::Signature);
        }
        URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| TokenFault::Malformed)
    }
}
