//! The service over a real socket, with clients that say what the test says.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use sealwire_proto::secret::secret_discovery_service_client::SecretDiscoveryServiceClient;
use sealwire_proto::secret::{RpcStatus, SECRET_TYPE, Secret};
use sealwire_proto::socket::{Listener, PeerPolicy, dial};
use sealwire_proto::v1::NackReason;
use tokio::sync::watch;
use tonic::transport::{Channel, Server};

use super::*;
use crate::config::{CertificateConfig, ProofBy};
use crate::delivery::slot::Limits;
use crate::delivery::{Bundle, Deliverable, Desired, Event, Outcome, Takes, Wishes};
use crate::deploy::testing::generation;
use crate::store::{Generation, key_from_pem};

struct Scene {
    desired: watch::Sender<Desired>,
    events: mpsc::Receiver<Event>,
    client: SecretDiscoveryServiceClient<Channel>,
    _dir: tempfile::TempDir,
}

async fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("delivery.sock");
    let incoming = Listener::bind(&path).unwrap().into_incoming(PeerPolicy::own_user_and_root(), |_| ());
    let (desired, receiver) = watch::channel(Arc::default());
    let (sender, events) = mpsc::channel(64);
    let limits = Limits {
        ack: Duration::from_secs(20),
        proof: Duration::from_secs(20),
        proof_by: ProofBy::Node,
        node_looks: true,
    };
    let reserved = BTreeSet::from(["edge".to_owned()]);
    let roots = watch::channel(Arc::default()).1;
    let delivery = Delivery::new(limits, receiver, roots, sender, Arc::default(), reserved);
    let service = Sds::new(delivery).into_service();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let client = SecretDiscoveryServiceClient::new(dial(&path).await.unwrap());
    Scene { desired, events, client, _dir: dir }
}

/// A client's end of a stream.
struct Talk<Q, A> {
    say: mpsc::Sender<Q>,
    hear: Streaming<A>,
}

impl<Q, A> Talk<Q, A> {
    async fn hear(&mut self) -> A {
        self.hear.next().await.unwrap().unwrap()
    }
}

fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.to_owned(), user_agent_name: "envoy".to_owned(), ..Node::default() })
}

fn first(id: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node(id),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        type_url: SECRET_TYPE.to_owned(),
        ..DiscoveryRequest::default()
    }
}

/// What a client says to a response: `None` takes it.
fn answer(response: &DiscoveryResponse, names: &[&str], refusal: Option<&str>) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: refusal.map(|text| RpcStatus { code: 13, message: text.to_owned() }),
        node: None,
        ..first("", names)
    }
}

impl Scene {
    async fn stream(&mut self, request: DiscoveryRequest) -> Talk<DiscoveryRequest, DiscoveryResponse> {
        let (say, said) = mpsc::channel(8);
        say.send(request).await.unwrap();
        let hear = self.client.stream_secrets(ReceiverStream::new(said)).await.unwrap().into_inner();
        Talk { say, hear }
    }

    fn want(&self, name: &str, serve: &Arc<Generation>, nodes: Option<Vec<String>>) {
        let config = Arc::new(CertificateConfig { nodes, ..CertificateConfig::new(name, &["a.example"]) });
        let serve = Bundle { generation: Arc::clone(serve), trust_anchors: Arc::default(), staple: None };
        let wish = Deliverable { config, serve, candidate: None, distrust: None };
        let certificates = BTreeMap::from([(name.to_owned(), wish)]);
        self.desired.send_replace(Arc::new(Wishes { certificates, ..Wishes::default() }));
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await.unwrap().unwrap()
    }

    /// The client is a node that asks for these.
    async fn asks(&mut self, names: &[&str]) -> u64 {
        let Event::Connected { connection, node } = self.event().await else { panic!() };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(node.takes, Takes::Asked(names));
        connection
    }

    async fn outcome(&mut self) -> (u64, Outcome) {
        match self.event().await {
            Event::Delivery { generation, outcome, .. } => (generation, outcome),
            other => panic!("{other:?}"),
        }
    }
}

fn content(response: &DiscoveryResponse) -> Secret {
    Secret::decode(&response.resources[0].value[..]).unwrap()
}

#[tokio::test]
async fn a_client_gets_what_it_asks_for_and_its_ack_is_its_word() {
    let mut scene = scene().await;
    let (one, two) = (Arc::new(generation(1)), Arc::new(generation(2)));
    // It may ask before there is anything.
    let mut talk = scene.stream(first("e1", &["web"])).await;
    scene.asks(&["web"]).await;
    for generation in [&one, &two] {
        scene.want("web", generation, None);
        let response = talk.hear().await;
        let secret = content(&response);
        assert_eq!((secret.name.as_str(), response.type_url.as_str()), ("web", SECRET_TYPE));
        let key = secret.tls_certificate.unwrap().private_key.unwrap();
        assert_eq!(key_from_pem(&key.inline_bytes).unwrap(), generation.key);
        talk.say.send(answer(&response, &["web"], None)).await.unwrap();
        assert_eq!(scene.outcome().await, (generation.number, Outcome::Pushed));
        assert!(matches!(scene.outcome().await, (_, Outcome::Acked { .. })));
        assert!(matches!(scene.outcome().await, (_, Outcome::Proven { .. })));
    }
    drop(talk);
    assert!(matches!(scene.event().await, Event::Disconnected { .. }));
}

#[tokio::test]
async fn a_nack_is_told_by_its_nonce_and_what_was_before_counts() {
    let mut scene = scene().await;
    let (one, mut broken) = (Arc::new(generation(1)), generation(2));
    broken.key = generation(9).key.clone();
    scene.want("web", &one, None);
    let mut talk = scene.stream(first("e1", &["web"])).await;
    scene.asks(&["web"]).await;
    let old = talk.hear().await;
    talk.say.send(answer(&old, &["web"], None)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(scene.outcome().await.0, 1);
    }
    scene.want("web", &Arc::new(broken), None);
    let response = talk.hear().await;
    assert_eq!(scene.outcome().await, (2, Outcome::Pushed));
    // The nonce of an earlier one says nothing about this one.
    talk.say.send(answer(&old, &["web"], None)).await.unwrap();
    talk.say
        .send(answer(&response, &["web"], Some("KEY_VALUES_MISMATCH:\nkey values mismatch")))
        .await
        .unwrap();
    let detail = "KEY_VALUES_MISMATCH: key values mismatch".to_owned();
    let nacked = Outcome::Nacked { reason: NackReason::KeyMismatch, detail };
    assert_eq!(scene.outcome().await, (2, nacked));
    // Going back to what it has needs no push.
    scene.want("web", &one, None);
    assert!(matches!(scene.outcome().await, (1, Outcome::Proven { .. })));
}

#[tokio::test]
async fn all_streams_of_one_client_are_one_node() {
    let mut scene = scene().await;
    let one = scene.stream(first("e1", &["web"])).await;
    let connection = scene.asks(&["web"]).await;
    let two = scene.stream(first("e1", &["api"])).await;
    assert_eq!(scene.asks(&["api", "web"]).await, connection);
    drop(one);
    assert_eq!(scene.asks(&["api"]).await, connection);
    drop(two);
    assert!(matches!(scene.event().await, Event::Disconnected { .. }));
}

#[tokio::test]
async fn who_may_not_have_it_gets_nothing() {
    let mut scene = scene().await;
    scene.want("web", &Arc::new(generation(1)), Some(vec!["n1".to_owned()]));
    let mut talk = scene.stream(first("e1", &["web", "nothing"])).await;
    scene.asks(&["nothing", "web"]).await;
    let more = tokio::time::timeout(Duration::from_millis(300), talk.hear.next()).await;
    assert!(more.is_err(), "{more:?}");
    scene.want("web", &Arc::new(generation(1)), Some(vec!["e1".to_owned()]));
    assert_eq!(content(&talk.hear().await).name, "web");
}

#[tokio::test]
async fn a_delta_client_names_what_it_comes_to_want() {
    let mut scene = scene().await;
    scene.want("web", &Arc::new(generation(1)), None);
    let (say, said) = mpsc::channel(8);
    let subscribe = DeltaDiscoveryRequest {
        node: node("e1"),
        type_url: SECRET_TYPE.to_owned(),
        resource_names_subscribe: vec!["web".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    say.send(subscribe).await.unwrap();
    let mut hear = scene.client.delta_secrets(ReceiverStream::new(said)).await.unwrap().into_inner();
    scene.asks(&["web"]).await;
    let response = hear.next().await.unwrap().unwrap();
    assert_eq!(response.resources[0].name, "web");
    assert!(response.resources[0].version.starts_with("1-"), "{response:?}");
    let ack = DeltaDiscoveryRequest { response_nonce: response.nonce, ..DeltaDiscoveryRequest::default() };
    say.send(ack).await.unwrap();
    assert_eq!(scene.outcome().await, (1, Outcome::Pushed));
    assert!(matches!(scene.outcome().await, (1, Outcome::Acked { .. })));
    assert!(matches!(scene.outcome().await, (1, Outcome::Proven { .. })));
    let unsubscribe = DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["web".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    say.send(unsubscribe).await.unwrap();
    scene.asks(&[]).await;
}

#[tokio::test]
async fn bad_requests_end_the_stream_with_the_reason() {
    let mut scene = scene().await;
    let many: Vec<_> = (0..101).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let clusters = DiscoveryRequest { type_url: "clusters".to_owned(), ..first("e1", &["web"]) };
    for (request, expected) in [
        (DiscoveryRequest { node: None, ..first("", &["web"]) }, "node.id"),
        (first("e1\n2026 forged", &["web"]), "no usable node.id"),
        (first("edge", &["web"]), "is the name of a [[certificate.deploy]]"),
        (first("e1", &many), "more than 100 secrets"),
        (clusters, "only secrets"),
    ] {
        let mut talk = scene.stream(request).await;
        let status = talk.hear.next().await.unwrap().unwrap_err();
        assert!(status.message().contains(expected), "{status:?}");
    }
}
