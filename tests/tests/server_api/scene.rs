//! A node with the API, and an application that asks it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response};
use rustls::ClientConfig;
use sealwire_tests::authority::Authority;
use sealwire_tests::scripted_agent::Scripted;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::world::World;
use serde_json::{Value, json};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const KEY: &str = "one-key-of-the-application";
pub(crate) const OTHER_KEY: &str = "another-key-of-the-application";
pub(crate) const NAMESPACES: &str = "
[namespaces.default]
presence = true
history = 50
recovery_limit = 10
[namespaces.bare]
history = 0
[namespaces.raw]
payload = \"bytes\"
[namespaces.last]
kind = \"value\"
[namespaces.board]
kind = \"map\"
keys = 1500
";

/// A node with the API, and an application that asks.
pub(crate) struct Scene {
    pub(crate) scripted: Scripted,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) http: Client,
    pub(crate) base: String,
}

/// Writes a file with keys.
pub(crate) fn keys(path: &Path, keys: &[&str]) {
    std::fs::write(path, keys.join("\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Scene {
    /// On the admin address, with a key.
    pub(crate) async fn open(api: &str) -> Self {
        let world = World::new();
        let file = world.path("api-keys");
        keys(&file, &["# the shop", KEY]);
        let audit = world.path("audit.jsonl");
        let extra = format!("[audit]\nfile = {audit:?}\n[api]\nkeys_file = {file:?}\n{api}\n{NAMESPACES}",);
        let mut scripted = Scripted::start_with(world, &extra, |_| {}).await;
        let ca = Authority::new("api");
        ca.write(&scripted.world);
        scripted.pairing.serve(ca.bundle(&scripted.world, 1, HOUR)).await;
        let base = format!("http://{}:9090", scripted.world.address);
        Self { tls: tls(&ca.anchors()).unwrap(), http: Client::new(), base, scripted }
    }

    pub(crate) fn world(&self) -> &World {
        &self.scripted.world
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let mut request = self.http.post(format!("{}/api/{method}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// The body of an answer, which is always 200 unless that is asked for.
    pub(crate) async fn ask(&self, method: &str, body: Value) -> Value {
        let response = self.raw(method, &[("X-API-Key", KEY)], body.to_string()).await;
        assert_eq!((response.status().as_u16(), method), (200, method));
        response.json().await.unwrap()
    }

    /// The result of a method that is to succeed.
    pub(crate) async fn result(&self, method: &str, body: Value) -> Value {
        let mut answer = self.ask(method, body).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The code of a method that is to fail.
    pub(crate) async fn error(&self, method: &str, body: Value) -> u64 {
        let answer = self.ask(method, body.clone()).await;
        assert!(
            !answer["error"]["message"].as_str().unwrap_or_default().is_empty(),
            "{method} {body}: {answer}"
        );
        answer["error"]["code"].as_u64().unwrap()
    }

    /// A connected session and its id.
    pub(crate) async fn session(&self) -> (Session, String) {
        let address = self.world().node_address();
        let opened = Session::upgraded(address, Arc::clone(&self.tls), "/connection/websocket").await;
        let mut session = opened.unwrap();
        let reply = session.call("connect", json!({})).await.unwrap();
        (session, reply["connect"]["client"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.base.clone()).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn metric(&self, line: &str) -> bool {
        let text = self.http.get(format!("{}/metrics", self.base)).send().await.unwrap();
        text.text().await.unwrap().lines().any(|found| found == line)
    }
}

/// With a key.
pub(crate) fn signed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("apikey {KEY}").parse().unwrap());
    request
}

/// The next publication that a session sees.
pub(crate) async fn publication(session: &mut Session) -> Value {
    loop {
        let mut push = session.next().await.unwrap()["push"].take();
        if push.get("pub").is_some() {
            return push["pub"].take();
        }
    }
}
