//! Checks tokens as one `[token]` section says.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::error::AuthError;
use super::extract::check;
use super::fault::TokenFault;
use super::introspection::{ASK_TIMEOUT, Introspection, read_secret};
use super::jwks::{FETCH_TIMEOUT, Jwks};
use super::jwt::{self, Header, Key, Rules};
use super::{Grant, keys, web};
use crate::config::TokenConfig;

/// RFC 7518 section 3.2: a key as long as the hash at least.
const MIN_HS256_BYTES: usize = 32;

/// What tokens are checked by: keys, a key set, a server that is asked.
#[derive(Debug)]
pub(crate) struct Verifier {
    rules: Rules,
    /// From files.
    keys: Vec<Key>,
    jwks: Option<Arc<Jwks>>,
    introspection: Option<Introspection>,
}

impl Verifier {
    /// Reads the files of a `[token]` section; no network. `key` is the section's path, for messages: `token`, or
    /// `tenant.0.token`.
    ///
    /// # Errors
    /// [`AuthError`] names the key, the file and what to do.
    pub(crate) fn new(config: &TokenConfig, key: &str) -> Result<Self, AuthError> {
        let mut own = Vec::new();
        for (position, path) in config.keys.iter().enumerate() {
            let found = keys::from_pem_file(path);
            own.extend(found.map_err(|fault| AuthError::new(key, format!("keys.{position}"), fault))?);
        }
        if let Some(path) = &config.hs256_secret {
            let found = hs256(path).map_err(|fault| AuthError::new(key, "hs256_secret", fault))?;
            own.push(found);
        }
        let client = |timeout| {
            web::client(config.roots.as_deref(), timeout).map_err(|fault| AuthError::new(key, "roots", fault))
        };
        let jwks = match &config.jwks {
            Some(url) => Some(Arc::new(Jwks::new(url.clone(), client(FETCH_TIMEOUT)?, config.jwks_refresh))),
            None => None,
        };
        let introspection = match &config.introspection {
            Some(set) => {
                let made = Introspection::new(
                    set.url.clone(),
                    &set.client_id,
                    &set.client_secret,
                    client(ASK_TIMEOUT)?,
                    signed(set.cache),
                );
                let at = "introspection.client_secret";
                Some(made.map_err(|fault| AuthError::new(key, at, fault))?)
            }
            None => None,
        };
        let rules = Rules {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway: signed(config.leeway),
        };
        Ok(Self { rules, keys: own, jwks, introspection })
    }

    /// Fetches the key set ahead of the first token.
    pub(crate) async fn warm_up(&self) {
        if let Some(jwks) = &self.jwks {
            // Its failure is told, and the first token tries again.
            let _ = jwks.keys().await;
        }
    }

    /// Checks one token.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub(crate) async fn verify(&self, token: &str, now: Timestamp) -> Result<Grant, TokenFault> {
        check(token)?;
        let has_keys = self.jwks.is_some() || !self.keys.is_empty();
        match &self.introspection {
            Some(introspection) if !has_keys || token.split('.').count() != 3 => {
                introspection.verify(token, &self.rules, now).await
            }
            _ => self.verify_jwt(token, now).await,
        }
    }

    async fn verify_jwt(&self, token: &str, now: Timestamp) -> Result<Grant, TokenFault> {
        let header = Header::of(token)?;
        let Some(jwks) = &self.jwks else {
            return jwt::check(token, &header.choose(self.keys.iter())?, &self.rules, now);
        };
        // Those in files are there whatever becomes of the set's server.
        if let Ok(chosen) = header.choose(self.keys.iter()) {
            match jwt::check(token, &chosen, &self.rules, now) {
                Err(TokenFault::Signature) => {}
                outcome => return outcome,
            }
        }
        let set = jwks.keys().await?;
        match header.choose(set.keys.iter()) {
            Err(TokenFault::UnknownKey) => {
                let newer = jwks.look_again(&set).await?;
                jwt::check(token, &header.choose(newer.keys.iter())?, &self.rules, now)
            }
            chosen => jwt::check(token, &chosen?, &self.rules, now),
        }
    }
}

fn hs256(path: &std::path::Path) -> Result<Key, String> {
    let secret = read_secret(path)?;
    let secret = secret.trim_ascii_end();
    if secret.len() < MIN_HS256_BYTES {
        let (shown, found) = (path.display(), secret.len());
        return Err(format!("{shown} holds {found} bytes, expected at least {MIN_HS256_BYTES}"));
    }
    Ok(Key { kid: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
