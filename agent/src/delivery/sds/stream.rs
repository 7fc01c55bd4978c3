//! One stream of a client: a [`Slot`] for each certificate that it asks for, as on the connection of a node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sealwire_proto::secret::{Node, SECRET_TYPE};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::clients::Clients;
use super::dialect::{Answer, Dialect, Outgoing};
use super::ledger::{Ledger, Sent};
use super::{MAX_TEXT_BYTES, message};
use crate::config::{CertificateConfig, ProofBy};
use crate::delivery::server::Delivery;
use crate::delivery::slot::{Effect, Input, Limits, Saw, Slot};
use crate::delivery::tell::{Stopping, Teller};
use crate::delivery::{Bundle, NodeInfo, Takes, prove, until};

/// Secrets of one stream.
const MAX_NAMES: usize = 100;
/// Longest text of a refusal that is kept.
const MAX_DETAIL_BYTES: usize = 1024;

pub(super) struct SecretStream<D: Dialect> {
    delivery: Delivery,
    clients: Arc<Clients>,
    number: u64,
    node: NodeInfo,
    teller: Teller,
    /// What it asks for; `None` before it has said so.
    names: Option<BTreeSet<String>>,
    slots: BTreeMap<String, Slot>,
    ledger: Ledger,
    /// Names that it asked for and does not get, so that this is told once.
    denied: BTreeSet<String>,
    outbound: mpsc::Sender<Result<D::Response, Status>>,
    probes: JoinSet<(String, u64, Result<Saw, String>)>,
}

/// The stream is over, and what the client is told.
enum Over {
    Closed,
    Refused(Status),
}

impl From<Stopping> for Over {
    fn from(_: Stopping) -> Self {
        Self::Closed
    }
}

impl<D: Dialect> SecretStream<D> {
    pub(super) fn new(
        delivery: Delivery,
        clients: Arc<Clients>,
        node: Node,
        outbound: mpsc::Sender<Result<D::Response, Status>>,
    ) -> Self {
        let node = NodeInfo {
            version: message::software(&node),
            id: node.id,
            server_names: Vec::new(),
            listeners: Vec::new(),
            proxied: Vec::new(),
            takes: Takes::Asked(BTreeSet::new()),
        };
        Self {
            number: delivery.connections.fetch_add(1, Ordering::Relaxed),
            teller: Teller::new(node.id.clone(), delivery.events.clone(), Arc::clone(&delivery.steps)),
            delivery,
            clients,
            node,
            names: None,
            slots: BTreeMap::new(),
            ledger: Ledger::default(),
            denied: BTreeSet::new(),
            outbound,
            probes: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, first: D::Request, mut inbound: Streaming<D::Request>) {
        if let Err(Over::Refused(status)) = self.serve(first, &mut inbound).await {
            tracing::warn!(node = self.node.id, error = status.message(), "closing a stream of secrets");
            // Never in the way of what comes next.
            let _ = self.outbound.try_send(Err(status));
        }
        self.clients.left(&self.teller, &self.node, self.number).await;
    }

    async fn serve(&mut self, first: D::Request, inbound: &mut Streaming<D::Request>) -> Result<(), Over> {
        let mut desired = self.delivery.desired.clone();
        self.hear(&first).await?;
        loop {
            let deadline = self.slots.values().filter_map(Slot::deadline).min();
            tokio::select! {
                request = inbound.next() => match request {
                    Some(Ok(request)) => self.hear(&request).await?,
                    Some(Err(_)) | None => return Ok(()),
                },
                changed = desired.changed() => {
                    changed.map_err(|_| Over::Closed)?;
                    self.reconcile().await?;
                }
                Some(Ok((certificate, generation, seen))) = self.probes.join_next() => {
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

    async fn hear(&mut self, request: &D::Request) -> Result<(), Over> {
        let kind = D::type_url(request);
        if !kind.is_empty() && kind != SECRET_TYPE {
            return Err(Over::Refused(Status::invalid_argument("only secrets are discovered here")));
        }
        if let Some(answer) = D::answer(request) {
            self.answered(answer).await?;
        }
        let before = self.names.take();
        let names = D::names(request, before.as_ref().unwrap_or(&BTreeSet::new()));
        if names.len() > MAX_NAMES || names.iter().any(|name| name.len() > MAX_TEXT_BYTES) {
            let text = format!("more than {MAX_NAMES} secrets, or names over {MAX_TEXT_BYTES} bytes");
            return Err(Over::Refused(Status::invalid_argument(text)));
        }
        let news = before.as_ref() != Some(&names);
        self.names = Some(names.clone());
        if !news {
            return Ok(());
        }
        self.slots.retain(|name, _| names.contains(name));
        self.node.takes = Takes::Asked(names.clone());
        self.clients.asks(&self.teller, &self.node, self.number, names).await?;
        self.reconcile().await
    }

    async fn answered(&mut self, answer: Answer) -> Result<(), Over> {
        let Some(sent) = self.ledger.answer(&answer.nonce) else { return Ok(()) };
        let Sent { certificate, generation, staple, for_staple } = sent;
        let input = match (answer.refusal, for_staple.then_some(staple).flatten()) {
            (None, None) => Input::Acked { generation, validate_micros: 0, swap_micros: 0 },
            (None, Some(staple)) => Input::Stapled { generation, staple },
            (Some(words), refused_staple) => {
                let mut detail = crate::outgoing::one_line(words.as_bytes());
                detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
                tracing::warn!(node = self.node.id, certificate, generation, detail, "a secret was refused");
                match refused_staple {
                    Some(_) => Input::StapleNacked { generation, detail },
                    None => Input::Nacked { generation, reason: message::reason(&detail), detail },
                }
            }
        };
        self.input(&certificate, input).await
    }

    /// Compares all that is wanted with all that was sent.
    async fn reconcile(&mut self) -> Result<(), Over> {
        let wishes = self.delivery.desired.borrow().clone();
        self.slots.retain(|name, _| wishes.certificates.contains_key(name));
        for name in self.names.clone().unwrap_or_default() {
            // One that is not there yet is waited for; so does the client.
            let Some(wish) = wishes.certificates.get(&name) else { continue };
            if !wish.is_for(&self.node) {
                self.slots.remove(&name);
                if self.denied.insert(name.clone()) {
                    tracing::warn!(
                        target: "audit",
                        node = self.node.id,
                        certificate = name,
                        "a client asks for a certificate whose `nodes` do not name it"
                    );
                }
                continue;
            }
            let limits =
                Limits { proof_by: self.proof_by(&wish.config), node_looks: false, ..self.delivery.limits };
            self.slots.entry(name.clone()).or_insert_with(|| Slot::new(limits, None));
            self.input(&name, Input::Want(wish.wanted())).await?;
        }
        Ok(())
    }

    /// Where the configuration says where to look, its word is not enough.
    fn proof_by(&self, config: &CertificateConfig) -> ProofBy {
        match config.sds(&self.node.id) {
            Some(_) => ProofBy::Agent,
            None => self.delivery.limits.proof_by,
        }
    }

    async fn input(&mut self, certificate: &str, input: Input) -> Result<(), Over> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(slot) = self.slots.get_mut(certificate) else { return Ok(()) };
            let now = Instant::now();
            for effect in slot.on(input, now) {
                match effect {
                    Effect::Push { generation, with_staple, .. } => {
                        self.send(certificate, generation, with_staple, false).await?;
                    }
                    Effect::Commit { generation } => self.send(certificate, generation, true, false).await?,
                    Effect::Staple { generation } => self.send(certificate, generation, true, true).await?,
                    // The agent holds it for the client, which takes what it gets at once.
                    Effect::Prepare { generation, .. } => {
                        inputs.push_back(Input::Prepared { generation, validate_micros: 0 });
                    }
                    Effect::Discard { .. } => {}
                    Effect::Probe { generation } => self.probe(certificate, generation),
                    Effect::Report { generation, outcome } => {
                        self.teller.report(certificate, generation, outcome, now).await?;
                    }
                    Effect::Disconnect => {
                        let text = format!("no answer about {certificate}: closing");
                        return Err(Over::Refused(Status::deadline_exceeded(text)));
                    }
                }
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        certificate: &str,
        generation: u64,
        with_staple: bool,
        for_staple: bool,
    ) -> Result<(), Over> {
        let Some((bundle, _)) = self.wanted(certificate, generation) else { return Ok(()) };
        let staple = bundle.staple.as_ref().filter(|_| with_staple).map(|staple| staple.sha256);
        let nonce =
            self.ledger.send(Sent { certificate: certificate.to_owned(), generation, staple, for_staple });
        let response = D::response(Outgoing {
            name: certificate.to_owned(),
            version: message::version(&bundle, with_staple),
            nonce,
            secret: message::secret(certificate, &bundle, with_staple),
        });
        match tokio::time::timeout(self.delivery.limits.ack, self.outbound.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Closed),
            Err(_) => Err(Over::Refused(Status::deadline_exceeded("the client takes no responses"))),
        }
    }

    /// A generation that is wanted still; else the newer wish is on its way.
    fn wanted(&self, certificate: &str, generation: u64) -> Option<(Bundle, Arc<CertificateConfig>)> {
        let wishes = self.delivery.desired.borrow();
        let wish = wishes.certificates.get(certificate)?;
        Some((wish.bundle(generation)?.clone(), Arc::clone(&wish.config)))
    }

    fn probe(&mut self, certificate: &str, generation: u64) {
        let Some((bundle, config)) = self.wanted(certificate, generation) else { return };
        let node = self.node.clone();
        let certificate = certificate.to_owned();
        self.probes.spawn(async move {
            let seen = match config.sds(&node.id) {
                Some(place) => {
                    let names = place.server_names.as_ref().unwrap_or(&config.identifiers);
                    let proxied = if place.proxied { place.prove.clone() } else { Vec::new() };
                    let node = NodeInfo { listeners: place.prove.clone(), proxied, ..node };
                    prove::prove(&node, names, &bundle.generation.chain).await
                }
                None => Err(format!(
                    "nothing says where {id} listens: add a [[certificate.deploy]] with type = \"sds\", name = \
                     \"{id}\" and prove = [\"HOST:PORT\"], or set delivery.proof = \"node\" to take its word",
                    id = node.id
                )),
            };
            (certificate, generation, seen)
        });
    }
}
