//! Opaque tokens: their server is asked what they are worth (RFC 7662), and the answer kept for a while.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use sealwire_proto::validate::sha256;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::claims::Claims;
use super::fault::TokenFault;
use super::jwt::Rules;
use super::{Grant, web};

/// A client waits for its token no longer.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers have 100 to 2,000 bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Answers that are kept.
const MAX_KEPT: usize = 10_000;
/// A refusal is kept no longer, however long others are: the token may be about to begin.
const REFUSED_FOR: SignedDuration = SignedDuration::from_secs(10);
/// When its server cannot be asked.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Questions at the same time; tokens that share a place wait for one another.
const PLACES: usize = 32;
/// The longest secret, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// An answer by the digest of its token: tokens themselves are not kept.
type Kept = HashMap<[u8; 32], (Timestamp, Result<Grant, TokenFault>)>;

/// The server of opaque tokens.
pub(super) struct Introspection {
    url: String,
    /// `Basic` and what follows it.
    authorization: Zeroizing<String>,
    client: Client,
    cache: SignedDuration,
    kept: Mutex<Kept>,
    places: [tokio::sync::Mutex<()>; PLACES],
}

impl std::fmt::Debug for Introspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspection").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    active: bool,
    #[serde(flatten)]
    claims: serde_json::Value,
}

impl Introspection {
    /// Reads the secret.
    pub(super) fn new(
        url: String,
        client_id: &str,
        secret: &Path,
        client: Client,
        cache: SignedDuration,
    ) -> Result<Self, String> {
        let secret = read_secret(secret)?;
        let text = std::str::from_utf8(&secret).map_err(|_| "the secret is no text".to_owned())?;
        // RFC 6749 section 2.3.1: each encoded by itself.
        let pair = Zeroizing::new(format!("{}:{}", form_encoded(client_id), form_encoded(text.trim_end())));
        let authorization = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let (kept, places) = (Mutex::default(), std::array::from_fn(|_| tokio::sync::Mutex::default()));
        Ok(Self { url, authorization, client, cache, kept, places })
    }

    /// What a token is worth.
    pub(super) async fn verify(
        &self,
        token: &str,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Grant, TokenFault> {
        let digest = sha256(token.as_bytes());
        if let Some(known) = self.known(&digest, now) {
            return known;
        }
        let _place = self.places[usize::from(digest[0]) % PLACES].lock().await;
        // Somebody may have asked meanwhile.
        if let Some(known) = self.known(&digest, now) {
            return known;
        }
        let outcome = self.ask(token, rules, now).await;
        let until = match &outcome {
            Ok(grant) => {
                let until = now.saturating_add(self.cache).unwrap_or(now);
                grant.expires.map_or(until, |end| until.min(end))
            }
            Err(TokenFault::Unavailable { .. }) => return outcome,
            Err(_) => now.saturating_add(REFUSED_FOR.min(self.cache)).unwrap_or(now),
        };
        self.keep(digest, until, outcome.clone(), now);
        outcome
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, digest: &[u8; 32], now: Timestamp) -> Option<Result<Grant, TokenFault>> {
        self.kept().get(digest).filter(|(until, _)| now < *until).map(|(_, outcome)| outcome.clone())
    }

    fn keep(&self, digest: [u8; 32], until: Timestamp, outcome: Result<Grant, TokenFault>, now: Timestamp) {
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() >= MAX_KEPT {
            // Refusals are cheapest to lose; anybody can make them by the thousand.
            kept.retain(|_, (_, outcome)| outcome.is_ok());
        }
        if kept.len() < MAX_KEPT {
            kept.insert(digest, (until, outcome));
        }
    }

    async fn ask(&self, token: &str, rules: &Rules, now: Timestamp) -> Result<Grant, TokenFault> {
        let request = self
            .client
            .post(&self.url)
            .header("authorization", self.authorization.as_str())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={}&token_type_hint=access_token", form_encoded(token)));
        let answered = match request.send().await {
            Ok(response) => web::body(response, MAX_BYTES).await,
            Err(error) => Err(web::told(&error)),
        };
        let answer = answered.and_then(|body| {
            serde_json::from_slice::<Answer>(&body)
                .map_err(|error| format!("no introspection response: {error}"))
        });
        let answer = answer.map_err(|fault| {
            tracing::warn!(url = self.url, fault, "a token cannot be looked up");
            TokenFault::Unavailable { retry_after: RETRY_AFTER }
        })?;
        if !answer.active {
            return Err(TokenFault::Inactive);
        }
        let claims: Claims = serde_json::from_value(answer.claims).map_err(|_| TokenFault::Malformed)?;
        claims.grant_until(rules, now, now.saturating_add(self.cache).unwrap_or(now))
    }
}

/// A secret's file, which nobody but its owner and group may read.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let shown = path.display();
    let failed = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o007 != 0 {
        return Err(format!("everybody may read {shown} (mode {:o}); chmod o= {shown}", mode & 0o7777));
    }
    let mut secret = Zeroizing::new(Vec::new());
    file.take(MAX_SECRET_BYTES).read_to_end(&mut secret).map_err(failed)?;
    if secret.trim_ascii_end().is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Ok(secret)
}

/// As in a form (WHATWG URL section 5.1), but for the space, which no token or id has.
fn form_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
