//! The HTTP under instant-acme: our roots, deadlines and limits, and a note of each response, which
//! instant-acme keeps to itself (a 429's Retry-After, the status of an HTML error page).

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use jiff::Timestamp;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::chain_of;

use super::jws::AccountKey;
use super::nonces::{NONCE_HEADER, Nonces};
use super::time::CaTime;
use crate::issuer::{ErrorClass, IssueError};
use crate::outgoing::{self, is_loopback, retry_after};

/// One request with its answer. CAs answer within a second or two; Let's Encrypt gives up after 60 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest real body is a chain: 10 certificates of 64 KiB as PEM fit.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// RFC 8555 section 6.1: clients MUST send one.
const OUR_USER_AGENT: &str = concat!("sealwire/", env!("CARGO_PKG_VERSION"));

tokio::task_local! {
    /// The last answer within the call under way. A task-local, because one client (inside one `Account`)
    /// carries many orders at once, and instant-acme polls our future within the caller's task: a slot in
    /// the client would mix up their answers.
    static LAST: RefCell<Option<Answer>>;
}

/// What the CA answered, beside the body.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) status: StatusCode,
    /// From now on.
    pub(super) retry_after: Option<Duration>,
    pub(super) location: Option<String>,
    /// For what instant-acme does not read.
    pub(super) body: Bytes,
    /// Relation and target of each Link (RFC 8288), as absolute URLs.
    pub(super) links: Vec<(String, String)>,
}

/// Links beyond these are not read: no CA sends more than a handful.
const MAX_LINKS: usize = 16;

/// Runs one call of instant-acme and tells what the CA answered last during it; `None` if there was no
/// answer to the last request.
pub(super) async fn recorded<T>(call: impl Future<Output = T>) -> (T, Option<Answer>) {
    LAST.scope(RefCell::new(None), async {
        let output = call.await;
        (output, LAST.with(RefCell::take))
    })
    .await
}

fn record(answer: Option<Answer>) {
    // Outside of `recorded` nobody wants to know.
    let _ = LAST.try_with(|last| last.replace(answer));
}

/// Why there was no answer to hand on.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpFault {
    #[error("{0} is not https: account and orders would travel in the clear")]
    Insecure(String),
    #[error("{0} is not a URL: {1}")]
    BadUrl(String, String),
    #[error("the answer from {0} has more than {MAX_BODY_BYTES} bytes")]
    TooLarge(String),
    #[error("cannot reach {url}: {detail}")]
    Unreachable { url: String, detail: String },
    #[error("cannot sign a request to {0} with the account's key: {1}")]
    Unsigned(String, String),
    #[error("{0}")]
    Held(String),
}

/// instant-acme's [`HttpClient`] over reqwest.
#[derive(Clone)]
pub(super) struct AcmeHttp {
    client: reqwest::Client,
    pub(super) nonces: Arc<Nonces>,
    pub(super) time: Arc<CaTime>,
    /// Signs what instant-acme asks for, where it cannot.
    key: Option<Arc<AccountKey>>,
    /// Lets signed requests pass, for the issuer of this name.
    gate: Option<(Arc<dyn Gate>, Arc<str>)>,
}

/// Who has a word before a signed request leaves.
#[async_trait]
pub trait Gate: Send + Sync {
    /// A signed request of this issuer is about to be made.
    ///
    /// # Errors
    /// It must not be made now, and why.
    async fn pass(&self, issuer: &str) -> Result<(), String>;
}

impl AcmeHttp {
    /// A client that trusts `anchors` for the CA's own TLS. No network.
    ///
    /// # Errors
    /// Class `Ours`: the TLS set-up is unusable.
    pub(super) fn new(anchors: &Anchors) -> Result<Self, IssueError> {
        let ours = |detail: String| {
            IssueError::new(ErrorClass::Ours, format!("cannot set up the ACME client: {detail}"))
        };
        let mut tls = outgoing::tls(anchors).map_err(|error| ours(error.to_string()))?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A signed request says for which URL it is (RFC 8555 section 6.4.1): elsewhere it is void.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| ours(chain_of(&error)))?;
        Ok(Self { client, nonces: Arc::default(), time: Arc::default(), key: None, gate: None })
    }

    /// The same client for an account whose key instant-acme cannot use: what that signs is signed anew.
    pub(super) fn signing_with(&self, key: Arc<AccountKey>) -> Self {
        Self { key: Some(key), ..self.clone() }
    }

    /// The same client, asking `gate` before each signed request.
    pub(super) fn gated(&self, gate: Arc<dyn Gate>, issuer: &str) -> Self {
        Self { gate: Some((gate, issuer.into())), ..self.clone() }
    }

    /// What instant-acme asks for. Of a nonce (its only use of HEAD) we may have one already.
    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, HttpFault> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::HEAD
            && let Some(nonce) = self.nonces.take()
        {
            let (mut parts, ()) = http::Response::new(()).into_parts();
            parts.headers.insert(NONCE_HEADER, nonce);
            return Ok(BytesResponse { parts, body: Box::new(Bytes::new()) });
        }
        let Ok(body) = body.collect().await;
        let mut body = body.to_bytes();
        if let Some(key) = self.key.as_ref().filter(|_| parts.method == Method::POST) {
            let unsigned = |why| HttpFault::Unsigned(parts.uri.to_string(), why);
            body = key.sign_again(&body).map_err(unsigned)?.to_string().into();
        }
        let (parts, body) = self.send(parts.method, &parts.uri, parts.headers, body).await?;
        // An order ends with its chain: instant-acme has no more use for the nonce that came with it.
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/pem-certificate-chain") {
            self.nonces.keep(&parts.headers);
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    /// One request and its answer, whatever its status.
    ///
    /// # Errors
    /// [`HttpFault`]: there is no answer that could be used.
    pub(super) async fn send(
        &self,
        method: Method,
        uri: &Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(http::response::Parts, Bytes), HttpFault> {
        record(None);
        let url = uri.to_string();
        check_url(uri, &url)?;
        if let Some((gate, issuer)) = self.gate.as_ref().filter(|_| method == Method::POST) {
            gate.pass(issuer).await.map_err(HttpFault::Held)?;
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(OUR_USER_AGENT));

        let unreachable =
            |error: reqwest::Error| HttpFault::Unreachable { url: url.clone(), detail: cause_of(&error) };
        let asked = Instant::now();
        let mut response = self
            .client
            .request(method, &url)
            .headers(headers)
            .body(body)
            .send()
            .await
            .map_err(unreachable)?;
        self.time.heard(response.headers(), Timestamp::now(), asked.elapsed());
        let mut received = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if received.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(HttpFault::TooLarge(url));
            }
            received.extend_from_slice(&chunk);
        }

        let received = received.freeze();
        let mut answer = Answer::new(url, response.status(), response.headers(), Timestamp::now());
        answer.body = received.clone();
        record(Some(answer));
        let mut reply = http::Response::new(());
        *reply.status_mut() = response.status();
        *reply.headers_mut() = std::mem::take(response.headers_mut());
        if reply.status() == StatusCode::BAD_REQUEST && is_bad_nonce(&received) {
            // The CA has forgotten those it gave out: a restart of its nonce service.
            self.nonces.clear();
        }
        let (parts, ()) = reply.into_parts();
        Ok((parts, received))
    }
}

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let exchange = self.clone().exchange(request);
        Box::pin(async { exchange.await.map_err(|fault| instant_acme::Error::Other(Box::new(fault))) })
    }
}

impl Answer {
    fn new(url: String, status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        Self {
            links: links(headers, &url),
            url,
            status,
            retry_after: text(RETRY_AFTER).and_then(|value| retry_after(value, now)),
            location: text(LOCATION).map(str::to_owned),
            body: Bytes::new(),
        }
    }
}

impl Answer {
    /// The target of the first Link with this relation.
    pub(super) fn link<'a>(&'a self, relation: &'a str) -> Option<&'a str> {
        self.links(relation).next()
    }

    /// The targets of all Links with this relation.
    pub(super) fn links<'a>(&'a self, relation: &'a str) -> impl Iterator<Item = &'a str> {
        self.links.iter().filter(move |(rel, _)| rel == relation).map(|(_, target)| target.as_str())
    }
}

fn is_bad_nonce(body: &[u8]) -> bool {
    serde_json::from_slice::<instant_acme::Problem>(body)
        .is_ok_and(|problem| problem.r#type.is_some_and(|kind| kind == "urn:ietf:params:acme:error:badNonce"))
}

/// `Link: <URL>;rel="alternate", <URL>;rel=up` (RFC 8288 section 3); relative targets are resolved.
fn links(headers: &HeaderMap, url: &str) -> Vec<(String, String)> {
    let Ok(base) = reqwest::Url::parse(url) else { return Vec::new() };
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    // Targets stand in angle brackets and hold none: each begins a link.
    let parts = values.flat_map(|value| value.split('<').skip(1));
    let link = |part: &str| {
        let (target, parameters) = part.split_once('>')?;
        let relation = parameters.split([';', ',']).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_matches('"').to_owned())
        })?;
        Some((relation, base.join(target).ok()?.to_string()))
    };
    parts.filter_map(link).take(MAX_LINKS).collect()
}

/// https only, except to this machine: RFC 8555 section 6.1.
fn check_url(uri: &Uri, url: &str) -> Result<(), HttpFault> {
    let Some(host) = uri.host() else {
        return Err(HttpFault::BadUrl(url.to_owned(), "it has no host".to_owned()));
    };
    if uri.scheme_str() == Some("https") || is_loopback(host) {
        return Ok(());
    }
    Err(HttpFault::Insecure(url.to_owned()))
}

/// Whether a directory can only be reached with roots to check it against.
pub(super) fn needs_roots(directory: &str) -> bool {
    directory.starts_with("https:")
}

/// reqwest's own words repeat the URL and say nothing of the cause.
fn cause_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    if error.is_connect() {
        // The layers between say "client error (Connect): tcp connect error".
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        return cause.to_string();
    }
    std::error::Error::source(error).map_or_else(|| error.to_string(), chain_of)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine() {
        let check = |url: &str| check_url(&url.parse().unwrap(), url);
        for good in
            ["https://ca.example/dir", "http://127.0.0.1:14000/dir", "http://[::1]/d", "http://localhost"]
        {
            check(good).unwrap();
        }
        for bad in ["http://ca.example/dir", "http://10.0.0.1/dir", "http://localhost.evil.example/"] {
            assert!(matches!(check(bad), Err(HttpFault::Insecure(_))), "{bad}");
        }
        assert!(matches!(check("/dir"), Err(HttpFault::BadUrl(..))));
    }

    #[test]
    fn links_are_read_however_they_are_written() {
        let mut headers = HeaderMap::new();
        headers.append(
            LINK,
            HeaderValue::from_static("<https://ca.example/dir>;rel=\"index\", </alt/1>; rel=alternate"),
        );
        headers.append(
            LINK,
            HeaderValue::from_static("<https://ca.example/alt/2>; title=\"x\"; REL=\"alternate\""),
        );
        headers.append(LINK, HeaderValue::from_static("nonsense, <no end, <https://ca.example/none>"));
        let answer =
            Answer::new("https://ca.example/cert/7".into(), StatusCode::OK, &headers, Timestamp::now());
        assert_eq!(answer.link("index"), Some("https://ca.example/dir"));
        let alternates: Vec<_> = answer.links("alternate").collect();
        assert_eq!(alternates, ["https://ca.example/alt/1", "https://ca.example/alt/2"]);
        assert_eq!(answer.link("next"), None);
    }

    #[tokio::test]
    async fn calls_at_the_same_time_keep_their_answers_apart() {
        async fn call(url: &str) -> Option<Answer> {
            recorded(async {
                record(Some(Answer::new(url.into(), StatusCode::OK, &HeaderMap::new(), Timestamp::now())));
                tokio::task::yield_now().await;
            })
            .await
            .1
        }
        let (one, two) = tokio::join!(call("one"), call("two"));
        assert_eq!((one.unwrap().url, two.unwrap().url), ("one".to_owned(), "two".to_owned()));
    }
}
