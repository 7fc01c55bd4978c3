//! A server of Envoy's secret discovery (SDS), as small as it can be: one secret, and whoever asks gets each new
//! version of it as soon as it is there.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::Stream;
use prost::Message;
use sealwire_proto::secret::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use sealwire_proto::secret::{
    Any, DataSource, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    SECRET_TYPE, Secret, TlsCertificate,
};
use sealwire_proto::socket::{Listener, PeerPolicy};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::material::Material;

/// For an answer to a push.
const LIMIT: Duration = Duration::from_secs(10);
/// Responses that wait to be read.
const WAITING: usize = 4;

/// A version of the secret.
#[derive(Clone)]
struct Offer {
    version: u64,
    material: Arc<Material>,
}

/// What was said to a version.
#[derive(Clone, Debug, Default)]
struct Answer {
    version: u64,
    refused: Option<String>,
}

/// The server, until dropped.
pub(crate) struct Sds {
    offers: watch::Sender<Offer>,
    answers: watch::Receiver<Answer>,
    task: JoinHandle<()>,
}

impl Sds {
    /// Listens on `socket` and offers this under `name`.
    pub(crate) fn start(socket: &Path, name: &str, first: Material) -> Result<Self> {
        let (offers, offered) = watch::channel(Offer { version: 1, material: Arc::new(first) });
        let (answered, answers) = watch::channel(Answer::default());
        let service = Service { name: name.to_owned(), offered, answered: Arc::new(answered) };
        let incoming = Listener::bind(socket)?.into_incoming(PeerPolicy::own_user_and_root(), |_| ());
        let server = Server::builder().add_service(SecretDiscoveryServiceServer::new(service));
        let task = tokio::spawn(async move {
            // It ends when it is dropped.
            let _ = server.serve_with_incoming(incoming).await;
        });
        Ok(Self { offers, answers, task })
    }

    /// Offers a new version and waits for the answer to it.
    pub(crate) async fn push(&mut self, material: Material) -> Result<()> {
        let version = self.offers.borrow().version + 1;
        self.offers.send_replace(Offer { version, material: Arc::new(material) });
        let answered = self.answers.wait_for(|answer| answer.version == version);
        let answer = tokio::time::timeout(LIMIT, answered).await.context("no answer to a secret")??.clone();
        match answer.refused {
            Some(why) => bail!("the secret was refused: {why}"),
            None => Ok(()),
        }
    }
}

impl Drop for Sds {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    name: String,
    offered: watch::Receiver<Offer>,
    answered: Arc<watch::Sender<Answer>>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type StreamSecretsStream = Responses<DiscoveryResponse>;
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, responses) = mpsc::channel(WAITING);
        tokio::spawn(serve(
            self.name.clone(),
            self.offered.clone(),
            Arc::clone(&self.answered),
            request.into_inner(),
            sender,
        ));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("the state of the world only, which is Envoy's default"))
    }
}

/// One stream: ends when the other side is gone, or there is nothing more to offer.
async fn serve(
    name: String,
    mut offered: watch::Receiver<Offer>,
    answered: Arc<watch::Sender<Answer>>,
    mut requests: Streaming<DiscoveryRequest>,
    responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    // The first request asks.
    let Some(Ok(first)) = requests.next().await else { return };
    if first.type_url != SECRET_TYPE || !first.resource_names.contains(&name) {
        let _ = responses.send(Err(Status::not_found(format!("only {name} is here")))).await;
        return;
    }
    offered.mark_changed();
    loop {
        tokio::select! {
            changed = offered.changed() => {
                if changed.is_err() {
                    return;
                }
                let response = response(&name, &offered.borrow_and_update().clone());
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            request = requests.next() => {
                let Some(Ok(request)) = request else { return };
                if let Ok(version) = request.response_nonce.parse() {
                    let refused = request.error_detail.map(|error| error.message);
                    answered.send_replace(Answer { version, refused });
                }
            }
        }
    }
}

fn response(name: &str, offer: &Offer) -> DiscoveryResponse {
    let source = |text: &str| Some(DataSource { inline_bytes: text.as_bytes().to_vec() });
    let secret = Secret {
        name: name.to_owned(),
        tls_certificate: Some(TlsCertificate {
            certificate_chain: source(&offer.material.chain_pem),
            private_key: source(&offer.material.key_pem),
            ocsp_staple: None,
        }),
    };
    DiscoveryResponse {
        version_info: offer.version.to_string(),
        resources: vec![Any { type_url: SECRET_TYPE.to_owned(), value: secret.encode_to_vec() }],
        type_url: SECRET_TYPE.to_owned(),
        nonce: offer.version.to_string(),
    }
}
