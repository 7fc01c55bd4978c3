//! The API server of Kubernetes as far as it is needed: read and replace one Secret or Lease, and watch one Secret.
//! Over the HTTP client that is there anyway: kube-rs brings thirty crates more (a YAML parser and JSONPath among them)
//! for these five requests, and has no limit on what it reads.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::socket::chain_of;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::election::Record;
use super::place::{Reach, read_line};
use super::secret::Secret;
use crate::outgoing;

/// A Secret has 1 MiB at the most, and base64 and JSON around it.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// After so long the server ends a watch, and we read everything again.
const WATCH: Duration = Duration::from_mins(4);

/// What is done to an object; RBAC calls it so too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read.
    Get,
    /// Replace.
    Update,
    /// Follow.
    Watch,
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// v1
    Secrets,
    /// coordination.k8s.io/v1
    Leases,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Leases => "leases",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Secrets => "/api/v1",
            Self::Leases => "/apis/coordination.k8s.io/v1",
        }
    }
}

/// Why a request brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What was tried.
    pub verb: Verb,
    /// On what kind of object.
    pub resource: Resource,
    /// Its name.
    pub name: String,
    /// Where.
    pub namespace: String,
    /// How it failed.
    pub fault: Fault,
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Away(String),
    /// An answer, which is no.
    Refused(StatusCode, String),
}

impl ApiError {
    /// Somebody else wrote it meanwhile.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self.fault, Fault::Refused(StatusCode::CONFLICT, _))
    }

    /// What is to be done about it, in one line.
    #[must_use]
    pub fn advice(&self) -> String {
        let (verb, resource, name, namespace) =
            (self.verb.name(), self.resource.name(), &self.name, &self.namespace);
        match &self.fault {
            Fault::Away(_) => "nodes go on with what they have; it is tried again".to_owned(),
            Fault::Refused(StatusCode::FORBIDDEN, _) => format!(
                "the Role lacks it: allow `{verb}` on {resource} with resourceNames [{name}] in {namespace}, and bind it \
                 to the service account"
            ),
            Fault::Refused(StatusCode::NOT_FOUND, _) if self.resource == Resource::Secrets => format!(
                "it was deleted or never made; make it empty, and the leader fills it: \
                 kubectl -n {namespace} create secret generic {name} (helm upgrade does it too)"
            ),
            Fault::Refused(StatusCode::NOT_FOUND, _) => format!(
                "it was deleted or never made; make it empty: helm upgrade, or kubectl -n {namespace} apply of a Lease \
                 named {name} with an empty spec"
            ),
            Fault::Refused(StatusCode::UNAUTHORIZED, _) => {
                "the token is not taken: see that kubernetes.token_file is the service account's, projected for this \
                 server"
                    .to_owned()
            }
            Fault::Refused(..) => "it is tried again".to_owned(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.resource {
            Resource::Secrets => "Secret",
            Resource::Leases => "Lease",
        };
        let (verb, name, namespace) = (self.verb.name(), &self.name, &self.namespace);
        write!(f, "cannot {verb} {kind} {namespace}/{name}: ")?;
        match &self.fault {
            Fault::Away(detail) => write!(f, "the API server is away: {detail}")?,
            Fault::Refused(status, message) => write!(f, "{}: {message}", status.as_u16())?,
        }
        write!(f, "; {}", self.advice())
    }
}

impl std::error::Error for ApiError {}

/// A Lease as it was read; what is not ours is kept as it is.
#[derive(Clone, Debug)]
pub struct Lease(Value);

impl Lease {
    /// What it says.
    #[must_use]
    pub fn record(&self) -> Record {
        let spec = &self.0["spec"];
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        Record {
            holder: text("holderIdentity"),
            seconds: spec["leaseDurationSeconds"].as_u64().unwrap_or(0),
            renewed: text("renewTime"),
            transitions: spec["leaseTransitions"].as_u64().unwrap_or(0),
        }
    }

    /// The same object, saying something else.
    #[must_use]
    pub fn with(mut self, record: &Record) -> Self {
        let acquired = match &self.0["spec"]["acquireTime"] {
            time @ Value::String(_) if self.record().transitions == record.transitions => time.clone(),
            _ => record.renewed.clone().into(),
        };
        self.0["spec"] = json!({
            "holderIdentity": (!record.holder.is_empty()).then_some(&record.holder),
            // The least that the API takes.
            "leaseDurationSeconds": record.seconds.max(1),
            "leaseTransitions": record.transitions,
            "renewTime": record.renewed,
            "acquireTime": acquired,
        });
        self
    }
}

/// The API server, with our token.
#[derive(Clone, Debug)]
pub struct Api {
    client: reqwest::Client,
    reach: Reach,
}

impl Api {
    /// Sets up the client. No network.
    ///
    /// # Errors
    /// The roots, or the TLS set-up.
    pub fn new(reach: &Reach) -> Result<Self, String> {
        let anchors = if reach.server.starts_with("https:") {
            Anchors::from_pem_file(&reach.ca_file).map_err(|error| format!("kubernetes.ca_file: {error}"))?
        } else {
            Anchors::platform()
        };
        let tls = outgoing::tls(&anchors).map_err(|error| format!("TLS to the API server: {error}"))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            // The API server of a cluster is not reached by a proxy to the world.
            .no_proxy()
            .connect_timeout(reach.timeout)
            .build()
            .map_err(|error| format!("cannot set up the client of the API server: {}", chain_of(&error)))?;
        Ok(Self { client, reach: reach.clone() })
    }

    /// Reads a Secret.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn secret(&self, name: &str) -> Result<Secret, ApiError> {
        self.ask(Verb::Get, Resource::Secrets, name, None::<&()>).await
    }

    /// Replaces a Secret, if it is still as it was read.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn replace_secret(&self, name: &str, secret: &Secret) -> Result<Secret, ApiError> {
        self.ask(Verb::Update, Resource::Secrets, name, Some(secret)).await
    }

    /// Reads a Lease.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn lease(&self, name: &str) -> Result<Lease, ApiError> {
        self.ask(Verb::Get, Resource::Leases, name, None::<&()>).await.map(Lease)
    }

    /// Replaces a Lease, if it is still as it was read.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn replace_lease(&self, name: &str, lease: &Lease) -> Result<Lease, ApiError> {
        self.ask(Verb::Update, Resource::Leases, name, Some(&lease.0)).await.map(Lease)
    }

    fn error(&self, verb: Verb, resource: Resource, name: &str, fault: Fault) -> ApiError {
        ApiError { verb, resource, name: name.to_owned(), namespace: self.reach.namespace.clone(), fault }
    }

    /// Where objects of a kind are.
    fn url(&self, resource: Resource) -> String {
        let Reach { server, namespace, .. } = &self.reach;
        format!("{server}{}/namespaces/{namespace}/{}", resource.path(), resource.name())
    }

    /// A request with our token.
    fn request(&self, method: Method, url: &str) -> Result<reqwest::RequestBuilder, Fault> {
        let token = read_line(&self.reach.token_file).map_err(Fault::Away)?;
        Ok(self.client.request(method, url).bearer_auth(token))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        verb: Verb,
        resource: Resource,
        name: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ApiError> {
        let url = format!("{}/{name}", self.url(resource));
        let exchange = async {
            let mut request = match body {
                Some(body) => self.request(Method::PUT, &url)?.json(body),
                None => self.request(Method::GET, &url)?,
            };
            request = request.timeout(self.reach.timeout);
            let mut response = request.send().await.map_err(away)?;
            let status = response.status();
            let text = read_body(&mut response).await?;
            if !status.is_success() {
                return Err(Fault::Refused(status, message_of(&text)));
            }
            serde_json::from_slice(&text)
                .map_err(|error| Fault::Away(format!("its answer is no JSON: {error}")))
        };
        exchange.await.map_err(|fault| self.error(verb, resource, name, fault))
    }

    /// Follows a Secret from the version `after` on.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn watch(&self, name: &str, after: &str) -> Result<Watch, ApiError> {
        let fault = |fault| self.error(Verb::Watch, Resource::Secrets, name, fault);
        let timeout = &self.reach.timeout;
        let url = format!(
            "{}?watch=1&fieldSelector=metadata.name%3D{name}&resourceVersion={after}&timeoutSeconds={}",
            self.url(Resource::Secrets),
            WATCH.as_secs()
        );
        let request = self.request(Method::GET, &url).map_err(fault)?.timeout(WATCH + *timeout);
        let answer = tokio::time::timeout(*timeout, request.send()).await;
        let answer = answer.map_err(|_| fault(Fault::Away("no answer in time".to_owned())))?;
        let mut response = answer.map_err(|error| fault(away(error)))?;
        if !response.status().is_success() {
            let text = read_body(&mut response).await.unwrap_or_default();
            return Err(fault(Fault::Refused(response.status(), message_of(&text))));
        }
        Ok(Watch { response, read: BytesMut::new() })
    }
}

/// A Secret that is followed.
#[derive(Debug)]
pub struct Watch {
    response: reqwest::Response,
    read: BytesMut,
}

/// What happened to it.
#[derive(Debug)]
pub enum Change {
    /// It is now so.
    Now(Box<Secret>),
    /// It was deleted.
    Deleted,
    /// It has to be read again: the watch is over, or the server does not remember the version.
    Over,
}

impl Watch {
    /// Waits for the next change; may be dropped while it waits.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                if let Some(change) = change_of(&line) {
                    return change;
                }
                continue;
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) if self.read.len() + chunk.len() <= MAX_BODY_BYTES => {
                    self.read.extend_from_slice(&chunk);
                }
                _ => return Change::Over,
            }
        }
    }
}

/// One line of a watch; `None`: it says nothing of the Secret.
fn change_of(line: &[u8]) -> Option<Change> {
    #[derive(serde::Deserialize)]
    struct Event {
        r#type: String,
        object: Value,
    }
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return Some(Change::Over) };
    match event.r#type.as_str() {
        "ADDED" | "MODIFIED" => Some(
            serde_json::from_value(event.object).map_or(Change::Over, |secret| Change::Now(Box::new(secret))),
        ),
        "DELETED" => Some(Change::Deleted),
        "BOOKMARK" => None,
        // 410 Gone, and whatever else.
        _ => Some(Change::Over),
    }
}

async fn read_body(response: &mut reqwest::Response) -> Result<Bytes, Fault> {
    let mut read = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if read.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Fault::Away(format!("its answer has more than {MAX_BODY_BYTES} bytes")));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.freeze())
}

/// By value, as `map_err` gives it.
#[allow(clippy::needless_pass_by_value)]
fn away(error: reqwest::Error) -> Fault {
    Fault::Away(std::error::Error::source(&error).map_or_else(|| error.to_string(), chain_of))
}

/// The message of a Status object (API conventions), or the beginning of what came.
fn message_of(body: &[u8]) -> String {
    let status = serde_json::from_slice::<Value>(body).ok();
    match status.as_ref().and_then(|status| status["message"].as_str()) {
        Some(message) => outgoing::one_line(message.as_bytes()),
        None => outgoing::one_line(&body[..body.len().min(200)]),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn error(verb: Verb, resource: Resource, status: u16) -> String {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        ApiError {
            verb,
            resource,
            name: "edge-account-ca".to_owned(),
            namespace: "prod".to_owned(),
            fault: Fault::Refused(status, "no".to_owned()),
        }
        .to_string()
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let text = error(Verb::Watch, Resource::Secrets, 403);
        assert!(
            text.contains("allow `watch` on secrets with resourceNames [edge-account-ca] in prod"),
            "{text}"
        );
        let text = error(Verb::Get, Resource::Secrets, 404);
        assert!(text.contains("kubectl -n prod create secret generic edge-account-ca"), "{text}");
        let text = error(Verb::Update, Resource::Leases, 404);
        assert!(text.contains("helm upgrade"), "{text}");
        assert!(error(Verb::Get, Resource::Secrets, 401).contains("kubernetes.token_file"));
    }

    #[test]
    fn a_lease_keeps_what_is_not_ours_and_when_it_was_acquired() {
        let lease = Lease(json!({"metadata": {"name": "x", "resourceVersion": "3"}}));
        assert_eq!(lease.record(), Record::default());
        let mut record = Record { holder: "a".into(), seconds: 15, renewed: "1".into(), transitions: 1 };
        let lease = lease.with(&record);
        record.renewed = "2".into();
        let lease = lease.with(&record);
        assert_eq!(lease.record(), record);
        assert_eq!(lease.0["spec"]["acquireTime"], "1");
        assert_eq!(lease.0["metadata"]["resourceVersion"], "3");
        record.transitions = 2;
        assert_eq!(lease.with(&record).0["spec"]["acquireTime"], "2");
    }

    #[test]
    fn lines_of_a_watch_are_read_whatever_they_are() {
        let is = |line: &str| change_of(line.as_bytes());
        assert!(matches!(
            is(r#"{"type":"MODIFIED","object":{"metadata":{"name":"x"}}}"#),
            Some(Change::Now(_))
        ));
        assert!(matches!(is(r#"{"type":"DELETED","object":{}}"#), Some(Change::Deleted)));
        assert!(is(r#"{"type":"BOOKMARK","object":{}}"#).is_none());
        for over in [r#"{"type":"ERROR","object":{"code":410}}"#, "{", r#"{"type":"ADDED","object":{}}"#] {
            assert!(matches!(is(over), Some(Change::Over)), "{over}");
        }
    }
}
