//! Our own requests to a CA, beside instant-acme: what it has no call for, over the same client, with the
//! same errors.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use instant_acme::{Error, Problem};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::call::NONCE_ROUNDS;
use super::directory::Directory;
use super::http::{AcmeHttp, Answer, HttpFault, recorded};
use super::jws::AccountKey;
use super::nonces::NONCE_HEADER;
use super::problem::{Ca, is_bad_nonce};
use crate::issuer::IssueError;

/// As many tries as instant-acme within one `call!` (three in each round).
pub(super) const NONCE_TRIES: usize = 3 * NONCE_ROUNDS;

/// A CA as it is reached.
#[derive(Clone, Copy)]
pub(super) struct Wire<'a> {
    pub(super) http: &'a AcmeHttp,
    pub(super) ca: &'a Ca,
    pub(super) directory: &'a Directory,
}

/// Who signs a request.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) key: &'a AccountKey,
    /// The account's URL; `None` where the CA has to be shown the key itself.
    pub(super) account: Option<&'a str>,
}

/// A good answer (2xx).
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) body: Bytes,
}

/// No good answer: why, and what was answered, if anything was.
pub(super) type Refused = (Error, Option<Box<Answer>>);

impl Reply {
    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(&self.body)
            .map_err(|error| (Error::Json(error), Some(Box::new(self.answer.clone()))))
    }
}

impl Wire<'_> {
    /// An unsigned GET.
    pub(super) async fn get(&self, url: &str) -> Result<Reply, Refused> {
        get(self.http, url).await
    }

    /// A signed request; without a payload a POST-as-GET (RFC 8555 section 6.3). Repeated while the CA refuses
    /// the nonce.
    pub(super) async fn post(
        &self,
        url: &str,
        signer: Signer<'_>,
        payload: Option<&Value>,
    ) -> Result<Reply, Refused> {
        let payload = payload.map_or_else(String::new, Value::to_string);
        let mut tries = 1;
        loop {
            match self.post_once(url, signer, &payload).await {
                Err((error, _)) if tries < NONCE_TRIES && is_bad_nonce(&error) => tries += 1,
                other => return other,
            }
        }
    }

    /// As [`Wire::post`], with the error as the caller of an issuer wants it; `doing` completes "cannot ...".
    pub(super) async fn ask(
        &self,
        doing: &str,
        url: &str,
        signer: Signer<'_>,
        payload: Option<&Value>,
    ) -> Result<Reply, IssueError> {
        self.post(url, signer, payload).await.map_err(|refused| self.error(doing, &refused))
    }

    pub(super) fn error(&self, doing: &str, (error, answer): &Refused) -> IssueError {
        self.ca.error(doing, error, answer.as_deref())
    }

    async fn post_once(&self, url: &str, signer: Signer<'_>, payload: &str) -> Result<Reply, Refused> {
        let nonce = self.nonce().await?;
        let mut header = json!({"nonce": nonce, "url": url});
        match signer.account {
            Some(account) => header["kid"] = account.into(),
            None => header["jwk"] = signer.key.jwk(),
        }
        let jws = signer.key.sign(header, payload).map_err(other)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
        exchange(self.http, Method::POST, url, headers, jws.to_string().into()).await
    }

    async fn nonce(&self) -> Result<String, Refused> {
        let kept = match self.http.nonces.take() {
            Some(nonce) => Some(nonce),
            None => {
                let url = &self.directory.new_nonce;
                exchange(self.http, Method::HEAD, url, HeaderMap::new(), Bytes::new()).await?;
                self.http.nonces.take()
            }
        };
        let nonce = kept.and_then(|nonce| nonce.to_str().ok().map(str::to_owned));
        nonce.ok_or_else(|| other("the CA gives no nonce (its newNonce sends no Replay-Nonce)".to_owned()))
    }
}

/// An unsigned GET.
pub(super) async fn get(http: &AcmeHttp, url: &str) -> Result<Reply, Refused> {
    exchange(http, Method::GET, url, HeaderMap::new(), Bytes::new()).await
}

async fn exchange(
    http: &AcmeHttp,
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Reply, Refused> {
    let uri = match url.parse() {
        Ok(uri) => uri,
        Err(error) => {
            return Err((
                Error::Other(Box::new(HttpFault::BadUrl(
                    url.to_owned(),
                    http::uri::InvalidUri::to_string(&error),
                ))),
                None,
            ));
        }
    };
    // Boxed: the future of a whole HTTP exchange is large.
    let (sent, answer) = recorded(Box::pin(http.send(method.clone(), &uri, headers, body))).await;
    let (parts, body) = sent.map_err(|fault| (Error::Other(Box::new(fault)), None))?;
    // Every caller here throws the answer's nonce away. That of a GET may come from a cache.
    if method != Method::GET {
        http.nonces.keep(&parts.headers);
    }
    let Some(answer) = answer else {
        return Err(other(format!("no note of the answer from {url} ({NONCE_HEADER})")));
    };
    if parts.status.is_success() {
        return Ok(Reply { answer, body });
    }
    let error = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Error::Api(problem),
        Err(error) => Error::Json(error),
    };
    Err((error, Some(Box::new(answer))))
}

fn other(message: String) -> Refused {
    (Error::Other(message.into()), None)
}
