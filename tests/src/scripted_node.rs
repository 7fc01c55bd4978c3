//! A node that pairs and says what a test wants it to say. It has no listeners and takes no certificates.

use sealwire_proto::socket::dial;
use sealwire_proto::v1::delivery_service_client::DeliveryServiceClient;
use sealwire_proto::v1::{AgentMessage, Breaker, BreakerState, Hello, NodeMessage, Report, node_message};
use sealwire_proto::{PROTOCOL_VERSION, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::eventually;
use crate::world::{PATIENCE, World};

/// A paired node, until dropped.
#[derive(Debug)]
pub struct ScriptedNode {
    say: mpsc::Sender<NodeMessage>,
    _answers: Streaming<AgentMessage>,
}

impl ScriptedNode {
    /// Pairs as `id`, and waits until the agent says that it is.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn pair(world: &World, id: &str) -> Self {
        let socket = world.delivery_socket();
        let channel =
            eventually("the delivery socket", PATIENCE, || async { dial(&socket).await.ok() }).await;
        let (say, said) = mpsc::channel(16);
        let hello = Hello {
            node_id: id.to_owned(),
            version: "scripted".to_owned(),
            protocol_version: PROTOCOL_VERSION,
            server_names: vec!["scripted.test".to_owned()],
            ..Hello::default()
        };
        let node = Self {
            _answers: {
                let first = NodeMessage { body: Some(node_message::Body::Hello(hello)) };
                say.send(first).await.unwrap_or_else(|error| panic!("{error}"));
                let answers = DeliveryServiceClient::new(channel).subscribe(ReceiverStream::new(said)).await;
                answers.unwrap_or_else(|status| panic!("{id} cannot pair: {status}")).into_inner()
            },
            say,
        };
        eventually("paired", PATIENCE, || async {
            let paired = |node: &v1::NodeStatus| node.node_id == id && node.connected;
            world.status().await?.nodes.iter().any(paired).then_some(())
        })
        .await;
        node
    }

    /// Reports.
    ///
    /// # Panics
    /// When the agent is gone.
    pub async fn report(&self, report: Report) {
        let message = NodeMessage { body: Some(node_message::Body::Report(report)) };
        self.say.send(message).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Reports the state of its breaker.
    pub async fn breaker(&self, state: BreakerState, cause: &str) {
        let breaker = Breaker {
            state: state.into(),
            causes: vec![cause.to_owned()],
            detail: format!("as the test says: {cause}"),
            since_ms: 0,
        };
        self.report(Report { breaker: Some(breaker), ..Report::default() }).await;
    }
}
