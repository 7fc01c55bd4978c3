//! For tests: a CA that answers as the test says.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer as Signer, KeyPair};
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::StepKind;
use serde_json::{Value, json};

use super::{AcmeIssuer, Http01};
use crate::config::AcmeConfig;
use crate::issuer::{OrderRequest, Placed, Progress};
use crate::store::StoreError;

/// One request: its path, protected header and payload (null for GET and POST-as-GET).
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) header: Value,
    pub(super) payload: Value,
}

/// An answer: status, headers, body.
pub(super) type Answered = (u16, Vec<(&'static str, String)>, String);

type Script = dyn Fn(&ScriptCa, &Asked) -> Option<Answered> + Send + Sync;

#[derive(Clone)]
pub(super) struct ScriptCa(Arc<Inner>);

struct Inner {
    base: String,
    script: Box<Script>,
    seen: Mutex<Vec<Asked>>,
}

/// JSON with a status.
pub(super) fn answer(status: u16, body: &Value) -> Option<Answered> {
    Some((status, Vec::new(), body.to_string()))
}

/// A problem document.
pub(super) fn problem(status: u16, kind: &str) -> Option<Answered> {
    answer(status, &json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "as scripted"}))
}

impl ScriptCa {
    /// What the script has no answer for is answered as by a plain CA whose orders (`/order`) are ready at once.
    pub(super) async fn start(
        script: impl Fn(&Self, &Asked) -> Option<Answered> + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let ca = Self(Arc::new(Inner { base, script: Box::new(script), seen: Mutex::default() }));
        let router = Router::new().fallback(handle).with_state(ca.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        ca
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.base)
    }

    /// The directory; tests add to it.
    pub(super) fn directory(&self) -> Value {
        json!({
            "newNonce": self.url("/nonce"), "newAccount": self.url("/new-account"),
            "newOrder": self.url("/new-order"), "revokeCert": self.url("/revoke"),
            "keyChange": self.url("/key-change"), "renewalInfo": self.url("/ari"),
        })
    }

    /// What was asked at a path so far.
    pub(super) fn asked(&self, path: &str) -> Vec<Asked> {
        self.0.seen.lock().unwrap().iter().filter(|asked| asked.path == path).cloned().collect()
    }

    pub(super) fn issuer(&self, dir: &Path) -> AcmeIssuer {
        let config = AcmeConfig { timeout: Duration::from_secs(5), ..AcmeConfig::agreed(self.url("/dir")) };
        AcmeIssuer::open("fake".into(), dir.to_owned(), config, Http01::new()).unwrap()
    }

    /// An order object.
    pub(super) fn order(&self, more: &Value) -> Value {
        let mut order = json!({
            "status": "ready", "identifiers": [{"type": "dns", "value": "a.example"}],
            "authorizations": [], "finalize": self.url("/finalize"), "certificate": self.url("/certificate"),
        });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        order
    }

    fn plainly(&self, asked: &Asked) -> Answered {
        let created = |path: &str, body: Value| (201, vec![("Location", self.url(path))], body.to_string());
        match asked.path.as_str() {
            "/dir" => (200, Vec::new(), self.directory().to_string()),
            "/nonce" => (200, Vec::new(), String::new()),
            "/new-account" => created("/account", json!({"status": "valid"})),
            "/account" => (200, Vec::new(), json!({"status": "valid"}).to_string()),
            "/new-order" => created("/order", self.order(&asked.payload)),
            "/order" => (200, Vec::new(), self.order(&json!({})).to_string()),
            "/finalize" => (200, Vec::new(), self.order(&json!({"status": "valid"})).to_string()),
            "/certificate" => {
                let csr = self.asked("/finalize").pop().unwrap().payload["csr"].as_str().unwrap().to_owned();
                let csr = BASE64_URL_SAFE_NO_PAD.decode(csr).unwrap();
                (200, vec![("Content-Type", "application/pem-certificate-chain".to_owned())], certify(&csr))
            }
            _ => (404, Vec::new(), String::new()),
        }
    }
}

async fn handle(State(ca): State<ScriptCa>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let decoded = |jws: &Value, part: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(jws[part].as_str().unwrap_or_default()).unwrap();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    };
    let jws: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let asked = Asked { path, header: decoded(&jws, "protected"), payload: decoded(&jws, "payload") };
    ca.0.seen.lock().unwrap().push(asked.clone());
    let (status, headers, body) = (ca.0.script)(&ca, &asked).unwrap_or_else(|| ca.plainly(&asked));
    let mut response = (http::StatusCode::from_u16(status).unwrap(), body).into_response();
    let nonce = fastrand::u64(..).to_string();
    for (name, value) in headers.into_iter().chain([("Replay-Nonce", nonce)]) {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn certify(csr_der: &[u8]) -> String {
    let issuer = Signer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    CertificateSigningRequestParams::from_der(&csr_der.into()).unwrap().signed_by(&issuer).unwrap().pem()
}

/// A request for `a.example`.
pub(super) fn request() -> OrderRequest {
    let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    let csr_der = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    OrderRequest {
        certificate: "web".into(),
        identifiers: vec!["a.example".into()],
        csr_der,
        ..OrderRequest::default()
    }
}

/// A leaf with a known authority key identifier (`0102`) and serial number (DER `0087`).
pub(super) fn known_leaf() -> CertificateDer<'static> {
    let mut ca = CertificateParams::default();
    ca.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![1, 2]);
    let signer = Signer::new(ca, KeyPair::generate().unwrap());
    let mut leaf = CertificateParams::new(["a.example".to_owned()]).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    leaf.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x87]));
    leaf.signed_by(&KeyPair::generate().unwrap(), &signer).unwrap().der().clone()
}

/// Hears which orders were placed.
#[derive(Default)]
pub(super) struct Heard(pub(super) Mutex<Vec<Placed>>);

#[async_trait]
impl Progress for Heard {
    fn step(&self, _: StepKind, _: String) {}

    async fn order_placed(&self, placed: &Placed) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(placed.clone());
        Ok(())
    }
}
