#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use figment::providers::{Format, Toml};
use serde_json::Value;

use super::super::test_server::TestServer;
use super::*;

const ACCOUNT: &str = r#"{"username": "u", "password": "p4ss", "fulldomain": "x.auth.example", "subdomain": "x",
    "allowfrom": []}"#;

type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

struct Fixture {
    asked: Asked,
    dns: TestServer,
    url: String,
    credentials: tempfile::NamedTempFile,
}

impl Fixture {
    async fn new(credentials: &str) -> Self {
        let asked = Asked::default();
        let heard = Arc::clone(&asked);
        let update = move |headers: HeaderMap, Json(body): Json<Value>| async move {
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            heard.lock().unwrap().push((header("x-api-user"), header("x-api-key"), body));
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, Router::new().route("/update", post(update))).await },
        );
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(credentials.as_bytes()).unwrap();
        Self { asked, dns: TestServer::start("example.", None).await, url, credentials: file }
    }

    fn provider(&self, more: &str) -> Result<AcmeDns, ChallengeError> {
        let text = format!(
            "type = \"acme-dns\"\nurl = \"{}\"\ncredentials_file = \"{}\"\n{more}",
            self.url,
            self.credentials.path().display()
        );
        let config = figment::Figment::from(Toml::string(&text)).extract().unwrap();
        AcmeDns::new(&config, Resolver::new(&[&[self.dns.address()]]))
    }
}

fn record(identifier: &str) -> Record {
    Record {
        fqdn: Name::from_ascii("x.auth.example.").unwrap(),
        value: "v".into(),
        identifier: identifier.into(),
    }
}

#[tokio::test]
async fn updates_are_sent_once_the_cname_is_there() {
    let fixture = Fixture::new(ACCOUNT).await;
    let provider = fixture.provider("").unwrap();
    let error = provider.change(Action::Present, &record("*.a.example")).await.unwrap_err();
    assert!(
        error
            .message
            .starts_with("set this record: _acme-challenge.a.example. CNAME x.auth.example. (it has none)"),
        "{error}"
    );
    assert!(fixture.asked.lock().unwrap().is_empty());

    fixture.dns.cname("_acme-challenge.a.example.", "x.auth.example.");
    provider.change(Action::Present, &record("*.a.example")).await.unwrap();
    let expected = ("u".to_owned(), "p4ss".to_owned(), json!({"subdomain": "x", "txt": "v"}));
    assert_eq!(*fixture.asked.lock().unwrap(), [expected]);
    provider.change(Action::Cleanup, &record("*.a.example")).await.unwrap();
    assert_eq!(fixture.asked.lock().unwrap().len(), 1);

    fixture.dns.cname("_acme-challenge.b.example.", "y.example.");
    let error = provider.change(Action::Present, &record("b.example")).await.unwrap_err();
    assert!(error.message.contains("(it leads to y.example.)"), "{error}");
    fixture
        .provider("follow_cname = false")
        .unwrap()
        .change(Action::Present, &record("b.example"))
        .await
        .unwrap();
}

#[tokio::test]
async fn accounts_may_be_kept_per_name() {
    let fixture = Fixture::new(&format!("{{\"a.example\": {ACCOUNT}}}")).await;
    let provider = fixture.provider("follow_cname = false").unwrap();
    provider.change(Action::Present, &record("*.a.example")).await.unwrap();
    let error = provider.change(Action::Present, &record("b.example")).await.unwrap_err();
    assert!(error.message.contains("has no account for b.example"), "{error}");
}

#[tokio::test]
async fn credentials_are_checked_at_the_start_and_not_told() {
    let fixture = Fixture::new(r#"{"username": "u", "password": "p4ss"}"#).await;
    let error = fixture.provider("").err().unwrap();
    assert!(error.message.contains("/register") && !error.message.contains("p4ss"), "{error}");
}
