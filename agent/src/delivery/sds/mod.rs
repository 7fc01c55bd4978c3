//! Envoy's secret discovery service on the delivery socket: a client asks for certificates by their names in the
//! configuration, and is a node like others from then on. Its ack and nack are those of xDS, and the proof is a
//! handshake of the agent where the configuration says that the client listens.

mod clients;
mod dialect;
mod ledger;
mod message;
mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use sealwire_proto::secret::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use sealwire_proto::secret::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::server::Delivery;
use clients::Clients;
use dialect::{Delta, Dialect, StateOfTheWorld};
use stream::SecretStream;

/// Envoy has a stream for each secret.
const MAX_STREAMS: usize = 1024;
/// Who says nothing is no client.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client says fits many times.
const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// Bounds on what a client may call itself.
const MAX_TEXT_BYTES: usize = 253;
/// On their way to one client.
const OUTBOUND_MESSAGES: usize = 8;

/// The service, over the same deliveries as that of nodes.
#[derive(Clone)]
pub struct Sds {
    delivery: Delivery,
    clients: Arc<Clients>,
    places: Arc<Semaphore>,
}

impl Sds {
    /// A service that delivers what `delivery` delivers.
    #[must_use]
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery, clients: Arc::default(), places: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    /// For tonic's router, with a limit on what a client may send.
    #[must_use]
    pub fn into_service(self) -> SecretDiscoveryServiceServer<Self> {
        SecretDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    fn open<D: Dialect>(
        &self,
        mut inbound: Streaming<D::Request>,
    ) -> Result<Response<Outbound<D::Response>>, Status> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("{MAX_STREAMS} secrets are followed already")))?;
        let (outbound, messages) = mpsc::channel(OUTBOUND_MESSAGES);
        let (delivery, clients) = (self.delivery.clone(), Arc::clone(&self.clients));
        tokio::spawn(async move {
            let _place = place;
            let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, inbound.next()).await;
            let opened = match first {
                Ok(Some(Ok(first))) => {
                    let node = D::node(&first).cloned();
                    named(node).and_then(|node| {
                        delivery.check_id(&node.id)?;
                        Ok((first, node))
                    })
                }
                Ok(Some(Err(status))) => Err(status),
                Ok(None) => return,
                Err(_) => Err(Status::deadline_exceeded("no request within 10 s")),
            };
            match opened {
                Ok((first, node)) => {
                    let stream = SecretStream::<D>::new(delivery, clients, node, outbound);
                    stream.run(first, inbound).await;
                }
                Err(refusal) => {
                    tracing::warn!(error = refusal.message(), "a peer asked for secrets and got none");
                    let _ = outbound.send(Err(refusal)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type StreamSecretsStream = Outbound<DiscoveryResponse>;
    type DeltaSecretsStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        self.open::<StateOfTheWorld>(request.into_inner())
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        self.open::<Delta>(request.into_inner())
    }
}

/// A client that says who it is, in words that are fit for a log.
fn named(node: Option<Node>) -> Result<Node, Status> {
    let node = node.unwrap_or_default();
    let texts = [&node.id, &node.user_agent_name, &node.user_agent_version];
    let sound = |text: &&String| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    if node.id.is_empty() || !texts.iter().all(sound) {
        // Nothing of it is repeated.
        return Err(Status::invalid_argument(
            "the first request has no usable node.id (Envoy: --service-node, or node.id in its bootstrap)",
        ));
    }
    Ok(node)
}

#[cfg(test)]
#[path = "sds_tests.rs"]
mod tests;
