//! JSON Web Tokens (RFC 7519) and what they grant. Pure: keys and time are arguments.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::Grant;
use super::claims::Claims;
use super::fault::TokenFault;

/// Keys that are tried when neither token nor keys say which: an issuer has two while it changes them.
const MAX_TRIED: usize = 8;

/// A key that tokens are checked with, bound to the one algorithm that it is for: a token cannot choose another.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `None`: it answers to every `kid`.
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// What must be true of a token besides its signature.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `None`: any.
    pub(super) issuer: Option<String>,
    /// Empty: any.
    pub(super) audience: BTreeSet<String>,
    /// How far clocks may differ.
    pub(super) leeway: SignedDuration,
}

/// The header as far as we go by it. Keys that it brings along (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Header {
    /// Of a token in its compact form (RFC 7515 section 7.1).
    pub(super) fn of(token: &str) -> Result<Self, TokenFault> {
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed);
        };
        let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenFault::Malformed)?;
        let header: Self = serde_json::from_slice(&json).map_err(|_| TokenFault::Malformed)?;
        // We understand no extension, and one that is critical must be understood (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        Ok(header)
    }

    fn algorithm(&self) -> Result<Algorithm, TokenFault> {
        match self.alg.as_str() {
            "RS256" => Ok(Algorithm::RS256),
            "ES256" => Ok(Algorithm::ES256),
            "EdDSA" => Ok(Algorithm::EdDSA),
            "HS256" => Ok(Algorithm::HS256),
            _ => Err(TokenFault::Algorithm),
        }
    }

    /// The keys that it may be signed with.
    ///
    /// # Errors
    /// [`TokenFault::Algorithm`]: there is a key, for another algorithm. [`TokenFault::UnknownKey`]: there is none, and
    /// another look at the issuer's keys may find it.
    pub(super) fn choose<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Result<Vec<&'a Key>, TokenFault> {
        let algorithm = self.algorithm()?;
        let answers = |key: &&Key| match (&key.kid, &self.kid) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        let (fit, others): (Vec<_>, Vec<_>) =
            keys.filter(answers).partition(|key| key.algorithm == algorithm);
        let named = |key: &&Key| key.kid.is_some() && key.kid == self.kid;
        if fit.is_empty() {
            // A shared secret is configured or not: no look elsewhere will find one.
            let is_final = algorithm == Algorithm::HS256 || others.iter().any(named);
            return Err(if is_final { TokenFault::Algorithm } else { TokenFault::UnknownKey });
        }
        // Whoever is called by name goes first.
        let (mut chosen, rest): (Vec<_>, Vec<_>) = fit.into_iter().partition(named);
        if chosen.is_empty() && self.kid.is_some() && rest.iter().all(|key| key.kid.is_some()) {
            return Err(TokenFault::UnknownKey);
        }
        chosen.extend(rest);
        chosen.truncate(MAX_TRIED);
        Ok(chosen)
    }
}

/// Checks signature, time, issuer and audience.
pub(super) fn check(token: &str, keys: &[&Key], rules: &Rules, now: Timestamp) -> Result<Grant, TokenFault> {
    let mut claims = None;
    for key in keys {
        match decode(token, key) {
            Ok(found) => {
                claims = Some(found);
                break;
            }
            Err(TokenFault::Signature) => {}
            Err(fault) => return Err(fault),
        }
    }
    claims.ok_or(TokenFault::Signature)?.grant(rules, now)
}

fn decode(token: &str, key: &Key) -> Result<Claims, TokenFault> {
    let mut validation = Validation::new(key.algorithm);
    // Claims are checked by `Claims::grant`, for which time is an argument.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Claims>(token, &key.key, &validation);
    decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
        // A key of another length than the signature's is another key.
        ErrorKind::InvalidSignature | ErrorKind::InvalidEcdsaKey | ErrorKind::InvalidRsaKey(_) => {
            TokenFault::Signature
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenFault::Algorithm,
        _ => TokenFault::Malformed,
    })
}
