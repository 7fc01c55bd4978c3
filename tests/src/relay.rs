//! A relay between a real node and a real agent that changes bundles on their way: the node sees what a
//! broken agent would send, and the agent sees what a real node says to it.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sealwire_proto::socket::{Listener, PeerPolicy, dial};
use sealwire_proto::v1::delivery_service_client::DeliveryServiceClient;
use sealwire_proto::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use sealwire_proto::v1::{AgentMessage, Bundle, NodeMessage, agent_message, node_message};
use time::{Duration, OffsetDateTime};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// How bundles are spoilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spoil {
    /// Not at all.
    #[default]
    Nothing,
    /// The key of another certificate.
    ForeignKey,
    /// A leaf for another name, with its key, from a CA that the bundle names.
    OtherName,
    /// A leaf that has expired.
    Expired,
    /// A leaf of the future.
    NotYetValid,
    /// The intermediate is missing.
    TruncatedChain,
    /// The leaf's DER is cut short.
    CutLeaf,
    /// A leaf for clients.
    WrongUsage,
    /// Acks pass, the node's proofs do not.
    HideProof,
    /// The word to swap in what is held does not arrive.
    LoseCommit,
    /// The node's Hello names the listener of another process as its own.
    Listener(std::net::SocketAddr),
}

/// The relay, until dropped.
#[derive(Debug)]
pub struct Relay {
    spoil: Arc<Mutex<Spoil>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on `own` and passes everything to the agent's socket.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(own: &Path, agent: &Path) -> Self {
        let spoil = Arc::<Mutex<Spoil>>::default();
        let listener = Listener::bind(own).unwrap_or_else(|error| panic!("relay: {error}"));
        let incoming = listener.into_incoming(PeerPolicy::own_user_and_root(), |_| ());
        let service = Service { spoil: Arc::clone(&spoil), agent: agent.into() };
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(DeliveryServiceServer::new(service));
            // It ends when the relay is dropped.
            let _ = server.serve_with_incoming(incoming).await;
        });
        Self { spoil, task }
    }

    /// Spoils bundles from now on.
    pub fn set(&self, spoil: Spoil) {
        *self.spoil.lock().unwrap_or_else(PoisonError::into_inner) = spoil;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    spoil: Arc<Mutex<Spoil>>,
    agent: Box<Path>,
}

#[tonic::async_trait]
impl DeliveryService for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<AgentMessage, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let channel: Channel =
            dial(&self.agent).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let spoil = Arc::clone(&self.spoil);
        let said = request.into_inner().map_while(Result::ok).filter_map(move |mut message| {
            match (*spoil.lock().unwrap_or_else(PoisonError::into_inner), &mut message.body) {
                (Spoil::HideProof, Some(node_message::Body::Serving(_))) => return None,
                (Spoil::Listener(other), Some(node_message::Body::Hello(hello))) => {
                    hello.listeners = vec![other.to_string()];
                }
                _ => {}
            }
            Some(message)
        });
        let answers = DeliveryServiceClient::new(channel).subscribe(said).await?.into_inner();
        let spoil = Arc::clone(&self.spoil);
        let spoilt = answers.filter_map(move |message| {
            let mut message = match message {
                Ok(message) => message,
                Err(status) => return Some(Err(status)),
            };
            match (*spoil.lock().unwrap_or_else(PoisonError::into_inner), &mut message.body) {
                (Spoil::LoseCommit, Some(agent_message::Body::Commit(_))) => return None,
                (how, Some(agent_message::Body::Bundle(bundle))) => spoilt(bundle, how),
                _ => {}
            }
            Some(Ok(message))
        });
        Ok(Response::new(Box::pin(spoilt)))
    }
}

fn spoilt(bundle: &mut Bundle, how: Spoil) {
    let now = OffsetDateTime::now_utc();
    match how {
        Spoil::Nothing | Spoil::HideProof | Spoil::LoseCommit | Spoil::Listener(_) => {}
        Spoil::ForeignKey => bundle.key = key().serialize_der(),
        Spoil::TruncatedChain => bundle.chain.truncate(1),
        Spoil::CutLeaf => {
            let length = bundle.chain[0].len();
            bundle.chain[0].truncate(length / 2);
        }
        Spoil::OtherName => reissue(bundle, |params| params.subject_alt_names = names("other.example")),
        Spoil::Expired => reissue(bundle, |params| params.not_after = now - Duration::SECOND * 5),
        Spoil::NotYetValid => reissue(bundle, |params| params.not_before = now + Duration::HOUR),
        Spoil::WrongUsage => {
            reissue(bundle, |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]
            });
        }
    }
}

/// Replaces chain, key and trust anchor by a leaf of a CA made on the spot.
fn reissue(bundle: &mut Bundle, change: impl FnOnce(&mut CertificateParams)) {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (now - Duration::DAY, now + Duration::DAY);
    let issuer = CertifiedIssuer::self_signed(params, key()).unwrap_or_else(|error| panic!("relay: {error}"));

    let mut params = CertificateParams::default();
    params.subject_alt_names = names("node.test");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (now - Duration::HOUR, now + Duration::HOUR);
    change(&mut params);
    let key = key();
    let leaf = params.signed_by(&key, &issuer).unwrap_or_else(|error| panic!("relay: {error}"));
    bundle.chain = vec![leaf.der().to_vec()];
    bundle.key = key.serialize_der();
    bundle.trust_anchors = vec![issuer.der().to_vec()];
}

fn names(name: &str) -> Vec<rcgen::SanType> {
    let name = name.try_into().unwrap_or_else(|error| panic!("{name}: {error}"));
    vec![rcgen::SanType::DnsName(name)]
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|error| panic!("relay: {error}"))
}
