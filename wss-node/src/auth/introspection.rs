//! Opaque tokens: their server is asked (RFC 7662), once at a time for each, and its answers are good for a while.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use jiff::Timestamp;
use tokio::sync::{OnceCell, Semaphore};
use zeroize::Zeroizing;

use super::Grant;
use super::answers::{Answers, Digest};
use super::claims::{Claims, Source};
use super::error::AuthError;
use super::fault::TokenFault;
use super::issuer::{self, Http};
use super::secret::read_secret;
use crate::config::{IntrospectionConfig, TokenConfig};

/// From the question to the answer, waiting for a turn included.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// When clients come back if the server does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// An answer: a few claims.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A refusal is good for no longer, for a token may become active.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Tokens of which the answer is remembered.
const MAX_ANSWERS: usize = 10_000;
/// Questions at the same time; more wait for their turn.
const MAX_QUESTIONS: usize = 64;

/// A server that knows tokens.
#[derive(Debug)]
pub(super) struct Introspection {
    http: Http,
    authorization: HeaderValue,
    cache: Duration,
    answers: Mutex<Answers>,
    flights: Mutex<HashMap<Digest, Weak<Flight>>>,
    turns: Semaphore,
}

/// A question under way, which all that ask the same wait for.
type Flight = OnceCell<Result<Grant, TokenFault>>;

impl Introspection {
    /// Reads the secret; no network. `section`: the path of `[token]`, for messages.
    ///
    /// # Errors
    /// [`AuthError`].
    pub(super) fn new(
        config: &IntrospectionConfig,
        roots: Option<&Path>,
        section: &str,
    ) -> Result<Self, AuthError> {
        let error =
            |key: &str, message| AuthError::new(section, format_args!("introspection.{key}"), message);
        let secret = read_secret(&config.client_secret).map_err(|message| error("client_secret", message))?;
        let unreadable = || {
            let message = format!("{}: is no text", config.client_secret.display());
            error("client_secret", message)
        };
        let secret = std::str::from_utf8(&secret).map_err(|_| unreadable())?;
        let http = Http::new(&config.url, roots, ASK_TIMEOUT).map_err(|message| error("url", message))?;
        Ok(Self {
            http,
            authorization: basic(&config.client_id, secret).ok_or_else(unreadable)?,
            cache: config.cache,
            answers: Mutex::new(Answers::new(MAX_ANSWERS)),
            flights: Mutex::default(),
            turns: Semaphore::new(MAX_QUESTIONS),
        })
    }

    /// What a token grants, as its server says or said not long ago.
    ///
    /// # Errors
    /// [`TokenFault`]; [`TokenFault::Unavailable`]: the server does not answer, or not to the question.
    pub(super) async fn ask(
        &self,
        token: &str,
        config: &TokenConfig,
        now: Timestamp,
    ) -> Result<Grant, TokenFault> {
        let key = digest_of(token);
        if let Some(said) = locked(&self.answers).recall(&key, now) {
            return said;
        }
        let flight = self.flight(key);
        let said = flight.get_or_init(|| async {
            // Another flight may have landed since the look above.
            if let Some(said) = locked(&self.answers).recall(&key, now) {
                return said;
            }
            let question = self.question(token, config, now);
            let said = match tokio::time::timeout(ASK_TIMEOUT, question).await {
                Ok(said) => said,
                Err(_) => {
                    tracing::warn!("token introspection: no answer within {ASK_TIMEOUT:?}");
                    Err(TokenFault::Unavailable { retry_after: RETRY_AFTER })
                }
            };
            self.remember(key, &said, now);
            said
        });
        let said = said.await.clone();
        let mut flights = locked(&self.flights);
        if flights.get(&key).is_some_and(|own| std::ptr::eq(own.as_ptr(), Arc::as_ptr(&flight))) {
            flights.remove(&key);
        }
        said
    }

    fn flight(&self, key: Digest) -> Arc<Flight> {
        let mut flights = locked(&self.flights);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade) {
            return flight;
        }
        // Those whose askers have all gone.
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(Flight::new());
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }

    fn remember(&self, key: Digest, said: &Result<Grant, TokenFault>, now: Timestamp) {
        let good_for = match said {
            Ok(_) => self.cache,
            Err(TokenFault::Unavailable { .. }) => return,
            Err(_) => self.cache.min(REFUSED_FOR),
        };
        let until = now.saturating_add(good_for).unwrap_or(Timestamp::MAX);
        let ends = said.as_ref().ok().and_then(|grant| grant.expires);
        locked(&self.answers).remember(key, said.clone(), ends.map_or(until, |ends| ends.min(until)));
    }

    async fn question(&self, token: &str, config: &TokenConfig, now: Timestamp) -> Result<Grant, TokenFault> {
        let unavailable = TokenFault::Unavailable { retry_after: RETRY_AFTER };
        let _turn = self.turns.acquire().await.map_err(|_| unavailable)?;
        let form = format!("token={}&token_type_hint=access_token", form_encoded(token));
        let request = self.http.post(form);
        let request = request.header(AUTHORIZATION, &self.authorization).header(ACCEPT, "application/json");
        let body = issuer::body(request, MAX_ANSWER_BYTES).await.map_err(|error| {
            tracing::warn!(error, "token introspection failed");
            unavailable
        })?;
        let claims = Claims::parse(&Zeroizing::new(body)).map_err(|_| {
            tracing::warn!("token introspection: the answer is none of RFC 7662");
            unavailable
        })?;
        if !claims.active {
            return Err(TokenFault::Inactive);
        }
        claims.grant(config, Source::Introspection, now)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest_of(token: &str) -> Digest {
    let mut digest_bytes = Digest::default();
    digest_bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    digest_bytes
}

/// RFC 6749 section 2.3.1: id and secret are encoded as in a form before they are joined.
fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let pair = Zeroizing::new(format!("{}:{}", form_encoded(id), form_encoded(secret)));
    let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `application/x-www-form-urlencoded`.
fn form_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => encoded.push(byte.into()),
            b' ' => encoded.push('+'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_encoded_and_never_shown() {
        let value = basic("a b", "p:w").unwrap();
        assert_eq!(STANDARD.decode(&value.as_bytes()[6..]).unwrap(), b"a+b:p%3Aw");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
