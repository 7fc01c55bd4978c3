//! HTTP to responders and distribution points: no credentials, a deadline, a limit on what is read, few redirects.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::chain_of;

use crate::outgoing;

/// From http to another place of the same CA; more is a loop.
const MAX_REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where.
    pub url: &'a str,
    /// A POST with this body and content type; none: a GET.
    pub body: Option<(&'static str, &'a [u8])>,
    /// What is accepted.
    pub accept: &'static str,
    /// More than this is not read.
    pub max_bytes: usize,
    /// From the connection to the last byte.
    pub timeout: Duration,
}

/// A body that came with status 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// As the server says.
    pub content_type: Option<String>,
    /// What it sent.
    pub body: Vec<u8>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No answer, or a part of one.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Another status than 200.
    #[error("answers {0}")]
    Status(StatusCode),
    /// Longer than what is taken.
    #[error("sends more than {0} bytes")]
    TooLong(usize),
}

/// Asks; scripted in tests.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// One request and its answer.
    ///
    /// # Errors
    /// [`FetchError`]: there is no body that could be used.
    async fn fetch(&self, request: Request<'_>) -> Result<Reply, FetchError>;
}

/// The real one.
#[derive(Clone, Debug)]
pub struct Http(reqwest::Client);

impl Http {
    /// A client. No network.
    ///
    /// # Errors
    /// The TLS set-up (redirects may lead to https) is unusable.
    pub fn new() -> Result<Self, String> {
        let tls = outgoing::tls(&Anchors::platform()).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::limited(MAX_REDIRECTS))
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            // Responders are many and asked seldom: connections are not kept for long.
            .pool_idle_timeout(Duration::from_secs(5))
            .user_agent(concat!("sealwire/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain_of(&error))?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Fetch for Http {
    async fn fetch(&self, request: Request<'_>) -> Result<Reply, FetchError> {
        let unreachable = |error: reqwest::Error| FetchError::Unreachable(chain_of(&error.without_url()));
        let mut builder = match request.body {
            Some((kind, body)) => self.0.post(request.url).header(CONTENT_TYPE, kind).body(body.to_vec()),
            None => self.0.get(request.url),
        };
        builder = builder.header(ACCEPT, request.accept).timeout(request.timeout);
        let mut response = builder.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let too_long = FetchError::TooLong(request.max_bytes);
        let announced = response.content_length().unwrap_or(0);
        if announced > request.max_bytes as u64 {
            return Err(too_long);
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > request.max_bytes {
                return Err(too_long);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { content_type, body })
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
