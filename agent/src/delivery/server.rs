//! The delivery socket: nodes dial, say who they are, and get a task each (`connection.rs`).

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::Stream;
use sealwire_proto::MAX_MESSAGE_BYTES;
use sealwire_proto::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use sealwire_proto::v1::{AgentMessage, Hello, NodeMessage};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::client_roots::ClientRoots;
use super::connection::Connection;
use super::slot::Limits;
use super::{Desired, Event};
use crate::steps::Steps;

/// Nodes paired at the same time.
const MAX_NODES: usize = 256;
/// A node that has nothing to say for itself is not one.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Bundles on their way to one node; more wait in the slots, where the newest wins.
const OUTBOUND_MESSAGES: usize = 8;
/// What every connection shares.
#[derive(Clone)]
pub struct Delivery {
    pub(super) limits: Limits,
    pub(super) desired: watch::Receiver<Desired>,
    pub(super) client_roots: watch::Receiver<ClientRoots>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) steps: Arc<Steps>,
    /// Names of deploy targets: who dials is somebody else.
    reserved: Arc<BTreeSet<String>>,
    places: Arc<Semaphore>,
    pub(super) connections: Arc<AtomicU64>,
}

impl Delivery {
    /// A service that delivers what `desired` says, and `client_roots`, and tells `events` what became of it.
    #[must_use]
    pub fn new(
        limits: Limits,
        desired: watch::Receiver<Desired>,
        client_roots: watch::Receiver<ClientRoots>,
        events: mpsc::Sender<Event>,
        steps: Arc<Steps>,
        reserved: BTreeSet<String>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MAX_NODES));
        let (reserved, connections) = (Arc::new(reserved), Arc::default());
        Self { limits, desired, client_roots, events, steps, reserved, places, connections }
    }

    /// Refuses a peer that calls itself as a deploy target is called.
    ///
    /// # Errors
    /// What to do about it.
    pub(super) fn check_id(&self, id: &str) -> Result<(), Status> {
        if !self.reserved.contains(id) {
            return Ok(());
        }
        Err(Status::already_exists(format!(
            "{id} is the name of a [[certificate.deploy]] of this agent: give the node another id"
        )))
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
            let hello = async {
                let hello = hello(&mut inbound).await?;
                delivery.check_id(&hello.node_id).map(|()| hello)
            };
            let refusal = match tokio::time::timeout(HELLO_TIMEOUT, hello).await {
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
    super::hello::check(first)
}
