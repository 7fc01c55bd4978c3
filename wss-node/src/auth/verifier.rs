//! Checks tokens as one `[token]` section says.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::Grant;
use super::claims::{Claims, Source};
use super::error::AuthError;
use super::extract::check;
use super::fault::TokenFault;
use super::introspection::Introspection;
use super::issuer::Http;
use super::jwks::{FETCH_TIMEOUT, Jwks};
use super::jwt::{self, Jwt};
use super::keys::{self, Algorithm, Key, KeySet};
use super::secret::read_secret;
use crate::config::TokenConfig;
use crate::counters::Counters;

/// A shared secret is at least as long as the hash (RFC 7518 section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Public keys and certificates are a few KiB.
const MAX_PEM_BYTES: u64 = 256 * 1024;

/// What tokens are checked by: keys, a key set, a server that is asked.
#[derive(Debug)]
pub(crate) struct Verifier {
    config: TokenConfig,
    /// From files.
    own: KeySet,
    jwks: Option<Jwks>,
    introspection: Option<Introspection>,
}

impl Verifier {
    /// Reads the files of a `[token]` section; no network. `key` is the section's path, for messages: `token`, or
    /// `tenant.0.token`.
    ///
    /// # Errors
    /// [`AuthError`] names the key, the file and what to do.
    pub(crate) fn new(config: &TokenConfig, key: &str) -> Result<Self, AuthError> {
        if let Some(name) = &config.header {
            http::HeaderName::try_from(name.as_str())
                .map_err(|_| AuthError::new(key, "header", format!("\"{name}\" is no name of a header")))?;
        }
        let mut own = KeySet::default();
        for (position, path) in config.keys.iter().enumerate() {
            let read = read_pem(path).and_then(|pem| keys::of_pem(&pem));
            let failed = |message| {
                let message = format!("{}: {message}; expected public keys in PEM", path.display());
                AuthError::new(key, format_args!("keys.{position}"), message)
            };
            own.keys.extend(read.map_err(failed)?);
        }
        if let Some(path) = &config.hs256_secret {
            let failed = |message| AuthError::new(key, "hs256_secret", message);
            let secret = read_secret(path).map_err(failed)?;
            if secret.len() < MIN_SECRET_BYTES {
                let (shown, bytes) = (path.display(), secret.len());
                return Err(failed(format!(
                    "{shown} holds {bytes} bytes, expected at least {MIN_SECRET_BYTES}: openssl rand -hex 32"
                )));
            }
            own.keys.push(Key::hs256(&secret));
        }
        let roots = config.roots.as_deref();
        let jwks = config.jwks.as_ref().map(|url| {
            let http = Http::new(url, roots, FETCH_TIMEOUT)
                .map_err(|message| AuthError::new(key, "jwks", message))?;
            Ok(Jwks::new(http, config.jwks_refresh))
        });
        let introspection = config.introspection.as_ref().map(|set| Introspection::new(set, roots, key));
        Ok(Self {
            config: config.clone(),
            own,
            jwks: jwks.transpose()?,
            introspection: introspection.transpose()?,
        })
    }

    /// Keeps the issuer's key set fresh until the node stops, if there is one. Until the first is there, tokens are
    /// [`TokenFault::Unavailable`]: the node starts without its issuer.
    pub(crate) fn start(self: &Arc<Self>, counters: &Arc<Counters>, stopping: &CancellationToken) {
        if self.jwks.is_none() {
            return;
        }
        let (verifier, counters, stopping) = (Arc::clone(self), Arc::clone(counters), stopping.clone());
        tokio::spawn(async move {
            if let Some(jwks) = &verifier.jwks {
                jwks.run(&counters, &stopping).await;
            }
        });
    }

    /// Checks one token at a time of the wall clock.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub(crate) async fn verify(&self, token: &str, now: Timestamp) -> Result<Grant, TokenFault> {
        check(token)?;
        let has_keys = !self.own.keys.is_empty() || self.jwks.is_some();
        match &self.introspection {
            Some(server) if !has_keys || !jwt::looks_like(token) => {
                server.ask(token, &self.config, now).await
            }
            _ => {
                let claims = self.signed(&Jwt::parse(token)?).await?;
                Claims::parse(&claims)?.grant(&self.config, Source::Jwt, now)
            }
        }
    }

    /// The claims of a token that one of the keys has signed.
    async fn signed(&self, token: &Jwt<'_>) -> Result<Zeroizing<Vec<u8>>, TokenFault> {
        let own = self.own.candidates(None, token.algorithm);
        let tried = !own.is_empty();
        match first(token, own) {
            Err(TokenFault::Signature) => {}
            decided => return decided,
        }
        match &self.jwks {
            Some(jwks) if token.algorithm != Algorithm::Hs256 => {
                let set = jwks.set_for(token.kid.as_deref(), token.algorithm).await?;
                first(token, set.candidates(token.kid.as_deref(), token.algorithm))
            }
            _ if tried => Err(TokenFault::Signature),
            // There are keys, for other algorithms.
            _ if token.algorithm == Algorithm::Hs256 || !self.own.keys.is_empty() => {
                Err(TokenFault::Algorithm)
            }
            _ => Err(TokenFault::UnknownKey),
        }
    }
}

/// The claims, if one of these keys has signed the token.
fn first(token: &Jwt<'_>, keys: Vec<&Key>) -> Result<Zeroizing<Vec<u8>>, TokenFault> {
    let mut fault = TokenFault::Signature;
    for key in keys {
        match token.signed_by(key) {
            Err(found @ (TokenFault::Signature | TokenFault::Algorithm)) => fault = found,
            decided => return decided.map(Zeroizing::new),
        }
    }
    Err(fault)
}

fn read_pem(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem).map_err(|error| error.to_string())?;
    if pem.len() as u64 > MAX_PEM_BYTES {
        return Err(format!("more than {MAX_PEM_BYTES} bytes"));
    }
    Ok(pem)
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
