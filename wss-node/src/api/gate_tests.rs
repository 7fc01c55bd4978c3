#![allow(clippy::unwrap_used)]

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

use axum::routing::get;
use axum::{Extension, Router, middleware};
use tower::ServiceExt;

use super::*;
use crate::service::tests::node;

const KEY: &str = "0123456789abcdef";

/// An API with one place, and what it answers: its methods, and `/never`, which does not.
async fn gate() -> (Arc<Api>, Router) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    write(&path, KEY).unwrap();
    set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let node = node(&format!("[api]\nkeys_file = {path:?}\nrequests = 1\ntimeout = \"20ms\"\n"));
    let api = Api::open(&node).await.unwrap().unwrap().api;
    let never = Router::new()
        .route("/never", get(std::future::pending::<()>))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&api), pass));
    let peer = Peer { address: "192.0.2.1:1".parse().unwrap(), certificate: None };
    let router = api.router().merge(never).layer(Extension(peer));
    (api, router)
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = axum::http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[test]
fn a_key_is_found_where_centrifugos_clients_put_it() {
    for (header, value, expected) in [
        ("x-api-key", "k", Some("k")),
        ("authorization", "apikey k", Some("k")),
        ("authorization", "APIKEY  k ", Some("k")),
        ("authorization", "Bearer k", None),
        ("authorization", "k", None),
        ("x-other", "k", None),
    ] {
        let header: axum::http::HeaderName = header.parse().unwrap();
        let headers = HeaderMap::from_iter([(header.clone(), value.parse().unwrap())]);
        assert_eq!(presented(&headers), expected.map(str::as_bytes), "{header}: {value}");
    }
}

#[tokio::test]
async fn there_is_an_answer_when_there_is_no_room_and_when_none_comes() {
    let (api, router) = gate().await;
    let key = ("x-api-key", KEY);
    assert_eq!(ask(&router, "POST", "/api/info", &[key]).await.status(), StatusCode::OK);
    assert_eq!(ask(&router, "POST", "/api/info", &[]).await.status(), StatusCode::UNAUTHORIZED);
    let late = ask(&router, "GET", "/never", &[key]).await;
    assert_eq!(
        (late.status(), &late.headers()[RETRY_AFTER]),
        (StatusCode::GATEWAY_TIMEOUT, &HeaderValue::from(1))
    );
    let place = api.room.try_acquire().unwrap();
    let busy = ask(&router, "POST", "/api/info", &[key]).await;
    assert_eq!(
        (busy.status(), &busy.headers()[RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(1))
    );
    let grpc = [key, ("content-type", "application/grpc")];
    let busy = ask(&router, "POST", "/sealwire.server.v1.ServerApi/Info", &grpc).await;
    assert_eq!((busy.status(), busy.headers()["grpc-status"].to_str().unwrap()), (StatusCode::OK, "14"));
    drop(place);
    assert_eq!(
        ask(&router, "POST", "/api/info", &[key]).await.status(),
        StatusCode::OK,
        "places are given back"
    );
    assert_eq!(ask(&router, "POST", "/elsewhere", &[]).await.status(), StatusCode::NOT_FOUND);
}
