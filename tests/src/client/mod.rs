//! A client of the protocol that does what the official SDKs do and tells all it sees: it keeps its place in every
//! channel, comes back with back-off when the connection is lost, and recovers. In both framings. The official clients
//! say whether the protocol is right; this one says what happened, event by event, to the judge of channels.

mod link;
mod run;
mod subscription;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use wss_node::wire::v1::{self, Publication, SubscribeResult};
use wss_node::wire::{Answer, Framing, Request};

pub use link::{Link, LinkError};
pub use subscription::{Position, Wishes};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tried one after the other.
    pub addresses: Vec<SocketAddr>,
    /// Trusts the roots of the nodes.
    pub tls: Arc<ClientConfig>,
    /// Asked for by the subprotocol.
    pub framing: Framing,
    /// For `connect`; empty is none.
    pub token: String,
    /// The first pause before it comes back is up to this long, the next up to twice as long.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// For connecting, for answers, and past the ping interval.
    pub timeout: Duration,
    /// For the pauses.
    pub seed: u64,
}

impl Settings {
    /// With pauses that suit tests.
    #[must_use]
    pub fn new(address: SocketAddr, tls: &Arc<ClientConfig>, framing: Framing) -> Self {
        Self {
            addresses: vec![address],
            tls: Arc::clone(tls),
            framing,
            token: String::new(),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            seed: 1,
        }
    }
}

/// What a client sees, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// The node has let it in.
    Connected(Box<v1::ConnectResult>),
    /// The connection is lost; it comes back by itself.
    Lost {
        /// Of the node's close frame, if there was one.
        code: Option<u16>,
        /// Its reason, or what went wrong.
        reason: String,
    },
    /// It will not come back.
    Ended {
        /// Of the node's close frame or its error.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// Subscribed; publications that come with it follow as their own events.
    Subscribed {
        /// To what.
        channel: String,
        /// What the node said, without the publications.
        result: Box<SubscribeResult>,
        /// How many of the following publications came with it.
        missed: usize,
    },
    /// Something was published. Deltas are applied.
    Publication {
        /// Where.
        channel: String,
        /// What.
        publication: Box<Publication>,
    },
    /// Somebody came.
    Joined {
        /// Where.
        channel: String,
        /// Who.
        info: v1::ClientInfo,
    },
    /// Somebody went.
    Left {
        /// Where.
        channel: String,
        /// Who.
        info: v1::ClientInfo,
    },
    /// The node has ended the subscription, or refused it. From 2500 it subscribes again by itself.
    Unsubscribed {
        /// Which.
        channel: String,
        /// The node's code; of a refusal that of the error.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// Something apart from channels.
    Message(Value),
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The node refuses.
    #[error("refused: {} {}", .0.code, .0.message)]
    Refused(v1::Error),
    /// It may have been done or not: the connection was lost, or the answer did not come in time.
    #[error("the outcome is unknown")]
    Unknown,
    /// The answer is not one to this question.
    #[error("an answer to something else: {0:?}")]
    Foreign(Box<Answer>),
}

/// A running client, until dropped.
#[derive(Debug)]
pub struct Client {
    orders: mpsc::UnboundedSender<Order>,
    timeout: Duration,
    task: JoinHandle<()>,
}

enum Order {
    Subscribe { channel: String, wishes: Wishes },
    Call { request: Box<Request>, answer: oneshot::Sender<Answer> },
    Unsubscribe { channel: String },
}

impl Client {
    /// Starts one; what it sees comes out of the receiver, which is to be read.
    #[must_use]
    pub fn start(settings: Settings) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (orders, taken) = mpsc::unbounded_channel();
        let (events, seen) = mpsc::unbounded_channel();
        let timeout = settings.timeout;
        let task = tokio::spawn(run::Run::new(settings, taken, events).run());
        (Self { orders, timeout, task }, seen)
    }

    /// Subscribes, and again after each loss.
    pub fn subscribe(&self, channel: &str, wishes: Wishes) {
        self.order(Order::Subscribe { channel: channel.to_owned(), wishes });
    }

    /// Ends a subscription and forgets its place.
    pub fn unsubscribe(&self, channel: &str) {
        self.order(Order::Unsubscribe { channel: channel.to_owned() });
    }

    /// Asks, and waits for the answer; waits for a connection first if there is none.
    ///
    /// # Errors
    /// The node refuses, or nothing is known.
    pub async fn call(&self, request: impl Into<Request>) -> Result<Answer, CallError> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Call { request: Box::new(request.into()), answer });
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(Answer::Error(error))) => Err(CallError::Refused(error)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(CallError::Unknown),
        }
    }

    /// Calls a method with JSON.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn rpc(&self, method: &str, data: &Value) -> Result<Value, CallError> {
        let data = Bytes::from(data.to_string());
        let request = v1::RpcRequest { data, method: method.to_owned() };
        match self.call(request).await? {
            Answer::Rpc(result) => Ok(serde_json::from_slice(&result.data).unwrap_or_default()),
            other => Err(CallError::Foreign(other.into())),
        }
    }

    /// Publishes, without a key.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn publish(&self, channel: &str, data: &Value) -> Result<(), CallError> {
        let data = Bytes::from(data.to_string());
        let request = v1::PublishRequest { channel: channel.to_owned(), data, ..Default::default() };
        match self.call(request).await? {
            Answer::Publish(_) => Ok(()),
            other => Err(CallError::Foreign(other.into())),
        }
    }

    /// A page of the log: at most `limit` publications after `since`, the oldest first.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn history(
        &self,
        channel: &str,
        limit: i32,
        since: Option<&Position>,
    ) -> Result<v1::HistoryResult, CallError> {
        let since = since.map(|at| v1::StreamPosition { offset: at.offset, epoch: at.epoch.clone() });
        let request = v1::HistoryRequest { channel: channel.to_owned(), limit, since, reverse: false };
        match self.call(request).await? {
            Answer::History(result) => Ok(result),
            other => Err(CallError::Foreign(other.into())),
        }
    }

    fn order(&self, order: Order) {
        // It has ended for good: its last event said why.
        let _ = self.orders.send(order);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}
