//! The admin address: health for orchestrators. Plain HTTP, so it belongs on loopback or a private network.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use sealwire_proto::v1;
use serde_json::{Value, json};

use crate::certs::receive::summary;
use crate::counters::Counters;
use crate::service::Node;

/// `/healthz` says that the process answers; `/readyz` whether it should get traffic, and what is in the way;
/// `/status` is 200 with the same and what was counted since the start; `/metrics` is for Prometheus.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(node)
}

async fn readyz(State(node): State<Arc<Node>>) -> (StatusCode, Json<Value>) {
    let ready = node.readiness.obstacle().is_none();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness(&node)))
}

async fn status(State(node): State<Arc<Node>>) -> Json<Value> {
    let mut status = readiness(&node);
    let counters = &node.counters;
    let failures: serde_json::Map<_, _> = counters
        .handshake_failures()
        .map(|(reason, count)| (reason.as_str().to_owned(), count.into()))
        .collect();
    status["counters"] = json!({
        "sessions": Counters::get(&counters.sessions),
        "handshakes": Counters::get(&counters.handshakes),
        "handshake_failures": failures,
        "turned_away": Counters::get(&counters.turned_away),
        "publications": Counters::get(&counters.publications),
        "publications_refused": Counters::get(&counters.publications_refused),
        "upgrades_refused": Counters::get(&counters.upgrades_refused),
        "deliveries": Counters::get(&counters.deliveries),
        "breaker_opened": Counters::get(&counters.breaker_opened),
        "breaker_closed": Counters::get(&counters.breaker_closed),
    });
    Json(status)
}

async fn metrics(
    State(node): State<Arc<Node>>,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    // Files of the kernel are read: not on the threads of sessions.
    let text = tokio::task::spawn_blocking(move || node.telemetry.prometheus()).await;
    match text {
        Ok(Ok(text)) => Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text)),
        failed => {
            tracing::error!(?failed, "metrics cannot be written");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn readiness(node: &Node) -> Value {
    let obstacle = node.readiness.obstacle();
    let served = node.reader.all();
    let certificates: Vec<_> = served
        .iter()
        .map(|served| summary(served, node.readiness.proven_generation(&served.certificate)))
        .collect();
    json!({
        "ready": obstacle.is_none(),
        "reason": obstacle,
        "breaker": breaker(&node.guard.report()),
        "certificates": certificates,
    })
}

fn breaker(report: &v1::Breaker) -> Value {
    json!({
        "state": report.state().as_str_name().to_lowercase(),
        "causes": report.causes,
        "detail": report.detail,
        "since": Timestamp::from_millisecond(report.since_ms).ok().map(|at| at.to_string()),
    })
}
