//! The node's end of the delivery socket: dial, say what is held, take bundles, answer each, and dial again
//! whenever the agent is gone. What is served goes on meanwhile.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;
use sealwire_proto::socket::{CLOSED, dial};
use sealwire_proto::v1::delivery_service_client::DeliveryServiceClient;
use sealwire_proto::v1::{
    Ack, AgentMessage, Bundle, Hello, Nack, NodeMessage, Report, Serving, agent_message, node_message,
};
use sealwire_proto::{MAX_MESSAGE_BYTES, PROTOCOL_VERSION};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::backoff::Backoff;
use super::resolver::Served;
use super::validate::Validator;
use super::{CertReader, CertWriter, prove};
use crate::counters::Counters;
use crate::readiness::Readiness;

/// Answers that wait for the agent to read them.
const OUTBOUND_MESSAGES: usize = 64;
/// How often the agent hears how the node is.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// After a proof that failed: the listener may yet be reached, or an overlapping certificate removed.
const PROVE_AGAIN: Duration = Duration::from_secs(30);
/// A stream that lived this long was a healthy one: the next dial starts over with short waits.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// Takes certificates from the agent.
pub(crate) struct Receiver {
    pub(crate) node_id: String,
    pub(crate) server_names: Vec<String>,
    pub(crate) socket: PathBuf,
    pub(crate) listener: SocketAddr,
    pub(crate) validator: Arc<Validator>,
    pub(crate) writer: CertWriter,
    pub(crate) reader: CertReader,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) counters: Arc<Counters>,
    /// Told when the first certificate is in.
    pub(crate) armed: tokio::sync::watch::Sender<bool>,
}

impl Receiver {
    /// Runs for as long as the node does.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
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
            holds: self.reader.holds(),
            listeners: vec![self.listener.to_string()],
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
        let mut tick = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                received = inbound.next() => match received {
                    Some(Ok(received)) => self.take(received, &sender).await,
                    Some(Err(status)) => return closed_early(&status),
                    None => return "the agent closed the stream".to_owned(),
                },
                _ = tick.tick() => self.report(&sender),
                Ok(()) = ready.changed() => self.report(&sender),
            }
        }
    }

    async fn take(&mut self, received: AgentMessage, answers: &mpsc::Sender<NodeMessage>) {
        match received.body {
            Some(agent_message::Body::Bundle(bundle)) => self.bundle(bundle, false, answers).await,
            Some(agent_message::Body::Rollback(rollback)) => {
                if let Some(bundle) = rollback.bundle {
                    self.bundle(bundle, true, answers).await;
                }
            }
            // From a later version: not for us.
            _ => {}
        }
    }

    async fn bundle(&mut self, bundle: Bundle, rollback: bool, answers: &mpsc::Sender<NodeMessage>) {
        let (certificate, generation) = (bundle.certificate.clone(), bundle.generation);
        let held = self.writer.served(&certificate);
        let started = Instant::now();
        let checked = self.validator.check(bundle, held.as_deref().filter(|_| !rollback), UnixTime::now());
        let served = match checked {
            Ok(served) => served,
            Err(rejection) => {
                tracing::warn!(
                    certificate,
                    generation,
                    reason = rejection.reason.as_str_name(),
                    detail = rejection.detail,
                    still_serving = held.map(|held| held.generation),
                    "bundle refused"
                );
                let nack = Nack {
                    certificate,
                    generation,
                    reason: rejection.reason.into(),
                    detail: rejection.detail,
                    staple: false,
                };
                answer(answers, node_message::Body::Nack(nack)).await;
                return;
            }
        };
        let validated = Instant::now();
        let (leaf, serial) = (served.leaf.sha256, served.leaf.serial.clone());
        let names = self.validator.covered(&served);
        // A new number on the same leaf is a swap too: its chain may be another, and reports must name it.
        let is_new = held.is_none_or(|held| (held.generation, held.leaf.sha256) != (generation, leaf));
        if is_new {
            self.writer.swap_in(served);
        }
        let swapped = Instant::now();
        self.armed.send_if_modified(|armed| !std::mem::replace(armed, true));
        let ack = Ack {
            certificate: certificate.clone(),
            generation,
            validate_micros: micros(validated - started),
            swap_micros: micros(swapped - validated),
        };
        answer(answers, node_message::Body::Ack(ack)).await;
        if is_new {
            tracing::info!(certificate, generation, serial, rollback, names = names.join(", "), "swapped in");
        }
        let proof = Proof { certificate, generation, serial, leaf, names };
        let (reader, readiness) = (self.reader.clone(), Arc::clone(&self.readiness));
        tokio::spawn(proof.run(self.listener, reader, readiness, answers.clone()));
    }

    fn report(&self, answers: &mpsc::Sender<NodeMessage>) {
        let report = Report {
            ready: self.readiness.obstacle().is_none(),
            sessions: Counters::get(&self.counters.sessions),
            handshakes: Counters::get(&self.counters.handshakes),
            handshake_failures: self.counters.handshake_failures().map(|(_, count)| count).sum(),
            ..Report::default()
        };
        // A full queue means that the agent reads nothing: the next report is as good.
        let _ = answers.try_send(message(node_message::Body::Report(report)));
    }
}

/// What has to be seen.
struct Proof {
    certificate: String,
    generation: u64,
    serial: String,
    leaf: [u8; 32],
    names: Vec<String>,
}

impl Proof {
    async fn run(
        self,
        listener: SocketAddr,
        reader: CertReader,
        readiness: Arc<Readiness>,
        answers: mpsc::Sender<NodeMessage>,
    ) {
        while self.is_served(&reader) {
            let seen = prove::prove(listener, &self.names, self.leaf, &reader).await;
            // Another swap may have come meanwhile: then this proof says nothing about what is served.
            if !self.is_served(&reader) {
                return;
            }
            let error = seen.as_ref().err().cloned().unwrap_or_default();
            let serving = Serving {
                certificate: self.certificate.clone(),
                generation: self.generation,
                leaf_sha256: self.leaf.to_vec(),
                handshake_micros: seen.as_ref().map_or(0, |took| micros(*took)),
                error,
                ..Serving::default()
            };
            match seen {
                Ok(_) => self.seen(&readiness),
                Err(error) => {
                    let Self { certificate, generation, .. } = &self;
                    tracing::warn!(
                        certificate,
                        generation,
                        error,
                        "no handshake with our own listener saw it"
                    );
                    readiness.unproven(certificate);
                }
            }
            let proven = serving.error.is_empty();
            answer(&answers, node_message::Body::Serving(serving)).await;
            if proven {
                return;
            }
            tokio::time::sleep(PROVE_AGAIN).await;
        }
    }

    fn is_served(&self, reader: &CertReader) -> bool {
        reader.with_leaf(self.leaf).is_some_and(|served| {
            (&served.certificate, served.generation) == (&self.certificate, self.generation)
        })
    }

    fn seen(&self, readiness: &Readiness) {
        let Self { certificate, generation, serial, .. } = self;
        let was_ready = readiness.obstacle().is_none();
        readiness.proven(certificate, *generation, self.names.clone());
        if !was_ready && readiness.obstacle().is_none() {
            tracing::info!("ready: serving {certificate} generation {generation} (serial {serial}, proven)");
        } else {
            tracing::info!(certificate, generation, serial, "proven");
        }
    }
}

async fn answer(answers: &mpsc::Sender<NodeMessage>, body: node_message::Body) {
    // A closed stream: the agent learns the state from the next Hello.
    let _ = answers.send(message(body)).await;
}

fn message(body: node_message::Body) -> NodeMessage {
    NodeMessage { body: Some(body) }
}

fn micros(duration: Duration) -> u64 {
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

/// Only for the log of a set of certificates.
pub(crate) fn summary(served: &Served, proven: Option<u64>) -> serde_json::Value {
    serde_json::json!({
        "certificate": served.certificate,
        "generation": served.generation,
        "serial": served.leaf.serial,
        "not_after": jiff::Timestamp::from_second(served.leaf.not_after).ok().map(|at| at.to_string()),
        "proven": proven == Some(served.generation),
    })
}
