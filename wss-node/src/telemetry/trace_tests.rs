#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use opentelemetry::trace::{FutureExt, SpanId, TraceId, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SimpleSpanProcessor, SpanData, SpanExporter};

use super::*;
use crate::client::TlsFacts;
use crate::service::tests::{admission, node};

/// Keeps what it gets.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Kept {
    fn named(&self, name: &str) -> Option<SpanData> {
        self.0.lock().unwrap().iter().find(|span| span.name == name).cloned()
    }
}

fn tracing(share: f64, asked: u32) -> (Tracing, Kept) {
    let kept = Kept::default();
    let provider =
        SdkTracerProvider::builder().with_span_processor(SimpleSpanProcessor::new(kept.clone())).build();
    (Tracing::new(provider.tracer("test"), Sampling::new(share, asked)), kept)
}

fn client() -> Client {
    let tls = TlsFacts {
        server_name: Some("a.example".to_owned()),
        cipher_suite: "TLS13_AES_256_GCM_SHA384",
        group: "X25519",
        resumed: false,
        took: Duration::from_millis(3),
        client_certificate: None,
    };
    let client = Client::of_socket("192.0.2.1:5000".parse().unwrap(), "192.0.2.9:8443".parse().unwrap());
    Client { tls: Some(Box::new(tls)), ..client }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(traceparent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", traceparent.parse().unwrap());
    headers
}

#[tokio::test]
async fn a_connection_has_its_handshake_its_upgrade_and_its_end() {
    let (tracing, kept) = tracing(0.0, 1);
    let now = SystemTime::now();
    let headers = headers(PARENT);
    let trace = tracing.connection(&client(), &Method::GET, "/ws", &headers, now).unwrap();
    let node = node("");
    let session = Upgraded::Session(Box::new(admission(&node)));
    let took = Duration::from_micros(10);
    trace.answered(StatusCode::SWITCHING_PROTOCOLS, took, "192.0.2.200".parse().unwrap(), Some(&session));
    let session = async {
        let_in(Some(&Grant { user: "u".to_owned(), ..Grant::anonymous() }));
        event("breaker open");
        let mut tally = Tally::default();
        tally.received(&node.counters, 7);
        tally.sent(&node.counters, 2, 100);
        let publishing = tracing.publishing("news").unwrap();
        let traceparent = publishing.traceparent();
        drop(publishing);
        closing(&Closing { side: Side::Node, code: 3008, reason: "slow", failed: true }, tally);
        traceparent
    };
    let traceparent = Box::pin(session.with_context(trace.context())).await;
    assert!(kept.named("wss connection").is_none());
    trace.end();

    let connection = kept.named("wss connection").unwrap();
    let trace_id = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
    assert_eq!(connection.span_context.trace_id(), trace_id);
    assert_eq!(connection.parent_span_id, SpanId::from_hex("00f067aa0ba902b7").unwrap());
    assert_eq!(connection.start_time, now - Duration::from_millis(3));
    for (key, value) in [
        ("network.peer.address", "192.0.2.1"),
        ("client.address", "192.0.2.1"),
        ("server.address", "a.example"),
        ("tls.protocol.version", "1.3"),
        ("tls.cipher", "TLS13_AES_256_GCM_SHA384"),
        ("tls.curve", "X25519"),
        ("tls.client.server_name", "a.example"),
        ("tls.resumed", "false"),
        ("url.path", "/ws"),
        ("http.response.status_code", "101"),
        ("wss_node.auth", "token"),
        ("wss_node.close.code", "3008"),
        ("wss_node.close.reason", "slow"),
        ("wss_node.close.side", "node"),
        ("wss_node.bytes.sent", "100"),
        ("wss_node.messages.received", "1"),
    ] {
        assert_eq!(attribute(&connection, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(connection.status, Status::error("slow"));
    let events: Vec<_> = connection.events.iter().map(|event| event.name.as_ref()).collect();
    assert_eq!(events, ["session open", "breaker open", "session closed"]);
    for child in ["tls handshake", "upgrade", "wss publish"] {
        let child = kept.named(child).unwrap();
        assert_eq!(child.parent_span_id, connection.span_context.span_id(), "{}", child.name);
    }
    let publish = kept.named("wss publish").unwrap();
    assert_eq!(traceparent, format!("00-{trace_id}-{}-01", publish.span_context.span_id()));
    assert_eq!(Counters::get(&node.counters.bytes_sent), 100);
}

#[tokio::test]
async fn what_is_not_traced_makes_nothing() {
    let (tracing, kept) = tracing(0.0, 0);
    let now = SystemTime::now();
    assert!(tracing.connection(&client(), &Method::GET, "/", &headers(PARENT), now).is_none());
    assert!(tracing.publishing("news").is_none());
    event("breaker open");
    closing(&Closing { side: Side::Client, code: 1000, reason: "", failed: false }, Tally::default());
    tracing.failed_handshake(&client(), Reason::Timeout, Duration::ZERO, now);
    assert!(kept.0.lock().unwrap().is_empty());
}

#[test]
fn a_failed_handshake_is_an_error() {
    let (tracing, kept) = tracing(1.0, 0);
    let now = SystemTime::now();
    tracing.failed_handshake(&client(), Reason::UnknownSni, Duration::from_secs(1), now);
    let span = kept.named("wss connection").unwrap();
    assert_eq!(span.status, Status::error("unknown_sni"));
    assert_eq!((span.start_time, span.end_time), (now - Duration::from_secs(1), now));
}

#[test]
fn a_refused_request_ends_its_trace_and_long_paths_are_cut() {
    let (tracing, kept) = tracing(1.0, 0);
    let path = format!("/{}", "é".repeat(300));
    let trace =
        tracing.connection(&client(), &Method::GET, &path, &HeaderMap::new(), SystemTime::now()).unwrap();
    let address = "192.0.2.200".parse().unwrap();
    trace.answered(StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO, address, None);
    drop(trace);
    let span = kept.named("wss connection").unwrap();
    assert_eq!(span.status, Status::error("503"));
    assert_eq!(attribute(&span, "url.path").unwrap().len(), 255);
    assert_eq!(attribute(&span, "client.address").as_deref(), Some("192.0.2.200"));
    assert_eq!(attribute(&span, "wss_node.auth"), None);
}
