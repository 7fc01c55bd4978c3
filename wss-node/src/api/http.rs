//! The API by HTTP: `POST /api/METHOD` with a JSON object, as Centrifugo takes it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, routing};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::methods::each;
use super::refused::Refused;
use super::v1::{self, BatchRequest};
use super::{Api, Caller, ERROR_MODE};
use crate::wire::json::fields::Object;

/// `/api/METHOD`
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new().route("/api/{method}", routing::any(call)).with_state(api)
}

/// An answer that did not come from a method.
pub(super) fn refusal(status: StatusCode, code: u32, message: impl Into<String>) -> Response {
    let error = v1::Error { code, message: message.into(), current: None };
    (status, json(&Answer::<()>::Error { error })).into_response()
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer<T> {
    Result { result: T },
    Error { error: v1::Error },
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        // Data that are not JSON are told as base64: the fault is ours.
        Err(error) => {
            tracing::error!(%error, "an answer of the server API cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What came of a method.
fn answer<T: Serialize>(called: Result<T, Fault>, by_status: bool) -> Response {
    let fault = match called {
        Ok(result) => return json(&Answer::Result { result }),
        Err(fault) => fault,
    };
    let (status, retry_after) = (fault.http_status(), fault.retry_after());
    let mut response = json(&Answer::<()>::Error { error: fault.into() });
    if by_status {
        *response.status_mut() = status;
    }
    if let Some(after) = retry_after {
        let seconds = HeaderValue::from(after.as_secs().max(1));
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// A request in the body; nothing at all is a request without fields.
fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, serde_json::Error> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice::<Object<T>>(body).map(|Object(request)| request)
}

macro_rules! dispatch {
    ($($name:ident: $request:ident => $result:ident, $response:ident;)+) => {
        async fn dispatch(api: &Api, caller: &Caller, method: &str, body: &[u8], by_status: bool) -> Response {
            match method {
                $(stringify!($name) => match read(body) {
                    Ok(request) => {
                        let called = Box::pin(api.$name(caller, request)).await;
                        answer(api.counted(stringify!($name), called), by_status)
                    }
                    Err(error) => malformed(api, &error),
                },)+
                "batch" => match read::<BatchRequest>(body) {
                    // Centrifugo's answer to a batch has no `result` around it.
                    Ok(request) => match Box::pin(super::batch::run(api, caller, request)).await {
                        Ok(replies) => json(&replies),
                        Err(fault) => answer::<()>(Err(fault), by_status),
                    },
                    Err(error) => malformed(api, &error),
                },
                _ => {
                    api.refused(Refused::NoMethod);
                    refusal(StatusCode::NOT_FOUND, 104, "not found: no such method; docs/server-api.md lists them")
                }
            }
        }
    };
}
each!(dispatch);

fn malformed(api: &Api, error: &serde_json::Error) -> Response {
    api.refused(Refused::Malformed);
    refusal(StatusCode::BAD_REQUEST, 107, format!("bad request: the body: {error}"))
}

async fn call(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(method): Path<String>,
    verb: http::Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if verb != http::Method::POST {
        api.refused(Refused::NoMethod);
        return refusal(StatusCode::METHOD_NOT_ALLOWED, 107, "bad request: methods are called by POST");
    }
    let Ok(body) = axum::body::to_bytes(body, api.config.body_bytes).await else {
        api.refused(Refused::TooLarge);
        let message =
            format!("bad request: the body did not come, or is larger than {} bytes", api.config.body_bytes);
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, 107, message);
    };
    let by_status = headers.get(ERROR_MODE).is_some_and(|mode| mode == "transport");
    dispatch(&api, &caller, &method, &body, by_status).await
}
