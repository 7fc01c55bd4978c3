//! The delivery socket: one task per paired node. It holds a [`Slot`] for every certificate that goes to the
//! node, so that a slow or stuck node holds up nobody else, and the newest generation always wins.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::Stream;
use sealwire_proto::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use sealwire_proto::v1::{
    AgentMessage, BundleUse, Hello, NackReason, NodeMessage, Rollback, StepKind, agent_message, node_message,
};
use sealwire_proto::{MAX_MESSAGE_BYTES, PROTOCOL_VERSION};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::slot::{Effect, Input, Leaf, Limits, Slot};
use super::{Deliverable, Desired, Event, NodeInfo, Outcome, prove, route};
use crate::steps::{self, Steps};

/// Nodes paired at the same time.
const MAX_NODES: usize = 256;
/// A node that has nothing to say for itself is not one.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Bundles on their way to one node; more wait in the slots, where the newest wins.
const OUTBOUND_MESSAGES: usize = 8;
/// Bounds on what a Hello may claim.
const MAX_SERVER_NAMES: usize = 1000;
const MAX_LISTENERS: usize = 16;
const MAX_TEXT_BYTES: usize = 253;

/// What every connection shares.
#[derive(Clone)]
pub struct Delivery {
    limits: Limits,
    desired: watch::Receiver<Desired>,
    events: mpsc::Sender<Event>,
    steps: Arc<Steps>,
    places: Arc<Semaphore>,
    connections: Arc<AtomicU64>,
}

impl Delivery {
    /// A service that delivers what `desired` says and tells `events` what became of it.
    #[must_use]
    pub fn new(
        limits: Limits,
        desired: watch::Receiver<Desired>,
        events: mpsc::Sender<Event>,
        steps: Arc<Steps>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MAX_NODES));
        Self { limits, desired, events, steps, places, connections: Arc::default() }
    }

    /// For tonic's router, with limits on what a peer may send.
    #[must_use]
    pub fn into_service(self) -> DeliveryServiceServer<Self> {
        DeliveryServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl DeliveryService for Delivery {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<AgentMessage, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("{MAX_NODES} nodes are paired already")))?;
        let mut inbound = request.into_inner();
        let (outbound, messages) = mpsc::channel(OUTBOUND_MESSAGES);
        let delivery = self.clone();
        // The answer to the call must not wait for the Hello: the node sends it on this very stream.
        tokio::spawn(async move {
            let refusal = match tokio::time::timeout(HELLO_TIMEOUT, hello(&mut inbound)).await {
                Ok(Ok(hello)) => return Connection::new(delivery, hello, outbound, place).run(inbound).await,
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no Hello within 10 s"),
            };
            tracing::warn!(error = refusal.message(), "a peer of the delivery socket did not pair");
            let _ = outbound.send(Err(refusal)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// The first message, checked.
async fn hello(inbound: &mut Streaming<NodeMessage>) -> Result<Hello, Status> {
    let first = inbound.next().await.ok_or_else(|| Status::cancelled("closed before Hello"))??;
    let Some(node_message::Body::Hello(hello)) = first.body else {
        return Err(Status::failed_precondition("the first message must be a Hello"));
    };
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Status::failed_precondition(format!(
            "node {} speaks protocol version {}, this agent {PROTOCOL_VERSION}: upgrade the older one",
            hello.node_id, hello.protocol_version
        )));
    }
    let texts =
        [&hello.node_id, &hello.version].into_iter().chain(&hello.server_names).chain(&hello.listeners);
    let sound = |text: &String| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    if hello.node_id.is_empty()
        || hello.server_names.len() > MAX_SERVER_NAMES
        || hello.listeners.len() > MAX_LISTENERS
        || !texts.into_iter().all(sound)
    {
        return Err(Status::invalid_argument("the Hello has no node_id, or is larger than it may be"));
    }
    Ok(hello)
}

/// One handshake of the agent that ended.
struct Probed {
    certificate: String,
    generation: u64,
    seen: Result<([u8; 32], Duration), String>,
}

struct Connection {
    delivery: Delivery,
    number: u64,
    node: Arc<NodeInfo>,
    held: BTreeMap<String, Leaf>,
    slots: BTreeMap<String, Slot>,
    outbound: mpsc::Sender<Result<AgentMessage, Status>>,
    probes: JoinSet<Probed>,
    // Given back when the connection ends, whatever way it ends.
    _place: OwnedSemaphorePermit,
}

/// The connection is over.
struct Closed;

impl Connection {
    fn new(
        delivery: Delivery,
        hello: Hello,
        outbound: mpsc::Sender<Result<AgentMessage, Status>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let held = hello
            .holds
            .into_iter()
            .filter_map(|held| {
                let sha256 = held.leaf_sha256.try_into().ok()?;
                Some((held.certificate, Leaf { generation: held.generation, sha256 }))
            })
            .collect();
        let node = NodeInfo {
            id: hello.node_id,
            version: hello.version,
            server_names: hello.server_names,
            listeners: hello.listeners,
        };
        Self {
            number: delivery.connections.fetch_add(1, Ordering::Relaxed),
            delivery,
            node: Arc::new(node),
            held,
            slots: BTreeMap::new(),
            outbound,
            probes: JoinSet::new(),
            _place: place,
        }
    }

    async fn run(mut self, mut inbound: Streaming<NodeMessage>) {
        tracing::info!(node = self.node.id, version = self.node.version, "node paired");
        let node = (*self.node).clone();
        let node_id = node.id.clone();
        if self.tell(Event::Connected { connection: self.number, node }).await.is_ok() {
            // It ends by one of the two sides closing; there is nothing to mend here.
            let _: Result<(), Closed> = self.serve(&mut inbound).await;
        }
        tracing::info!(node = node_id, "node unpaired");
        let _ = self.tell(Event::Disconnected { connection: self.number, node_id }).await;
    }

    async fn serve(&mut self, inbound: &mut Streaming<NodeMessage>) -> Result<(), Closed> {
        let mut desired = self.delivery.desired.clone();
        desired.mark_changed();
        loop {
            let deadline = self.slots.values().filter_map(Slot::deadline).min();
            tokio::select! {
                message = inbound.next() => match message {
                    Some(Ok(message)) => self.take(message).await?,
                    Some(Err(status)) => {
                        tracing::debug!(node = self.node.id, error = status.message(), "the stream broke");
                        return Err(Closed);
                    }
                    None => return Err(Closed),
                },
                changed = desired.changed() => {
                    changed.map_err(|_| Closed)?;
                    self.reconcile().await?;
                }
                Some(Ok(probed)) = self.probes.join_next() => {
                    let Probed { certificate, generation, seen } = probed;
                    self.input(&certificate, Input::AgentSaw { generation, seen }).await?;
                }
                () = until(deadline) => {
                    for certificate in self.slots.keys().cloned().collect::<Vec<_>>() {
                        self.input(&certificate, Input::Tick).await?;
                    }
                }
            }
        }
    }

    /// Compares all that is desired with all that is held.
    async fn reconcile(&mut self) -> Result<(), Closed> {
        let desired = self.delivery.desired.borrow().clone();
        self.slots.retain(|name, _| desired.contains_key(name));
        let node = Arc::clone(&self.node);
        for (name, deliverable) in desired.iter().filter(|(_, deliverable)| deliverable.is_for(&node)) {
            if !self.slots.contains_key(name) {
                let slot = Slot::new(self.delivery.limits, self.held.get(name).copied());
                self.slots.insert(name.clone(), slot);
            }
            let leaf = Leaf {
                generation: deliverable.generation.number,
                sha256: deliverable.generation.leaf.sha256,
            };
            self.input(name, Input::Desire(leaf)).await?;
        }
        Ok(())
    }

    async fn take(&mut self, message: NodeMessage) -> Result<(), Closed> {
        match message.body {
            Some(node_message::Body::Ack(ack)) => {
                let input = Input::Acked {
                    generation: ack.generation,
                    validate_micros: ack.validate_micros,
                    swap_micros: ack.swap_micros,
                };
                self.input(&ack.certificate, input).await
            }
            Some(node_message::Body::Nack(nack)) => {
                let reason = nack.reason();
                let mut detail = nack.detail;
                detail.truncate(detail.floor_char_boundary(1024));
                let input = Input::Nacked { generation: nack.generation, reason, detail };
                self.input(&nack.certificate, input).await
            }
            Some(node_message::Body::Serving(serving)) => {
                let seen = match <[u8; 32]>::try_from(serving.leaf_sha256) {
                    _ if !serving.error.is_empty() => Err(serving.error),
                    Ok(sha256) => Ok(sha256),
                    Err(_) => Err("it told no SHA-256".to_owned()),
                };
                let input = Input::NodeSaw { generation: serving.generation, seen };
                self.input(&serving.certificate, input).await
            }
            Some(node_message::Body::Report(report)) => {
                self.tell(Event::Reported { node_id: self.node.id.clone(), report }).await
            }
            // Nothing that these answer is sent yet.
            Some(
                node_message::Body::Prepared(_)
                | node_message::Body::Stapled(_)
                | node_message::Body::Trusted(_),
            ) => Ok(()),
            Some(node_message::Body::Hello(_)) => {
                tracing::warn!(node = self.node.id, "a second Hello: closing");
                Err(Closed)
            }
            // From a later version: not for us.
            None => Ok(()),
        }
    }

    async fn input(&mut self, certificate: &str, input: Input) -> Result<(), Closed> {
        let Some(slot) = self.slots.get_mut(certificate) else { return Ok(()) };
        for effect in slot.on(input, Instant::now()) {
            match effect {
                Effect::Push { generation, rollback } => self.push(certificate, generation, rollback).await?,
                Effect::Probe { generation } => self.probe(certificate, generation),
                Effect::Report { generation, outcome } => {
                    self.report(certificate, generation, outcome).await?
                }
                Effect::Disconnect => {
                    tracing::warn!(node = self.node.id, certificate, "no answer to a push: closing");
                    return Err(Closed);
                }
            }
        }
        Ok(())
    }

    fn deliverable(&self, certificate: &str, generation: u64) -> Option<Deliverable> {
        let desired = self.delivery.desired.borrow();
        desired.get(certificate).filter(|found| found.generation.number == generation).cloned()
    }

    async fn push(&mut self, certificate: &str, generation: u64, rollback: bool) -> Result<(), Closed> {
        // Superseded since: the newer one is about to be desired.
        let Some(deliverable) = self.deliverable(certificate, generation) else { return Ok(()) };
        let bundle = deliverable.bundle(BundleUse::Unspecified);
        let body = if rollback {
            agent_message::Body::Rollback(Rollback { bundle: Some(bundle) })
        } else {
            agent_message::Body::Bundle(bundle)
        };
        let message = Ok(AgentMessage { body: Some(body) });
        match tokio::time::timeout(self.delivery.limits.ack, self.outbound.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Closed),
            Err(_) => {
                tracing::warn!(node = self.node.id, certificate, "the node takes no messages: closing");
                Err(Closed)
            }
        }
    }

    fn probe(&mut self, certificate: &str, generation: u64) {
        let Some(deliverable) = self.deliverable(certificate, generation) else { return };
        let node = Arc::clone(&self.node);
        let certificate = certificate.to_owned();
        self.probes.spawn(async move {
            let names = route::names_to_prove(&deliverable.config.identifiers, &node);
            let seen = prove::prove(&node, &names, deliverable.generation.leaf.sha256).await;
            Probed { certificate, generation, seen }
        });
    }

    async fn report(&self, certificate: &str, generation: u64, outcome: Outcome) -> Result<(), Closed> {
        if let Some(step) = step_of(&outcome) {
            self.delivery.steps.record(steps::Event {
                certificate: certificate.to_owned(),
                generation,
                node_id: self.node.id.clone(),
                ..step
            });
        }
        let (node_id, certificate) = (self.node.id.clone(), certificate.to_owned());
        self.tell(Event::Delivery { node_id, certificate, generation, outcome }).await
    }

    async fn tell(&self, event: Event) -> Result<(), Closed> {
        self.delivery.events.send(event).await.map_err(|_| Closed)
    }
}

/// What an outcome is in the live record.
fn step_of(outcome: &Outcome) -> Option<steps::Event> {
    let step = |kind, detail| steps::Event { kind, detail, ..steps::Event::default() };
    let millis = |micros: u64| micros as f64 / 1000.0;
    match outcome {
        Outcome::Pushed => Some(step(StepKind::Pushed, String::new())),
        &Outcome::Acked { validate_micros, swap_micros } => {
            let (validated, swapped) = (millis(validate_micros), millis(swap_micros));
            let detail = format!("validated in {validated:.2} ms, swapped in {swapped:.2} ms");
            Some(steps::Event { validate_micros, swap_micros, ..step(StepKind::Acked, detail) })
        }
        Outcome::Nacked { reason, detail } => Some(step(StepKind::Nacked, nack_text(*reason, detail))),
        Outcome::Proven { detail } => Some(step(StepKind::Proven, detail.clone())),
        // What follows from these is the agent's to say.
        Outcome::Unproven { .. } | Outcome::Unanswered => None,
    }
}

/// A refusal in one line.
#[must_use]
pub fn nack_text(reason: NackReason, detail: &str) -> String {
    format!("{}: {detail}", reason.as_str_name())
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
