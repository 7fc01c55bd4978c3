//! POSTs to a service that sets records: TLS, deadlines, limits, and another try where that may help.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::chain_of;
use serde_json::Value;
use tokio::time::sleep;

use crate::issuer::acme::challenge::ChallengeError;
use crate::outgoing::{excerpt, one_line, tls};

/// One request; the provider's `timeout` is for all of them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries where the server fails or cannot be reached.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How much of an answer is read: enough for an error message.
const MAX_ANSWER_BYTES: usize = 1024;

/// A client for one service.
pub(super) struct Poster {
    client: reqwest::Client,
}

impl Poster {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, ChallengeError> {
        let anchors = match ca_file {
            Some(path) => {
                Anchors::from_pem_file(path).map_err(|error| ChallengeError::ours(error.to_string()))?
            }
            None => Anchors::platform(),
        };
        let set_up = |detail: String| ChallengeError::ours(format!("cannot set up the client: {detail}"));
        let tls = tls(&anchors).map_err(|error| set_up(error.to_string()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A redirect would send credentials where nobody configured them to go.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("sealwire/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| set_up(chain_of(&error)))?;
        Ok(Self { client })
    }

    /// Posts until the service has taken it.
    ///
    /// # Errors
    /// `Ours` for a 4xx, which another try would not mend; `Transient` for the rest.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Result<(), ChallengeError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let (retry, error) = match self.once(url, headers, body).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            if !retry || attempt == TRIES {
                return Err(error);
            }
            tracing::debug!(url, %error, attempt, "trying again");
            sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Result<(), (bool, ChallengeError)> {
        let mut request = self.client.post(url).json(body);
        for (name, value) in headers {
            let mut value = http::HeaderValue::from_str(value).map_err(|_| {
                (false, ChallengeError::ours(format!("the secret for {name} is not plain text")))
            })?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        let unreachable = |error: reqwest::Error| {
            let detail = chain_of(&error.without_url());
            (true, ChallengeError::transient(format!("cannot reach {url}: {detail}")))
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let answer = one_line(&excerpt(&mut response, MAX_ANSWER_BYTES).await);
        let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let message = format!("{url} answers {status}: {answer}");
        Err(if again {
            (true, ChallengeError::transient(message))
        } else {
            (false, ChallengeError::ours(message))
        })
    }
}
