#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use figment::providers::{Format, Toml};
use hickory_proto::rr::Name;
use serde_json::Value;

use super::*;
use crate::issuer::ErrorClass;

/// What was asked, and what is answered from now on; then 200.
#[derive(Default)]
struct Service {
    asked: Vec<(String, Value)>,
    answers: Vec<StatusCode>,
}

type Shared = Arc<Mutex<Service>>;

async fn take(
    State(service): State<Shared>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, String) {
    let mut service = service.lock().unwrap();
    let bearer = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    service.asked.push((bearer.unwrap_or_default(), body));
    let status = if service.answers.is_empty() { StatusCode::OK } else { service.answers.remove(0) };
    (status, "zone\n is locked".to_owned())
}

async fn start(answers: &[StatusCode]) -> (Shared, String) {
    let service: Shared = Arc::new(Mutex::new(Service { answers: answers.to_vec(), ..Service::default() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&service));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (service, url)
}

fn webhook(url: &str, more: &str) -> Webhook {
    let text = format!("type = \"webhook\"\nurl = \"{url}\"\n{more}");
    Webhook::new(&figment::Figment::from(Toml::string(&text)).extract().unwrap()).unwrap()
}

fn record() -> Record {
    Record {
        fqdn: Name::from_ascii("_acme-challenge.a.example.").unwrap(),
        value: "v".into(),
        identifier: "*.a.example".into(),
    }
}

#[tokio::test]
async fn json_and_the_token_are_sent_and_a_5xx_is_tried_again() {
    let (service, url) = start(&[StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS]).await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    writeln!(token, "s3cret").unwrap();
    let webhook = webhook(&url, &format!("token_file = \"{}\"", token.path().display()));
    webhook.change(Action::Present, &record()).await.unwrap();
    let body = json!({
        "action": "present", "fqdn": "_acme-challenge.a.example", "value": "v", "identifier": "*.a.example"
    });
    assert_eq!(service.lock().unwrap().asked, vec![("Bearer s3cret".to_owned(), body); 3]);
    webhook.change(Action::Cleanup, &record()).await.unwrap();
    assert_eq!(service.lock().unwrap().asked[3].1["action"], "cleanup");
}

#[tokio::test]
async fn a_4xx_is_told_at_once_and_a_5xx_at_last() {
    let (service, url) = start(&[StatusCode::FORBIDDEN]).await;
    let webhook = webhook(&url, "");
    let error = webhook.change(Action::Present, &record()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ours);
    assert_eq!(error.message, format!("{url} answers 403 Forbidden: zone is locked"));
    assert_eq!(service.lock().unwrap().asked.len(), 1);
    assert_eq!(service.lock().unwrap().asked[0].0, "");

    service.lock().unwrap().answers = vec![StatusCode::INTERNAL_SERVER_ERROR; 9];
    let error = webhook.change(Action::Present, &record()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert_eq!(service.lock().unwrap().asked.len(), 5);
}
