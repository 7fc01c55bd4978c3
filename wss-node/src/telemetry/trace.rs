//! Spans of connections. A traced session runs within its span's context, so that what it logs carries the ids and
//! the code below needs no argument for it; outside of one, each function here looks at a thread-local and is done.
//!
//! Not spans of `tracing`: those are made for every connection before anybody has decided whether it is traced.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::parent;
use super::sampling::Sampling;
use crate::auth::Grant;
use crate::client::Client;
use crate::counters::{Counters, Side};
use crate::registry::SessionId;
use crate::tls::Reason;
use crate::upgrade::{Admission, Upgraded};

/// What is kept of a path that a client sends.
const MAX_PATH_BYTES: usize = 256;

/// Makes spans for those connections that are traced.
#[derive(Debug)]
pub(super) struct Tracing {
    tracer: SdkTracer,
    sampling: Sampling,
}

/// A traced connection. Its span ends when the last clone of its context is dropped, or by [`Trace::end`].
#[derive(Debug)]
pub(crate) struct Trace {
    tracer: SdkTracer,
    context: Context,
}

impl Tracing {
    pub(super) fn new(tracer: SdkTracer, sampling: Sampling) -> Self {
        Self { tracer, sampling }
    }

    /// Begins the trace of a connection with its first request, if it is traced at all. `now` is after the handshake.
    pub(super) fn connection(
        &self,
        client: &Client,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Option<Trace> {
        let parent = parent::parent(headers);
        let sampled = parent.as_ref().map(opentelemetry::trace::SpanContext::is_sampled);
        if !self.sampling.decide(sampled, fastrand::f64()) {
            return None;
        }
        let took = client.tls.as_ref().map_or(Duration::ZERO, |facts| facts.took);
        let began = now.checked_sub(took).unwrap_or(now);
        let mut attributes = of_client(client);
        attributes.push(KeyValue::new("http.request.method", method.as_str().to_owned()));
        attributes.push(KeyValue::new("url.path", shortened(path)));
        let parent =
            parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let context = self.span("wss connection", began, attributes, &parent);
        let trace = Trace { tracer: self.tracer.clone(), context };
        if client.tls.is_some() {
            trace.child("tls handshake", began, now);
        }
        Some(trace)
    }

    /// A connection of which nothing came but a failed handshake.
    pub(super) fn failed_handshake(&self, client: &Client, reason: Reason, took: Duration, now: SystemTime) {
        if !self.sampling.decide(None, fastrand::f64()) {
            return;
        }
        let mut attributes = of_client(client);
        attributes.push(KeyValue::new("client.address", client.address.to_string()));
        attributes.push(KeyValue::new("error.type", reason.as_str()));
        let began = now.checked_sub(took).unwrap_or(now);
        let context = self.span("wss connection", began, attributes, &Context::new());
        context.span().set_status(Status::error(reason.as_str()));
        context.span().end_with_timestamp(now);
    }

    /// See [`super::Telemetry::publishing`].
    pub(super) fn publishing(&self, channel: &str) -> Option<Publishing> {
        within(|context| {
            let attributes = [
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", channel.to_owned()),
            ];
            let builder = SpanBuilder::from_name("wss publish").with_kind(SpanKind::Producer);
            Publishing(self.tracer.build_with_context(builder.with_attributes(attributes), context))
        })
    }

    fn span(
        &self,
        name: &'static str,
        began: SystemTime,
        attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> Context {
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
        let builder = builder.with_start_time(began).with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, parent);
        Context::new().with_span(span)
    }
}

impl Trace {
    /// For what goes on within the connection.
    pub(crate) fn context(&self) -> Context {
        self.context.clone()
    }

    /// The request of a client at `address` was answered, after `took`. Without an upgrade this is the end.
    pub(crate) fn answered(
        &self,
        status: StatusCode,
        took: Duration,
        address: IpAddr,
        upgraded: Option<&Upgraded>,
    ) {
        let now = SystemTime::now();
        self.child("upgrade", now.checked_sub(took).unwrap_or(now), now);
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(status.as_str().to_owned()));
        }
        let Admission { client, tenant, .. } = match upgraded {
            Some(Upgraded::Session(admission)) => admission.as_ref(),
            Some(Upgraded::Close(goodbye)) => {
                span.set_attribute(KeyValue::new("wss_node.close.side", Side::Node.as_str()));
                span.set_attribute(KeyValue::new("wss_node.close.code", i64::from(goodbye.code)));
                span.set_attribute(KeyValue::new("client.address", address.to_string()));
                return;
            }
            None => {
                span.set_attribute(KeyValue::new("client.address", address.to_string()));
                return;
            }
        };
        // As a trusted proxy told it.
        span.set_attribute(KeyValue::new("client.address", client.address.to_string()));
        if let Some(tenant) = &tenant.name {
            span.set_attribute(KeyValue::new("wss_node.tenant", tenant.clone()));
        }
        span.add_event_with_timestamp("session open", now, Vec::new());
    }

    /// The connection is over.
    pub(crate) fn end(self) {
        self.context.span().end();
    }

    fn child(&self, name: &'static str, began: SystemTime, ended: SystemTime) {
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Internal).with_start_time(began);
        let mut span = self.tracer.build_with_context(builder, &self.context);
        opentelemetry::trace::Span::end_with_timestamp(&mut span, ended);
    }
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Closing<'a> {
    pub(crate) side: Side,
    /// The close code; 1005 and 1006 stand for none.
    pub(crate) code: u16,
    pub(crate) reason: &'a str,
    /// It was not meant to end so.
    pub(crate) failed: bool,
}

/// What went over a session, payload only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    messages_received: u64,
    messages_sent: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

impl Tally {
    /// A message came, of so many bytes.
    pub(crate) fn received(&mut self, counters: &Counters, bytes: usize) {
        self.messages_received += 1;
        self.bytes_received += count(bytes);
        Counters::add(&counters.messages_received);
        Counters::add_many(&counters.bytes_received, bytes);
    }

    /// Messages were written, so many bytes together.
    pub(crate) fn sent(&mut self, counters: &Counters, messages: usize, bytes: usize) {
        self.messages_sent += count(messages);
        self.bytes_sent += count(bytes);
        Counters::add_many(&counters.messages_sent, messages);
        Counters::add_many(&counters.bytes_sent, bytes);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The session of this task has begun, under this id.
pub(crate) fn session(id: &SessionId) {
    within(|context| context.span().set_attribute(KeyValue::new("session.id", id.to_string())));
}

/// The client of this task's session was let in, by a token or as one of the anonymous.
pub(crate) fn let_in(grant: Option<&Grant>) {
    let auth = if grant.is_some_and(|grant| !grant.user.is_empty()) { "token" } else { "anonymous" };
    within(|context| context.span().set_attribute(KeyValue::new("wss_node.auth", auth)));
}

/// The session of this task ends.
pub(crate) fn closing(closing: &Closing<'_>, tally: Tally) {
    within(|context| {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let span = context.span();
        span.set_attributes([
            KeyValue::new("wss_node.close.side", closing.side.as_str()),
            KeyValue::new("wss_node.close.code", i64::from(closing.code)),
            KeyValue::new("wss_node.close.reason", closing.reason.to_owned()),
            KeyValue::new("wss_node.messages.received", whole(tally.messages_received)),
            KeyValue::new("wss_node.messages.sent", whole(tally.messages_sent)),
            KeyValue::new("wss_node.bytes.received", whole(tally.bytes_received)),
            KeyValue::new("wss_node.bytes.sent", whole(tally.bytes_sent)),
        ]);
        if closing.failed {
            span.set_status(Status::error(closing.reason.to_owned()));
        }
        span.add_event("session closed", Vec::new());
    });
}

/// Something happened to the session of this task.
pub(crate) fn event(name: impl Into<Cow<'static, str>>) {
    within(|context| context.span().add_event(name, Vec::new()));
}

/// A publication is sent by the session of this task.
#[derive(Debug)]
pub(crate) struct Publishing(opentelemetry_sdk::trace::Span);

impl Publishing {
    /// For the publication's tags.
    pub(crate) fn traceparent(&self) -> String {
        parent::header(opentelemetry::trace::Span::span_context(&self.0))
    }
}

fn within<T>(act: impl FnOnce(&Context) -> T) -> Option<T> {
    Context::map_current(|context| context.has_active_span().then(|| act(context)))
}

fn of_client(client: &Client) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    attributes.extend([
        KeyValue::new("network.peer.address", client.peer.ip().to_string()),
        KeyValue::new("network.peer.port", i64::from(client.peer.port())),
        KeyValue::new("server.port", i64::from(client.local.port())),
    ]);
    let mut server = client.local.ip().to_string();
    if let Some(facts) = &client.tls {
        attributes.extend([
            KeyValue::new("tls.protocol.name", "tls"),
            KeyValue::new("tls.protocol.version", "1.3"),
            KeyValue::new("tls.cipher", facts.cipher_suite),
            KeyValue::new("tls.curve", facts.group),
            KeyValue::new("tls.resumed", facts.resumed),
        ]);
        if let Some(name) = &facts.server_name {
            attributes.push(KeyValue::new("tls.client.server_name", name.clone()));
            server.clone_from(name);
        }
    }
    attributes.push(KeyValue::new("server.address", server));
    attributes
}

fn shortened(path: &str) -> String {
    path[..path.floor_char_boundary(MAX_PATH_BYTES)].to_owned()
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
