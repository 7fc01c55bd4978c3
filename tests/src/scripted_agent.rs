//! An agent that says what a test tells it to: a real node dials it and cannot tell the difference.

use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt};
use sealwire_proto::socket::{Listener, PeerPolicy};
use sealwire_proto::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use sealwire_proto::v1::{
    Ack, AgentMessage, Bundle, Hello, Nack, NodeMessage, Report, Serving, agent_message, node_message,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::process::Process;
use crate::world::{PATIENCE, World};

/// The agent, until dropped.
#[derive(Debug)]
pub struct ScriptedAgent {
    pairings: mpsc::Receiver<Pairing>,
    task: JoinHandle<()>,
    /// Streams end with it: the server's connections would outlive the task.
    _alive: watch::Sender<()>,
}

/// One node's stream.
#[derive(Debug)]
pub struct Pairing {
    /// What the node said first.
    pub hello: Hello,
    to_node: mpsc::Sender<Result<AgentMessage, Status>>,
    from_node: mpsc::Receiver<node_message::Body>,
    /// The last report.
    reports: Arc<Mutex<Option<Report>>>,
}

impl ScriptedAgent {
    /// Listens where nodes dial.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn start(socket: &Path) -> Self {
        let listener = Listener::bind(socket).unwrap_or_else(|error| panic!("scripted agent: {error}"));
        let incoming = listener.into_incoming(PeerPolicy::own_user_and_root(), |_| ());
        let (sender, pairings) = mpsc::channel(8);
        let (alive, ends) = watch::channel(());
        let service = DeliveryServiceServer::new(Service { pairings: sender, ends });
        let task = tokio::spawn(async move {
            // It ends when the agent is dropped.
            let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Self { pairings, task, _alive: alive }
    }

    /// The next node that dials.
    ///
    /// # Panics
    /// When none does.
    pub async fn paired(&mut self) -> Pairing {
        let paired = tokio::time::timeout(PATIENCE, self.pairings.recv()).await;
        paired.ok().flatten().unwrap_or_else(|| panic!("no node has dialled within {PATIENCE:?}"))
    }
}

impl Drop for ScriptedAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pairing {
    /// Says something to the node.
    pub async fn say(&self, body: agent_message::Body) {
        // A node that is gone hears nothing; the test finds out by the answer.
        let _ = self.to_node.send(Ok(AgentMessage { body: Some(body) })).await;
    }

    /// The next answer that is no report.
    ///
    /// # Panics
    /// When none comes.
    pub async fn answer(&mut self) -> node_message::Body {
        let answer = tokio::time::timeout(PATIENCE, self.from_node.recv()).await;
        answer.ok().flatten().unwrap_or_else(|| panic!("the node has not answered within {PATIENCE:?}"))
    }

    /// The next answer, which must be an Ack.
    ///
    /// # Panics
    /// When it is something else.
    pub async fn ack(&mut self) -> Ack {
        match self.answer().await {
            node_message::Body::Ack(ack) => ack,
            other => panic!("expected an Ack: {other:?}"),
        }
    }

    /// The next answer, which must be a Nack.
    ///
    /// # Panics
    /// When it is something else.
    pub async fn nack(&mut self) -> Nack {
        match self.answer().await {
            node_message::Body::Nack(nack) => nack,
            other => panic!("expected a Nack: {other:?}"),
        }
    }

    /// The next answer, which must be a proof that saw what it should.
    ///
    /// # Panics
    /// When it is something else.
    pub async fn proof(&mut self) -> Serving {
        match self.answer().await {
            node_message::Body::Serving(serving) if serving.error.is_empty() => serving,
            other => panic!("expected a proof: {other:?}"),
        }
    }

    /// Has a bundle served at once, and proven.
    pub async fn serve(&mut self, bundle: Bundle) -> Serving {
        self.say(agent_message::Body::Bundle(bundle)).await;
        self.ack().await;
        self.proof().await
    }

    /// The last report, if there was one.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A world with a node and a scripted agent.
#[derive(Debug)]
pub struct Scripted {
    /// Theirs.
    pub world: World,
    /// The agent; `None` while it is dead.
    agent: Option<ScriptedAgent>,
    /// What the node and the agent say.
    pub pairing: Pairing,
    /// The node.
    pub node: Process,
}

impl Scripted {
    /// Starts both, the node with more configuration, and waits until they are paired.
    pub async fn start(extra: &str) -> Self {
        Self::start_with(World::new(), extra, |_| {}).await
    }

    /// The same in a world that is there, with changes to the command of the node.
    pub async fn start_with(world: World, extra: &str, change: impl FnOnce(&mut Command)) -> Self {
        world.configure_node("node-1", 0, &world.delivery_socket(), extra);
        let mut agent = ScriptedAgent::start(&world.delivery_socket());
        let mut command = world.node_command("node-1");
        change(&mut command);
        let node = Process::start("node-1", &mut command);
        let pairing = agent.paired().await;
        Self { world, agent: Some(agent), pairing, node }
    }

    /// Ends the agent.
    pub async fn kill_agent(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        agent.task.abort();
        // The lock of its socket is free only then; it ends as cancelled.
        let _ = (&mut agent.task).await;
    }

    /// Starts the agent anew, and waits until the node has dialled again.
    pub async fn again(&mut self) -> Pairing {
        self.kill_agent().await;
        let mut agent = ScriptedAgent::start(&self.world.delivery_socket());
        let pairing = agent.paired().await;
        self.agent = Some(agent);
        pairing
    }
}

struct Service {
    pairings: mpsc::Sender<Pairing>,
    ends: watch::Receiver<()>,
}

#[tonic::async_trait]
impl DeliveryService for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<AgentMessage, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut said = request.into_inner();
        let (to_node, messages) = mpsc::channel(64);
        let (answers, from_node) = mpsc::channel(1024);
        let reports = Arc::<Mutex<Option<Report>>>::default();
        let (pairings, all) = (self.pairings.clone(), Arc::clone(&reports));
        tokio::spawn(async move {
            let mut waiting = Some((to_node, from_node, reports));
            while let Some(Ok(message)) = said.next().await {
                match message.body {
                    Some(node_message::Body::Hello(hello)) => {
                        if let Some((to_node, from_node, reports)) = waiting.take() {
                            let _ = pairings.send(Pairing { hello, to_node, from_node, reports }).await;
                        }
                    }
                    Some(node_message::Body::Report(report)) => {
                        *all.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                    }
                    // A test that listens no more needs no answer.
                    Some(body) => drop(answers.send(body).await),
                    None => {}
                }
            }
        });
        let mut ends = self.ends.clone();
        let end = Box::pin(async move { while ends.changed().await.is_ok() {} });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages).take_until(end))))
    }
}
