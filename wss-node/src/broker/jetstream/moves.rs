//! Who comes to a channel and who leaves it, told to the other nodes by plain messages that nobody keeps.
//!
//! Not the stream of presence: that one would have to be followed by every node, with all its refreshes, to tell the
//! first word of a member from the next; and it ends members late. A node that is cut off meanwhile, or that dies, leaves
//! moves untold: who must know who is there asks for presence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::member;
use super::options::{ConnectError, Options};
use crate::broker::presence::{Company, Member, Move};

/// Moves that wait for a connection, at most; async-nats holds 2,048 more.
const WAITING: usize = 4096;

/// A message on its way.
struct Told {
    subject: String,
    headers: HeaderMap,
    info: Bytes,
}

/// Moves of the clients of this node, told to all others; and theirs, told to this one.
pub struct JetStreamMoves {
    prefix: String,
    outbox: mpsc::Sender<Told>,
    untold: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

impl JetStreamMoves {
    /// Connects; `company` is told of the moves of other nodes, never of our own, until it is dropped.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn connect(options: &Options, company: Arc<dyn Company>) -> Result<Self, ConnectError> {
        let client = options.connect_without_echo().await?;
        let prefix = format!("{}.members", options.prefix);
        let failed = |what: String| ConnectError::Subscribe { subject: format!("{prefix}.>"), what };
        let moves =
            client.subscribe(format!("{prefix}.>")).await.map_err(|error| failed(error.to_string()))?;
        // A server does what it is told on one connection in order: once it has answered, it has the subscription, and
        // nothing that is told from now on is missed. `flush` waits for no answer.
        let answered = async_nats::jetstream::new(client.clone()).query_account().await;
        answered.map_err(|error| failed(error.to_string()))?;
        let (outbox, waiting) = mpsc::channel(WAITING);
        let tasks = [tokio::spawn(tell(client, waiting)), tokio::spawn(hear(prefix.clone(), moves, company))];
        Ok(Self { prefix, outbox, untold: AtomicU64::new(0), tasks })
    }

    /// Tells the other nodes, in the order of the calls. Waits for nothing.
    pub fn tell(&self, channel: &str, member: &Member, moved: Move) {
        let subject = member::subject(&self.prefix, channel, &member.client);
        let headers = member::headers(&member.user, moved);
        let told = Told { subject, headers, info: member.info.clone() };
        if self.outbox.try_send(told).is_err() {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Moves that the others were not told of, because there was no connection for so long.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.untold.load(Ordering::Relaxed)
    }
}

impl Drop for JetStreamMoves {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// One after the other, so that who came and left did so in this order.
async fn tell(client: Client, mut waiting: mpsc::Receiver<Told>) {
    while let Some(Told { subject, headers, info }) = waiting.recv().await {
        if let Err(error) = client.publish_with_headers(subject, headers, info).await {
            tracing::debug!(%error, "a move was not told to the other nodes");
        }
    }
}

async fn hear(prefix: String, mut moves: Subscriber, company: Arc<dyn Company>) {
    while let Some(message) = moves.next().await {
        let headers = message.headers.unwrap_or_default();
        let told = member::read(&message.subject, &headers, message.payload);
        if let (Some(channel), Some((member, moved))) = (member::channel(&prefix, &message.subject), told) {
            company.moved(&channel, &member, moved);
        }
    }
}
