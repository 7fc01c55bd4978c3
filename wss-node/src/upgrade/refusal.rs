//! What becomes of a request for a session: the words that metrics, the audit log and `/connect/check` share, and the
//! answers that go with them.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::room::Room;
use crate::limits::LimitFault;

/// What becomes of a request for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 101.
    Accepted,
    /// No request as RFC 6455 section 4.2.1 has it.
    BadRequest,
    /// A trusted proxy wrote a header that cannot be read.
    ForwardedUnreadable,
    /// It came to the proxy without TLS.
    TlsRequired,
    /// The TLS handshake was for the host of one tenant, the request is for that of another.
    Misdirected,
    /// No endpoint is at this path.
    NotFound,
    /// Not GET.
    MethodNotAllowed,
    /// Not HTTP/1.1.
    HttpVersion,
    /// The node stops.
    Stopping,
    /// Its breaker is open.
    Halted,
    /// `listen.max_connections`
    Full,
    /// Not version 13 of the WebSocket protocol.
    WebSocketVersion,
    /// The page's origin is not allowed.
    OriginRefused,
    /// No Origin, and only browsers are let in.
    OriginMissing,
    /// None of the offered subprotocols, or none although one is required.
    SubprotocolRefused,
    /// No token.
    TokenMissing,
    /// A bad one.
    TokenRefused,
    /// Its issuer cannot be asked.
    TokenUnavailable,
    /// Too many of the same client, or of the same tenant.
    LimitReached,
}

impl Outcome {
    /// Each of them once, in the order of their numbers.
    pub(crate) const ALL: [Self; 19] = [
        Self::Accepted,
        Self::BadRequest,
        Self::ForwardedUnreadable,
        Self::TlsRequired,
        Self::Misdirected,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::HttpVersion,
        Self::Stopping,
        Self::Halted,
        Self::Full,
        Self::WebSocketVersion,
        Self::OriginRefused,
        Self::OriginMissing,
        Self::SubprotocolRefused,
        Self::TokenMissing,
        Self::TokenRefused,
        Self::TokenUnavailable,
        Self::LimitReached,
    ];

    /// In snake case; never changed, for dashboards and pages go by it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::BadRequest => "bad_request",
            Self::ForwardedUnreadable => "forwarded_unreadable",
            Self::TlsRequired => "tls_required",
            Self::Misdirected => "misdirected",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::HttpVersion => "http_version",
            Self::Stopping => "stopping",
            Self::Halted => "halted",
            Self::Full => "full",
            Self::WebSocketVersion => "websocket_version",
            Self::OriginRefused => "origin_refused",
            Self::OriginMissing => "origin_missing",
            Self::SubprotocolRefused => "subprotocol_refused",
            Self::TokenMissing => "token_missing",
            Self::TokenRefused => "token_refused",
            Self::TokenUnavailable => "token_unavailable",
            Self::LimitReached => "limit_reached",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Accepted => StatusCode::SWITCHING_PROTOCOLS,
            Self::BadRequest | Self::ForwardedUnreadable => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Stopping | Self::Halted | Self::Full | Self::TokenUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::TlsRequired
            | Self::OriginRefused
            | Self::OriginMissing
            | Self::SubprotocolRefused
            | Self::TokenMissing
            | Self::TokenRefused => StatusCode::FORBIDDEN,
            Self::LimitReached => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// Why a request does not become a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) outcome: Outcome,
    /// For `/connect/check`: the outcome, or what it was about a token.
    pub(super) reason: Cow<'static, str>,
    /// For people at the other end.
    pub(super) text: &'static str,
    /// For the audit log, where more may be said than to the client.
    pub(crate) detail: Cow<'static, str>,
    /// Seconds after which it makes sense to come back.
    pub(super) retry_after: Option<u64>,
    /// Whose token it was, if that is certain.
    pub(crate) user: Option<String>,
}

impl Refusal {
    pub(super) fn new(outcome: Outcome, text: &'static str) -> Self {
        Self {
            outcome,
            reason: outcome.as_str().into(),
            text,
            detail: text.into(),
            retry_after: None,
            user: None,
        }
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(super) fn detail(self, detail: String) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// With the status of its outcome, and for people a line that says why.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{}\n", self.text)));
        *response.status_mut() = self.outcome.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match self.outcome {
            Outcome::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            Outcome::WebSocketVersion => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }
}

impl From<LimitFault> for Refusal {
    fn from(fault: LimitFault) -> Self {
        Self::new(Outcome::LimitReached, "too many connections")
            .retry_after(fault.retry_after().as_secs())
            .detail(format!("over the limit {}", fault.as_str()))
    }
}

impl Room {
    /// Whether there is room for a session.
    pub(super) fn check(self) -> Result<(), Refusal> {
        let unavailable = |outcome, text, after_s| Err(Refusal::new(outcome, text).retry_after(after_s));
        match self {
            Self::Open => Ok(()),
            Self::Full => unavailable(Outcome::Full, "this node is full", 1),
            Self::Stopping => unavailable(Outcome::Stopping, "this node is stopping", 1),
            Self::Halted(after_s) => unavailable(Outcome::Halted, "this node has halted", after_s),
        }
    }
}
