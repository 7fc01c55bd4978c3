//! Nodes of a cluster, and subscribers that do as sessions do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use sealwire_tests::eventually;
use sealwire_tests::nats::Nats;
use tokio::sync::mpsc;
use wss_node::broker::answer::{From, Read};
use wss_node::broker::budget::Budget;
use wss_node::broker::follow::{Effect, Follower};
use wss_node::broker::jetstream::{ConnectError, JetStreamBroker, Options};
use wss_node::broker::position::{Epoch, Position};
use wss_node::broker::publication::Publication;
use wss_node::broker::rules::Rules;
use wss_node::broker::{Broker, Deliveries};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

enum Told {
    Delivered(Epoch, Arc<Publication>),
    Gap,
}

/// The hub of a node: gives to the one subscriber of each channel what is delivered.
#[derive(Default)]
pub(super) struct Hub(Mutex<HashMap<String, mpsc::UnboundedSender<Told>>>);

impl Hub {
    fn tell(&self, channel: &str, told: Told) {
        if let Some(subscriber) = self.0.lock().unwrap().get(channel) {
            let _ = subscriber.send(told);
        }
    }
}

impl Deliveries for Hub {
    fn delivered(&self, channel: &str, epoch: &Epoch, publication: &Arc<Publication>) {
        self.tell(channel, Told::Delivered(epoch.clone(), Arc::clone(publication)));
    }

    fn gap(&self, channel: &str) {
        self.tell(channel, Told::Gap);
    }
}

/// One node's part of the cluster.
pub(super) struct Node {
    pub(super) broker: JetStreamBroker,
    pub(super) hub: Arc<Hub>,
}

pub(super) fn options(nats: &Nats) -> Options {
    Options {
        servers: nats.urls(),
        partitions: 4,
        replicas: nats.servers.len(),
        history: 100_000,
        ..Options::default()
    }
}

pub(super) async fn try_node(options: &Options) -> Result<Arc<Node>, ConnectError> {
    let hub = Arc::new(Hub::default());
    let budget = Arc::new(Budget::new(1 << 30));
    let deliveries = Arc::clone(&hub) as Arc<dyn Deliveries>;
    let broker = JetStreamBroker::connect(options, budget, deliveries, Arc::new(Timestamp::now)).await?;
    Ok(Arc::new(Node { broker, hub }))
}

/// A node, once the cluster has found its leaders.
pub(super) async fn node(nats: &Nats) -> Arc<Node> {
    let options = options(nats);
    eventually("a node in the cluster", PATIENCE, || async {
        try_node(&options).await.inspect_err(|error| eprintln!("{error}")).ok()
    })
    .await
}

/// What a subscriber was sent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) publications: Vec<(String, u64, String)>,
    pub(super) lost: usize,
}

/// Subscribes as a session does, and writes down what it would send, until it has nothing more to wait for.
pub(super) fn subscribe(node: &Arc<Node>, channel: &str, rules: &Arc<Rules>, from: Position) -> Subscriber {
    let (tell, mut told) = mpsc::unbounded_channel();
    node.hub.0.lock().unwrap().insert(channel.to_owned(), tell);
    node.broker.subscribe(channel, rules);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (node, rules, channel) = (Arc::clone(node), Arc::clone(rules), channel.to_owned());
    let write = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let (mut follower, first) = Follower::after(from);
        let mut effects = std::collections::VecDeque::from([first]);
        loop {
            while let Some(effect) = effects.pop_front() {
                match effect {
                    Effect::Forward(publication) => {
                        let epoch = follower.position().epoch.as_str().to_owned();
                        let payload = String::from_utf8_lossy(&publication.data).into_owned();
                        write.lock().unwrap().publications.push((epoch, publication.offset, payload));
                    }
                    Effect::Lost { .. } => write.lock().unwrap().lost += 1,
                    Effect::Read { from, number } => {
                        let read = node.broker.read(&channel, &rules, &from, 100).await;
                        if let Read::Unavailable(_) = &read {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        effects.extend(follower.read_back(number, read));
                    }
                }
            }
            match told.recv().await {
                Some(Told::Delivered(epoch, publication)) => {
                    effects.extend(follower.delivered(&epoch, &publication));
                }
                Some(Told::Gap) => effects.extend(follower.gap()),
                None => return,
            }
        }
    });
    Subscriber { seen, task }
}

pub(super) struct Subscriber {
    pub(super) seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn top(node: &Node, channel: &str, rules: &Arc<Rules>) -> Position {
    eventually("the top of a channel", PATIENCE, || async {
        match node.broker.read(channel, rules, &From::Newest, 0).await {
            Read::Page(page) => Some(page.top),
            other => {
                eprintln!("{channel}: {other:?}");
                None
            }
        }
    })
    .await
}
