//! An API server for tests: Secrets and Leases of one namespace with versions, conflicts and watches, and refusals by
//! script.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

#[derive(Default)]
struct Objects {
    version: u64,
    by_name: BTreeMap<String, Value>,
    /// Version, name, and the line of a watch.
    events: Vec<(u64, String, String)>,
    /// Verb and name of what is refused, and how.
    refusals: Vec<(String, String, u16)>,
    writes: usize,
}

/// The server; ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    /// Its own, so that connections end with it.
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Default)]
struct Shared {
    objects: Mutex<Objects>,
    changed: Notify,
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn put(&self, name: &str, mut object: Value) -> Value {
        let mut objects = self.objects();
        objects.version += 1;
        object["metadata"]["name"] = name.into();
        object["metadata"]["resourceVersion"] = objects.version.to_string().into();
        let line = json!({"type": "MODIFIED", "object": object}).to_string() + "\n";
        let version = objects.version;
        objects.events.push((version, name.to_owned(), line));
        objects.by_name.insert(name.to_owned(), object.clone());
        drop(objects);
        self.changed.notify_waiters();
        object
    }
}

impl Server {
    /// With an empty Lease and empty Secrets of these names.
    pub(crate) fn start(names: &[&str]) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), names)
    }

    pub(crate) fn start_at(address: SocketAddr, names: &[&str]) -> Self {
        let shared = Arc::<Shared>::default();
        let app = Router::new()
            .route("/api/v1/namespaces/ns/secrets", get(watch))
            .route("/api/v1/namespaces/ns/secrets/{name}", get(read).put(replace))
            .route("/apis/coordination.k8s.io/v1/namespaces/ns/leases/{name}", get(read).put(replace))
            .with_state(Arc::clone(&shared));
        let listener = std::net::TcpListener::bind(address).unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        listener.set_nonblocking(true).unwrap_or_else(|error| panic!("{error}"));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        runtime.spawn(async move {
            let listener =
                tokio::net::TcpListener::from_std(listener).unwrap_or_else(|error| panic!("{error}"));
            axum::serve(listener, app).await
        });
        let server = Self { address, shared, runtime: Some(runtime) };
        for name in names {
            server.put(name, json!({"metadata": {}}));
        }
        server
    }

    /// Somebody writes an object, whatever its version.
    pub(crate) fn put(&self, name: &str, object: Value) {
        self.shared.put(name, object);
    }

    pub(crate) fn object(&self, name: &str) -> Value {
        self.shared.objects().by_name.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut objects = self.shared.objects();
        objects.version += 1;
        let gone = objects.by_name.remove(name).unwrap_or_default();
        let line = json!({"type": "DELETED", "object": gone}).to_string() + "\n";
        let version = objects.version;
        objects.events.push((version, name.to_owned(), line));
        drop(objects);
        self.shared.changed.notify_waiters();
    }

    /// From now on `verb` on `name` is answered with `status`.
    pub(crate) fn refuse(&self, verb: &str, name: &str, status: u16) {
        self.shared.objects().refusals.push((verb.to_owned(), name.to_owned(), status));
    }

    pub(crate) fn allow_all(&self) {
        self.shared.objects().refusals.clear();
    }

    /// How many objects were replaced through the API.
    pub(crate) fn writes(&self) -> usize {
        self.shared.objects().writes
    }
}

fn refused(objects: &Objects, verb: &str, name: &str) -> Option<Response> {
    let status = objects.refusals.iter().find(|(of, on, _)| of == verb && on == name)?.2;
    Some(status_object(status, &format!("{verb} of {name} is refused by script")))
}

fn status_object(code: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, json!({"kind": "Status", "message": message}).to_string()).into_response()
}

async fn read(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let objects = shared.objects();
    if let Some(refused) = refused(&objects, "get", &name) {
        return refused;
    }
    match objects.by_name.get(&name) {
        Some(object) => object.to_string().into_response(),
        None => status_object(404, &format!("\"{name}\" not found")),
    }
}

async fn replace(
    State(shared): State<Arc<Shared>>,
    method: Method,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    assert_eq!(method, Method::PUT);
    let Ok(object) = serde_json::from_slice::<Value>(&body) else { return status_object(400, "no JSON") };
    {
        let mut objects = shared.objects();
        if let Some(refused) = refused(&objects, "update", &name) {
            return refused;
        }
        let Some(there) = objects.by_name.get(&name) else {
            return status_object(404, &format!("\"{name}\" not found"));
        };
        if there["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return status_object(409, "the object has been modified");
        }
        objects.writes += 1;
    }
    shared.put(&name, object).to_string().into_response()
}

async fn watch(State(shared): State<Arc<Shared>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let name =
        query.get("fieldSelector").and_then(|field| field.strip_prefix("metadata.name=")).unwrap_or_default();
    if let Some(refused) = refused(&shared.objects(), "watch", name) {
        return refused;
    }
    let after: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let state = (Arc::clone(&shared), name.to_owned(), after);
    let lines = futures_util::stream::unfold(state, |(shared, name, after)| async move {
        loop {
            let shared_too = Arc::clone(&shared);
            let changed = shared_too.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = {
                let objects = shared.objects();
                let mut later =
                    objects.events.iter().filter(|(version, of, _)| *version > after && *of == name);
                later.next().map(|(version, _, line)| (*version, line.clone()))
            };
            if let Some((version, line)) = next {
                return Some((Ok::<_, Infallible>(Bytes::from(line)), (shared, name, version)));
            }
            changed.await;
        }
    });
    Body::from_stream(lines).into_response()
}
