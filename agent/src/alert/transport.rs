//! The way out: one POST over HTTPS with limits on everything.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::Timestamp;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::chain_of;

use super::attempt::Answer;
use super::request::Request;
use crate::outgoing::{excerpt, one_line, retry_after, tls};

/// Receivers answer at once or not at all; the next attempt is never far.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer is read: enough for an error message.
const MAX_ANSWER_BYTES: usize = 512;

/// Sends requests.
#[async_trait]
pub(super) trait Transport: Send + Sync {
    /// Posts one, and waits for the answer.
    async fn post(&self, request: Request) -> Answer;
}

/// The real one.
pub(super) struct Https {
    client: reqwest::Client,
}

impl Https {
    /// Trusts the roots in `ca_file`, or those of the operating system.
    ///
    /// # Errors
    /// In words: the file cannot be used, or TLS cannot be set up.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let anchors = match ca_file {
            Some(path) => Anchors::from_pem_file(path).map_err(|error| error.to_string())?,
            None => Anchors::platform(),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(&anchors).map_err(|error| error.to_string())?)
            // A redirect would send secrets where nobody configured them to go.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("sealwire/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain_of(&error))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for Https {
    async fn post(&self, request: Request) -> Answer {
        let mut builder = self.client.post(&request.url).header(CONTENT_TYPE, "application/json");
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        // The URL of a webhook is often a secret: errors are told without it.
        let mut response = match builder.body(request.body).send().await {
            Ok(response) => response,
            Err(error) => return Answer::Nothing(chain_of(&error.without_url())),
        };
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| retry_after(value, Timestamp::now()));
        let status = response.status().as_u16();
        let body = one_line(&excerpt(&mut response, MAX_ANSWER_BYTES).await);
        Answer::Response { status, retry_after, body }
    }
}
