//! Whole orders against a scripted CA. The real ones are tried in the workspace's `tests/`.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer as Signer, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::config::AcmeConfig;
use crate::issuer::acme::{AcmeIssuer, Http01};
use crate::issuer::{Issuer, OrderRequest, Placed};
use crate::store::StoreError;

/// A CA with one order for `a.example`, whose next states are given.
#[derive(Clone)]
struct FakeCa(Arc<Fake>);

struct Fake {
    base: String,
    http01: Http01,
    /// What the order answers from now on; the last stays.
    states: Mutex<VecDeque<Value>>,
    chain: Mutex<String>,
    /// What happened, in order.
    events: Mutex<Vec<String>>,
    /// Every third request is refused with badNonce, so that each call meets it.
    requests: Mutex<usize>,
}

const NONCE: (&str, &str) = ("Replay-Nonce", "bm9uY2U");

impl FakeCa {
    async fn start(states: &[Value]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ca = Self(Arc::new(Fake {
            base: format!("http://{}", listener.local_addr().unwrap()),
            http01: Http01::new(),
            states: Mutex::new(states.iter().cloned().collect()),
            chain: Mutex::default(),
            events: Mutex::default(),
            requests: Mutex::default(),
        }));
        let router = Router::new()
            .route("/dir", get(directory))
            .route("/nonce", get(|| async { [NONCE] }))
            .route("/{what}", post(answer))
            .with_state(ca.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ca
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.0.base)
    }

    fn note(&self, event: impl Into<String>) {
        self.0.events.lock().unwrap().push(event.into());
    }

    /// The order in its present state; looking at it moves it on.
    fn order(&self) -> Value {
        let mut states = self.0.states.lock().unwrap();
        let state = if states.len() > 1 { states.pop_front().unwrap() } else { states[0].clone() };
        let mut order = json!({
            "authorizations": [self.url("authorization")],
            "finalize": self.url("finalize"),
            "certificate": self.url("certificate"),
        });
        order.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        order
    }

    fn issuer(&self, dir: &Path) -> AcmeIssuer {
        self.issuer_with(dir, self.0.http01.clone().into())
    }

    fn issuer_with(&self, dir: &Path, challenges: Challenges) -> AcmeIssuer {
        let config = AcmeConfig { timeout: Duration::from_secs(3), ..AcmeConfig::agreed(self.url("dir")) };
        AcmeIssuer::open("fake".into(), dir.to_owned(), config, challenges).unwrap()
    }
}

async fn directory(State(ca): State<FakeCa>) -> Json<Value> {
    Json(json!({
        "newNonce": ca.url("nonce"), "newAccount": ca.url("new-account"), "newOrder": ca.url("new-order")
    }))
}

async fn answer(State(ca): State<FakeCa>, UrlPath(what): UrlPath<String>, body: String) -> Response {
    let count = {
        let mut requests = ca.0.requests.lock().unwrap();
        *requests += 1;
        *requests
    };
    if count % 3 == 0 {
        let problem = json!({"type": "urn:ietf:params:acme:error:badNonce"});
        return (StatusCode::BAD_REQUEST, [NONCE], Json(problem)).into_response();
    }
    let reply = |value: Value| ([NONCE], Json(value)).into_response();
    match what.as_str() {
        "new-account" => {
            (StatusCode::CREATED, [NONCE, ("Location", &ca.url("account"))], Json(json!({}))).into_response()
        }
        "new-order" => {
            ca.note("ordered");
            (StatusCode::CREATED, [NONCE, ("Location", &ca.url("order"))], Json(ca.order())).into_response()
        }
        "order" => reply(ca.order()),
        "authorization" => {
            let failed = ca.0.states.lock().unwrap()[0]["status"] == "invalid";
            let error = failed
                .then(|| json!({"type": "urn:ietf:params:acme:error:unauthorized", "detail": "got 404"}));
            reply(json!({
                "identifier": {"type": "dns", "value": "a.example"},
                "status": if failed { "invalid" } else { "pending" },
                "challenges": [
                    {"type": "dns-01", "url": ca.url("dns"), "token": "t0", "status": "pending"},
                    {"type": "http-01", "url": ca.url("challenge"), "token": "t1",
                     "status": if failed { "invalid" } else { "pending" }, "error": error},
                ],
            }))
        }
        "challenge" => {
            // Told too early, the CA would find nothing.
            ca.note(format!("challenge, answered: {}", ca.0.http01.answers("t1")));
            reply(
                json!({"type": "http-01", "url": ca.url("challenge"), "token": "t1", "status": "processing"}),
            )
        }
        "finalize" => {
            ca.note("finalized");
            *ca.0.chain.lock().unwrap() = certify(&csr_of(&body));
            reply(ca.order())
        }
        "certificate" => ([NONCE], ca.0.chain.lock().unwrap().clone()).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn csr_of(jws: &str) -> Vec<u8> {
    let jws: Value = serde_json::from_str(jws).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(jws["payload"].as_str().unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    BASE64_URL_SAFE_NO_PAD.decode(payload["csr"].as_str().unwrap()).unwrap()
}

fn certify(csr_der: &[u8]) -> String {
    let key = KeyPair::generate().unwrap();
    let issuer = Signer::new(CertificateParams::default(), key);
    CertificateSigningRequestParams::from_der(&csr_der.into()).unwrap().signed_by(&issuer).unwrap().pem()
}

struct Heard<'a>(&'a FakeCa);

#[async_trait]
impl Progress for Heard<'_> {
    fn step(&self, kind: StepKind, _: String) {
        self.0.note(format!("{kind:?}"));
    }

    async fn order_placed(&self, placed: &Placed) -> Result<(), StoreError> {
        assert!(placed.url.ends_with("/order"));
        self.0.note("journaled");
        Ok(())
    }
}

fn request(resume: Option<String>) -> OrderRequest {
    let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    let csr_der = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    OrderRequest {
        certificate: "web".into(),
        identifiers: vec!["a.example".into()],
        csr_der,
        resume,
        ..OrderRequest::default()
    }
}

/// Runs one request; gives its result and what happened.
async fn run(ca: &FakeCa, request: &OrderRequest) -> (Result<usize, IssueError>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let result = ca.issuer(dir.path()).obtain(request, &Heard(ca)).await.map(|chain| chain.len());
    assert!(!ca.0.http01.answers("t1"), "the challenge is answered no longer");
    (result, std::mem::take(&mut *ca.0.events.lock().unwrap()))
}

fn states(statuses: &[&str]) -> Vec<Value> {
    statuses.iter().map(|status| json!({ "status": status })).collect()
}

#[tokio::test]
async fn an_order_goes_from_pending_to_the_chain() {
    let ca =
        FakeCa::start(&states(&["pending", "pending", "ready", "processing", "processing", "valid"])).await;
    let (result, events) = run(&ca, &request(None)).await;
    assert_eq!(result.unwrap(), 1);
    assert_eq!(
        events,
        [
            "ordered",
            "journaled",
            "Ordered",
            "ChallengeReady",
            "challenge, answered: true",
            "Authorized",
            "finalized",
            "Issued"
        ]
    );
}

#[tokio::test]
async fn a_resumed_order_goes_on_from_where_it_stands() {
    let ca = FakeCa::start(&states(&["ready", "valid"])).await;
    let (result, events) = run(&ca, &request(Some(ca.url("order")))).await;
    assert_eq!(result.unwrap(), 1);
    assert_eq!(events, ["Ordered", "Authorized", "finalized", "Issued"]);

    for state in ["processing", "valid"] {
        let ca = FakeCa::start(&states(&[state, "valid"])).await;
        let request = request(Some(ca.url("order")));
        *ca.0.chain.lock().unwrap() = certify(&request.csr_der);
        let (result, events) = run(&ca, &request).await;
        assert_eq!(result.unwrap(), 1, "{state}");
        assert_eq!(events, ["Ordered", "Issued"], "{state}");
    }
}

#[tokio::test]
async fn an_order_that_cannot_be_resumed_is_lost() {
    // Failed meanwhile, unknown to the CA, and finalized with another key.
    let ca = FakeCa::start(&states(&["invalid"])).await;
    for url in [ca.url("order"), ca.url("nowhere")] {
        let (result, _) = run(&ca, &request(Some(url))).await;
        assert_eq!(result.unwrap_err().class, ErrorClass::OrderLost);
    }
    let ca = FakeCa::start(&states(&["valid"])).await;
    *ca.0.chain.lock().unwrap() = certify(&request(None).csr_der);
    let error = run(&ca, &request(Some(ca.url("order")))).await.0.unwrap_err();
    assert_eq!(error.class, ErrorClass::OrderLost);
    assert!(error.message.contains("another key"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_identifier_and_what_the_ca_fetched() {
    let ca = FakeCa::start(&states(&["pending", "pending", "invalid"])).await;
    let error = run(&ca, &request(None)).await.0.unwrap_err();
    assert_eq!(error.class, ErrorClass::Identifier);
    assert_eq!(
        error.message,
        "issuer fake: the CA refused the order: a.example: got 404 (unauthorized); the CA fetched \
         http://a.example/.well-known/acme-challenge/t1"
    );
}

#[tokio::test]
async fn an_order_that_takes_too_long_is_kept() {
    let ca = FakeCa::start(&states(&["pending"])).await;
    let error = run(&ca, &request(None)).await.0.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.ends_with("within 3 s; the order is kept and taken up again"), "{error}");
}

#[tokio::test]
async fn a_type_that_the_ca_does_not_offer_is_told_with_the_key_to_change() {
    let ca = FakeCa::start(&states(&["pending"])).await;
    let text = format!(
        "state_dir = \"/s\"\n[acme.fake]\ndirectory = \"{}\"\nterms_of_service_agreed = true\n\
         challenges = [\"tls-alpn-01\"]\n[[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\"]\n",
        ca.url("dir")
    );
    let config = crate::config::Config::from_text(Path::new("t.toml"), &text).unwrap();
    let challenges = Challenges::new(&config, Path::new("/nonexistent")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let result = ca.issuer_with(dir.path(), challenges).obtain(&request(None), &Heard(&ca)).await;
    let error = result.unwrap_err();
    assert_eq!(error.class, ErrorClass::Identifier);
    assert!(error.message.ends_with("a.example is not offered for tls-alpn-01 (`challenges`)"), "{error}");
}
