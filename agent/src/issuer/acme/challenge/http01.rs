//! HTTP-01 (RFC 8555 section 8.3): the CA asks port 80 of the name for a token and must get the key
//! authorization. One [`Http01`] serves every order of every ACME issuer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stateless::Stateless;
use super::{ChallengeError, Facts, MAX_PENDING, Prepared, Solver};
use crate::config::ChallengeKind;
use crate::issuer::ErrorClass;
use crate::issuer::listen::accept;

/// The path below which the CA asks (RFC 8555 section 8.3).
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";

/// RFC 8555 section 8.3 wants at least 128 bits (22 characters) and names no upper bound; CAs use 43.
const MAX_TOKEN_BYTES: usize = 128;

/// What is well-formed enough to be answered without being known: 128 bits (RFC 8555 section 8.3).
const MIN_TOKEN_BYTES: usize = 22;

/// How long a client may take to send its request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one connection may last: a CA asks one thing and goes.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a challenge cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Http01Error {
    /// Serving it would let the CA choose what a URL of ours looks like.
    #[error("the CA's challenge token is not base64url or is longer than {MAX_TOKEN_BYTES} characters")]
    BadToken,
    /// Too many orders under way.
    #[error("{MAX_PENDING} challenges are being answered already; it is tried again later")]
    Full,
}

/// What is answered for a token, and for how many orders: a CA may hand the same pending authorization to
/// two orders of one account, and the first to finish must not take the answer from the other.
struct Answer {
    key_authorization: String,
    orders: usize,
}

/// The challenges that are answered now. Clones share them.
#[derive(Clone, Default)]
pub struct Http01 {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    stateless: Option<Arc<Stateless>>,
}

/// A challenge that is answered as long as this lives.
#[must_use = "the challenge is no longer answered when this is dropped"]
pub struct Provisioned {
    http01: Http01,
    token: String,
}

impl Http01 {
    /// Nothing to answer yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers tokens that nobody provisioned as well.
    pub(super) fn stateless(stateless: Stateless) -> Self {
        Self { stateless: Some(Arc::new(stateless)), ..Self::default() }
    }

    /// Answers `token` with `key_authorization` until the guard is dropped.
    ///
    /// # Errors
    /// [`Http01Error`].
    pub fn provision(&self, token: &str, key_authorization: &str) -> Result<Provisioned, Http01Error> {
        if !is_token(token) {
            return Err(Http01Error::BadToken);
        }
        let mut answers = self.lock();
        if answers.len() >= MAX_PENDING && !answers.contains_key(token) {
            return Err(Http01Error::Full);
        }
        let answer = answers
            .entry(token.to_owned())
            .or_insert_with(|| Answer { key_authorization: String::new(), orders: 0 });
        // The newest wins: it belongs to the account key in use now.
        key_authorization.clone_into(&mut answer.key_authorization);
        answer.orders += 1;
        drop(answers);
        Ok(Provisioned { http01: self.clone(), token: token.to_owned() })
    }

    /// The key authorization for a token that was asked for at `host`.
    fn answer(&self, token: &str, host: Option<&str>) -> Option<String> {
        if !is_token(token) {
            return None;
        }
        if let Some(answer) = self.lock().get(token) {
            return Some(answer.key_authorization.clone());
        }
        let stateless = self.stateless.as_ref().filter(|_| token.len() >= MIN_TOKEN_BYTES)?;
        stateless.answer(token, host)
    }

    #[cfg(test)]
    pub(in super::super) fn answers(&self, token: &str) -> bool {
        self.answer(token, None).is_some()
    }

    /// Every change is a single call on the map, so a panic elsewhere cannot have left it half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers CAs on `listener` until `shutdown`. Anything but a known token gets 404.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let router = Router::new().route(&format!("{PATH}{{token}}"), get(respond)).with_state(self);
        accept(listener, shutdown, |stream| serve_connection(stream, router.clone())).await;
    }
}

impl Drop for Provisioned {
    fn drop(&mut self) {
        let mut answers = self.http01.lock();
        if let Some(answer) = answers.get_mut(&self.token) {
            answer.orders -= 1;
            if answer.orders == 0 {
                answers.remove(&self.token);
            }
        }
    }
}

impl Prepared for Provisioned {}

#[async_trait]
impl Solver for Http01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    async fn prepare(&self, facts: &Facts, _: Instant) -> Result<Box<dyn Prepared>, ChallengeError> {
        match self.provision(&facts.token, &facts.key_authorization) {
            Ok(provisioned) => Ok(Box::new(provisioned)),
            Err(error) => {
                let class = match error {
                    Http01Error::Full => ErrorClass::Transient,
                    Http01Error::BadToken => ErrorClass::Ca,
                };
                Err(ChallengeError { class, message: error.to_string() })
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Err(error)) => tracing::debug!(error, "a connection for a challenge failed"),
        Err(_) => tracing::debug!("a connection for a challenge took too long"),
        Ok(Ok(())) => {}
    }
}

async fn respond(State(http01): State<Http01>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match http01.answer(&token, host) {
        Some(key_authorization) => {
            tracing::debug!(token, "challenge answered");
            // RFC 8555 section 8.3: "application/octet-stream" is what the example shows.
            ([(CONTENT_TYPE, "application/octet-stream")], key_authorization).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// RFC 8555 section 8.3: the base64url alphabet, nothing else.
fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn answers_known_tokens_until_their_guard_is_dropped() {
        let http01 = Http01::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(http01.clone().serve(listener, shutdown.clone()));

        let guard = http01.provision("abc_-9", "abc_-9.thumb").unwrap();
        let second_order = http01.provision("abc_-9", "abc_-9.thumb").unwrap();
        let reply = ask(address, "/.well-known/acme-challenge/abc_-9").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.contains("content-type: application/octet-stream\r\n"), "{reply}");
        assert!(reply.ends_with("\r\n\r\nabc_-9.thumb"), "{reply}");

        for path in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/other", "/abc_-9"] {
            assert!(ask(address, path).await.starts_with("HTTP/1.1 404"), "{path}");
        }
        drop(guard);
        assert_eq!(http01.answer("abc_-9", None).unwrap(), "abc_-9.thumb");
        drop(second_order);
        let reply = ask(address, "/.well-known/acme-challenge/abc_-9").await;
        assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
        assert!(http01.lock().is_empty());

        shutdown.cancel();
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn tokens_that_are_not_base64url_are_refused() {
        let http01 = Http01::new();
        for token in ["", "a/b", "..", "a%2e", "a=", "é", &"a".repeat(MAX_TOKEN_BYTES + 1)] {
            assert_eq!(http01.provision(token, "x").err(), Some(Http01Error::BadToken), "{token}");
        }
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let http01 = Http01::new();
        let guards: Vec<_> =
            (0..MAX_PENDING).map(|number| http01.provision(&format!("t{number}"), "x").unwrap()).collect();
        assert_eq!(http01.provision("more", "x").err(), Some(Http01Error::Full));
        let _same = http01.provision("t1", "x").unwrap();
        drop(guards);
        let _more = http01.provision("more", "x").unwrap();
        assert_eq!(http01.lock().len(), 2);
    }
}
