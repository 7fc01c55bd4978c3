//! The node's end of the delivery socket: dial, say what is held, take messages, and dial again whenever the agent
//! is gone. What is served goes on meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;
use sealwire_proto::socket::{CLOSED, dial};
use sealwire_proto::v1::delivery_service_client::DeliveryServiceClient;
use sealwire_proto::v1::{Hello, NodeMessage, Report, node_message};
use sealwire_proto::{MAX_MESSAGE_BYTES, PROTOCOL_VERSION};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::backoff::Backoff;
use super::pairing::Pairing;
use super::prove::OwnListener;
use super::served::{Served, seconds};
use super::validate::Validator;
use super::{CertReader, CertWriter};
use crate::client_auth::ClientCertificates;
use crate::counters::Counters;
use crate::guard::Guard;
use crate::readiness::Readiness;
use crate::service::Node;

/// Answers that wait for the agent to read them.
const OUTBOUND_MESSAGES: usize = 64;
/// How often the agent hears how the node is.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// A stream that lived this long was a healthy one: the next dial starts over with short waits.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// Before the agent is dialled again: it may be about to start, and many nodes may be waiting.
const DIAL: Backoff = Backoff::between(Duration::from_millis(250), Duration::from_secs(10));

/// Takes certificates from the agent.
pub(crate) struct Receiver {
    node_id: String,
    server_names: Vec<String>,
    socket: PathBuf,
    pub(super) listener: OwnListener,
    pub(super) validator: Validator,
    pub(super) writer: CertWriter,
    pub(super) reader: CertReader,
    pub(super) readiness: Arc<Readiness>,
    counters: Arc<Counters>,
    pub(super) guard: Arc<Guard>,
    pub(super) clients: Arc<ClientCertificates>,
    /// Told when the first certificate is in.
    pub(super) armed: tokio::sync::watch::Sender<bool>,
}

impl Receiver {
    /// What takes certificates for a node that handshakes reach at `listener`.
    pub(crate) fn new(
        node: &Node,
        listener: OwnListener,
        validator: Validator,
        writer: CertWriter,
        armed: tokio::sync::watch::Sender<bool>,
    ) -> Self {
        Self {
            node_id: node.config.node_id.clone(),
            server_names: node.config.server_names.clone(),
            socket: node.config.delivery.socket.clone(),
            listener,
            validator,
            writer,
            reader: node.reader.clone(),
            readiness: Arc::clone(&node.readiness),
            counters: Arc::clone(&node.counters),
            guard: Arc::clone(&node.guard),
            clients: Arc::clone(&node.clients),
            armed,
        }
    }

    /// Runs for as long as the node does.
    pub(crate) async fn run(mut self) {
        let mut backoff = DIAL;
        loop {
            let started = Instant::now();
            let ended = self.stream().await;
            if started.elapsed() >= HEALTHY_AFTER {
                backoff.reset();
            }
            let wait = backoff.next(fastrand::f64());
            tracing::warn!(reason = ended, again_in_ms = wait.as_millis(), "not paired with the agent");
            tokio::time::sleep(wait).await;
        }
    }

    /// One connection, from dialling to its end; says why it ended.
    async fn stream(&mut self) -> String {
        let channel = match dial(&self.socket).await {
            Ok(channel) => channel,
            Err(error) if error.detail.contains(CLOSED) => return refused(error),
            Err(error) => return error.to_string(),
        };
        let (sender, outbound) = mpsc::channel(OUTBOUND_MESSAGES);
        let hello = Hello {
            node_id: self.node_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_version: PROTOCOL_VERSION,
            server_names: self.server_names.clone(),
            holds: self.reader.holds(seconds(UnixTime::now())),
            listeners: vec![self.listener.address.to_string()],
            proxied: self.listener.proxied.then(|| self.listener.address.to_string()).into_iter().collect(),
        };
        // The queue is empty: this cannot fail.
        let _ = sender.try_send(message(node_message::Body::Hello(hello)));
        let mut client = DeliveryServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut inbound = match client.subscribe(ReceiverStream::new(outbound)).await {
            Ok(reply) => reply.into_inner(),
            Err(status) => return closed_early(&status),
        };
        tracing::info!(socket = %self.socket.display(), "paired with the agent");
        let mut ready = self.readiness.watch();
        let mut news = self.guard.news();
        let mut tick = tokio::time::interval(REPORT_EVERY);
        let mut pairing = Pairing::new(self, sender);
        loop {
            tokio::select! {
                received = inbound.next() => match received {
                    Some(Ok(received)) => pairing.take(received).await,
                    Some(Err(status)) => return closed_early(&status),
                    None => return "the agent closed the stream".to_owned(),
                },
                _ = tick.tick() => pairing.report(),
                Ok(()) = ready.changed() => pairing.report(),
                Ok(()) = news.changed() => pairing.report(),
            }
        }
    }

    pub(super) fn report(&self) -> Report {
        let failures = self.counters.handshake_failures();
        Report {
            ready: self.readiness.obstacle().is_none(),
            sessions: Counters::get(&self.counters.sessions),
            handshakes: Counters::get(&self.counters.handshakes),
            handshake_failures: self.counters.handshake_failures().map(|(_, count)| count).sum(),
            breaker: Some(self.guard.report()),
            failures: failures.map(|(reason, count)| (reason.as_str().to_owned(), count)).collect(),
        }
    }
}

pub(super) async fn answer(answers: &mpsc::Sender<NodeMessage>, body: node_message::Body) {
    // A closed stream: the agent learns the state from the next Hello.
    let _ = answers.send(message(body)).await;
}

pub(super) fn message(body: node_message::Body) -> NodeMessage {
    NodeMessage { body: Some(body) }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What the agent said, or what a connection cut at once most likely means.
fn closed_early(status: &tonic::Status) -> String {
    let text = sealwire_proto::socket::chain_of(status);
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Internal => refused(text),
        _ => text,
    }
}

/// An agent that does not know us just closes.
fn refused(text: impl std::fmt::Display) -> String {
    let uid = rustix::process::geteuid().as_raw();
    format!(
        "{text}; if this repeats, is this user (uid {uid}) in the agent's delivery.allow_uids or allow_gids?"
    )
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

/// What is served of a certificate, for `/readyz`.
pub(crate) fn summary(served: &Served, proven: Option<u64>) -> serde_json::Value {
    let told = |second| jiff::Timestamp::from_second(second).ok().map(|at| at.to_string());
    serde_json::json!({
        "certificate": served.certificate,
        "generation": served.generation,
        "serial": served.leaf.serial,
        "not_after": told(served.leaf.not_after),
        "stapled_until": served.stapled_until().and_then(told),
        "proven": proven == Some(served.generation),
    })
}
