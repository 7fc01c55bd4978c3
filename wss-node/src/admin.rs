//! The admin address: health for orchestrators. Plain HTTP, so it belongs on loopback or a private network.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::certs::receive::summary;
use crate::service::Node;

/// `/healthz` says that the process answers; `/readyz` whether it should get traffic, and what is in the way.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(readyz)).with_state(node)
}

async fn readyz(State(node): State<Arc<Node>>) -> (StatusCode, Json<Value>) {
    let obstacle = node.readiness.obstacle();
    let served = node.reader.all();
    let certificates: Vec<_> = served
        .iter()
        .map(|served| summary(served, node.readiness.proven_generation(&served.certificate)))
        .collect();
    let status = if obstacle.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": obstacle.is_none(), "reason": obstacle, "certificates": certificates })))
}
