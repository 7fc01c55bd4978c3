//! One paired node: a task that holds a [`Slot`] for every certificate that goes to it, so that a slow or stuck
//! node holds up nobody else, and the newest generation always wins.

mod orders;
mod shadow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sealwire_proto::v1::{
    self, AgentMessage, BundleUse, Hello, NodeMessage, Rollback, agent_message, node_message,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::server::Delivery;
use super::slot::{Digest, Effect, Held, Input, Leaf, Saw, Slot};
use super::tell::{Stopping, Teller, nack_text};
use super::{Bundle, Event, NodeInfo, Outcome, SHADOW_NUMBER, Takes, prove, route, until};
use crate::config::CertificateConfig;
use orders::Told;
use shadow::Shadows;

/// Longest text of a refusal that is kept.
const MAX_DETAIL_BYTES: usize = 1024;

/// One handshake of the agent that ended.
struct Probed {
    certificate: String,
    generation: u64,
    seen: Result<Saw, String>,
}

pub(super) struct Connection {
    delivery: Delivery,
    number: u64,
    node: Arc<NodeInfo>,
    teller: Teller,
    held: BTreeMap<String, Held>,
    slots: BTreeMap<String, Slot>,
    told: Told,
    shadows: Shadows,
    outbound: mpsc::Sender<Result<AgentMessage, Status>>,
    probes: JoinSet<Probed>,
    // Given back when the connection ends, whatever way it ends.
    _place: OwnedSemaphorePermit,
}

/// The connection is over.
struct Closed;

impl From<Stopping> for Closed {
    fn from(_: Stopping) -> Self {
        Self
    }
}

impl Connection {
    pub(super) fn new(
        delivery: Delivery,
        hello: Hello,
        outbound: mpsc::Sender<Result<AgentMessage, Status>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let held = hello.holds.into_iter().filter_map(|held| {
            let leaf = Leaf { generation: held.generation, sha256: held.leaf_sha256.try_into().ok()? };
            Some((held.certificate, Held { leaf, staple: held.staple_sha256.try_into().ok() }))
        });
        let held = held.collect();
        let node = NodeInfo {
            id: hello.node_id,
            version: hello.version,
            server_names: hello.server_names,
            listeners: hello.listeners,
            proxied: hello.proxied,
            takes: Takes::Served,
        };
        Self {
            teller: Teller::new(node.id.clone(), delivery.events.clone(), Arc::clone(&delivery.steps)),
            number: delivery.connections.fetch_add(1, Ordering::Relaxed),
            delivery,
            node: Arc::new(node),
            held,
            slots: BTreeMap::new(),
            told: Told::default(),
            shadows: Shadows::default(),
            outbound,
            probes: JoinSet::new(),
            _place: place,
        }
    }

    pub(super) async fn run(mut self, mut inbound: Streaming<NodeMessage>) {
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
        let mut client_roots = self.delivery.client_roots.clone();
        client_roots.mark_changed();
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
                // Without the file there is nobody to change them.
                Ok(()) = client_roots.changed() => {
                    let roots = Arc::clone(&client_roots.borrow_and_update());
                    self.tell_client_trust(&roots).await?;
                }
                Some(Ok(probed)) = self.probes.join_next() => {
                    let Probed { certificate, generation, seen } = probed;
                    if generation >= SHADOW_NUMBER {
                        self.shadow_probed(&certificate, generation, seen).await?;
                    } else {
                        self.input(&certificate, Input::AgentSaw { generation, seen }).await?;
                    }
                }
                () = until(deadline) => {
                    for certificate in self.slots.keys().cloned().collect::<Vec<_>>() {
                        self.input(&certificate, Input::Tick).await?;
                    }
                }
            }
        }
    }

    /// Compares all that is wanted with all that is held.
    async fn reconcile(&mut self) -> Result<(), Closed> {
        let wishes = self.delivery.desired.borrow().clone();
        self.slots.retain(|name, _| wishes.certificates.contains_key(name));
        // First who may be trusted: what comes after is checked against it.
        self.tell_trust(&wishes).await?;
        let node = Arc::clone(&self.node);
        for (name, deliverable) in wishes.certificates.iter().filter(|(_, wish)| wish.is_for(&node)) {
            if !self.slots.contains_key(name) {
                let slot = Slot::new(self.delivery.limits, self.held.get(name).copied());
                self.slots.insert(name.clone(), slot);
            }
            self.input(name, Input::Want(deliverable.wanted())).await?;
            self.tell_distrust(name, deliverable).await?;
        }
        self.tell_halt(&wishes).await?;
        self.cast_shadows(&wishes).await
    }

    async fn take(&mut self, message: NodeMessage) -> Result<(), Closed> {
        match message.body {
            Some(node_message::Body::ClientTrusted(trusted)) => {
                self.client_trusted(&trusted);
                Ok(())
            }
            Some(node_message::Body::Ack(ack)) if ack.generation >= SHADOW_NUMBER => {
                let (validate_micros, swap_micros) = (ack.validate_micros, ack.swap_micros);
                let outcome = Outcome::Acked { validate_micros, swap_micros };
                self.shadow_answered(&ack.certificate, ack.generation, outcome).await
            }
            Some(node_message::Body::Ack(ack)) => {
                let input = Input::Acked {
                    generation: ack.generation,
                    validate_micros: ack.validate_micros,
                    swap_micros: ack.swap_micros,
                };
                self.input(&ack.certificate, input).await
            }
            Some(node_message::Body::Prepared(prepared)) => {
                let input = Input::Prepared {
                    generation: prepared.generation,
                    validate_micros: prepared.validate_micros,
                };
                self.input(&prepared.certificate, input).await
            }
            Some(node_message::Body::Nack(nack)) => {
                let reason = nack.reason();
                let mut detail = nack.detail;
                detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
                let generation = nack.generation;
                if generation >= SHADOW_NUMBER {
                    let outcome = Outcome::Nacked { reason, detail };
                    return self.shadow_answered(&nack.certificate, generation, outcome).await;
                }
                let input = if nack.staple {
                    Input::StapleNacked { generation, detail: nack_text(reason, &detail) }
                } else {
                    Input::Nacked { generation, reason, detail }
                };
                self.input(&nack.certificate, input).await
            }
            Some(node_message::Body::Stapled(stapled)) => {
                let Ok(staple) = Digest::try_from(stapled.staple_sha256) else { return Ok(()) };
                let input = Input::Stapled { generation: stapled.generation, staple };
                self.input(&stapled.certificate, input).await
            }
            Some(node_message::Body::Serving(serving)) => {
                // The agent looks for a shadow itself.
                if serving.shadow {
                    return Ok(());
                }
                let (certificate, generation) = (serving.certificate.clone(), serving.generation);
                self.input(&certificate, Input::NodeSaw { generation, seen: saw(serving) }).await
            }
            Some(node_message::Body::Report(report)) => {
                self.tell(Event::Reported { node_id: self.node.id.clone(), report }).await
            }
            Some(node_message::Body::Trusted(trusted)) => {
                let Ok(roots_sha256) = Digest::try_from(trusted.roots_sha256) else { return Ok(()) };
                let node_id = self.node.id.clone();
                self.tell(Event::Trusted { node_id, issuer: trusted.issuer, roots_sha256 }).await
            }
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
        let now = Instant::now();
        for effect in slot.on(input, now) {
            match effect {
                Effect::Push { generation, rollback, with_staple } => {
                    let usage = BundleUse::Unspecified;
                    self.push(certificate, generation, usage, rollback, with_staple).await?;
                }
                Effect::Prepare { generation, rollback, with_staple } => {
                    self.push(certificate, generation, BundleUse::Prepare, rollback, with_staple).await?;
                }
                Effect::Commit { generation } => {
                    let commit = v1::Commit { certificate: certificate.to_owned(), generation };
                    self.send(agent_message::Body::Commit(commit)).await?;
                }
                Effect::Discard { generation } => {
                    let discard = v1::Discard { certificate: certificate.to_owned(), generation };
                    self.send(agent_message::Body::Discard(discard)).await?;
                }
                Effect::Staple { generation } => self.staple(certificate, generation).await?,
                Effect::Probe { generation } => self.probe(certificate, generation),
                Effect::Report { generation, outcome } => {
                    self.teller.report(certificate, generation, outcome, now).await?;
                }
                Effect::Disconnect => {
                    tracing::warn!(node = self.node.id, certificate, "no answer to a push: closing");
                    return Err(Closed);
                }
            }
        }
        Ok(())
    }

    /// A generation that is wanted still; else the newer wish is on its way.
    fn wanted(&self, certificate: &str, generation: u64) -> Option<(Bundle, Arc<CertificateConfig>)> {
        let wishes = self.delivery.desired.borrow();
        let wish = wishes.certificates.get(certificate)?;
        Some((wish.bundle(generation)?.clone(), Arc::clone(&wish.config)))
    }

    async fn push(
        &mut self,
        certificate: &str,
        generation: u64,
        usage: BundleUse,
        rollback: bool,
        with_staple: bool,
    ) -> Result<(), Closed> {
        let Some((bundle, config)) = self.wanted(certificate, generation) else { return Ok(()) };
        let bundle = bundle.message(&config, usage, with_staple);
        self.send(if rollback {
            agent_message::Body::Rollback(Rollback { bundle: Some(bundle) })
        } else {
            agent_message::Body::Bundle(bundle)
        })
        .await
    }

    async fn staple(&mut self, certificate: &str, generation: u64) -> Result<(), Closed> {
        let Some((bundle, config)) = self.wanted(certificate, generation) else { return Ok(()) };
        let Some(staple) = bundle.staple else { return Ok(()) };
        let staple = v1::Staple {
            certificate: certificate.to_owned(),
            generation,
            response: staple.response.clone(),
            policy: super::staple_policy(config.ocsp).into(),
            grace_s: config.ocsp_grace.as_secs(),
        };
        self.send(agent_message::Body::Staple(staple)).await
    }

    async fn send(&mut self, body: agent_message::Body) -> Result<(), Closed> {
        let message = Ok(AgentMessage { body: Some(body) });
        match tokio::time::timeout(self.delivery.limits.ack, self.outbound.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Closed),
            Err(_) => {
                tracing::warn!(node = self.node.id, "the node takes no messages: closing");
                Err(Closed)
            }
        }
    }

    fn probe(&mut self, certificate: &str, generation: u64) {
        let Some((bundle, config)) = self.wanted(certificate, generation) else { return };
        let node = Arc::clone(&self.node);
        let certificate = certificate.to_owned();
        self.probes.spawn(async move {
            let names = route::names_to_prove(&config.identifiers, &node);
            let seen = prove::prove(&node, &names, &bundle.generation.chain).await;
            Probed { certificate, generation, seen }
        });
    }

    async fn tell(&self, event: Event) -> Result<(), Closed> {
        Ok(self.teller.tell(event).await?)
    }
}

/// What a node's handshake saw.
fn saw(serving: v1::Serving) -> Result<Saw, String> {
    if !serving.error.is_empty() {
        return Err(serving.error);
    }
    let leaf = serving.leaf_sha256.try_into().map_err(|_| "it told no SHA-256".to_owned())?;
    let took = std::time::Duration::from_micros(serving.handshake_micros);
    Ok(Saw { leaf, staple: serving.staple_sha256.try_into().ok(), took })
}
