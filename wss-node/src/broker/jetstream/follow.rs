//! One partition: a consumer, from where the last one ended, for as long as the node lives.
//!
//! Not async-nats' ordered consumer: that one notices after up to a minute that its server has fallen silent, and tries
//! again without a word.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use futures_util::StreamExt;
use jiff::Timestamp;

use super::log::Message;
use super::options::ConnectError;
use super::shared::Shared;

/// Between two tries to get a consumer.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Tries for the first one: each may take [`super::log::PATIENCE`].
const TRIES: u32 = 20;
/// When nothing comes for two of these, not even the server's word that nothing is there, the consumer is given up.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one request for messages stands.
const REQUEST: Duration = Duration::from_secs(30);
/// How long the server keeps a consumer that nobody asks.
const ABANDONED: Duration = Duration::from_secs(30);

/// What a partition receives, message by message.
pub(super) struct Feed {
    messages: Stream,
    /// How many messages this consumer has given: one that is not the next says that some were lost on the way.
    given: u64,
    /// The last message of the stream that was taken, or was there before.
    last: u64,
}

impl Feed {
    /// Begins after a message, or with what comes from now on.
    pub(super) async fn open(shared: &Shared, partition: usize, after: Option<u64>) -> Result<Self, String> {
        let deliver_policy = after.map_or(DeliverPolicy::New, |sequence| DeliverPolicy::ByStartSequence {
            start_sequence: sequence + 1,
        });
        let config = Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            num_replicas: 1,
            memory_storage: true,
            inactive_threshold: ABANDONED,
            ..Config::default()
        };
        let consumer = shared.logs[partition].stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| error.to_string())?;
        let last = after.unwrap_or(consumer.cached_info().delivered.stream_sequence);
        let messages = consumer.stream().heartbeat(HEARTBEAT).expires(REQUEST).messages().await;
        let messages = messages.map_err(|error| error.to_string())?;
        shared.following[partition].store(true, Ordering::Relaxed);
        Ok(Self { messages, given: 0, last })
    }

    /// Takes messages until it fails; tells why it did.
    async fn take(&mut self, shared: &Shared, partition: usize) -> String {
        loop {
            let message = match self.messages.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return error.to_string(),
                None => return "it has ended".to_owned(),
            };
            let info = match message.info() {
                Ok(info) => info,
                Err(error) => return format!("a message that is not of a stream: {error}"),
            };
            if info.consumer_sequence != self.given + 1 {
                return "messages were lost on the way".to_owned();
            }
            (self.given, self.last) = (info.consumer_sequence, info.stream_sequence);
            let at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).unwrap_or_default();
            give(shared, partition, &message, info.stream_sequence, at);
        }
    }
}

/// The consumer that a node begins with.
///
/// In as many tries as it takes: a cluster that has just lost a server may place a consumer on it and not answer, the
/// next one elsewhere (nats-server 2.14, `createGroupForConsumer`: it knows after a minute or so).
pub(super) async fn first(shared: &Shared, partition: usize) -> Result<Feed, ConnectError> {
    let mut tries = 1;
    loop {
        match Feed::open(shared, partition, None).await {
            Ok(feed) => return Ok(feed),
            Err(what) if tries == TRIES => {
                let stream = shared.logs[partition].stream.cached_info().config.name.clone();
                return Err(ConnectError::Stream { stream, what });
            }
            Err(why) => tracing::debug!(partition, tries, why, "no consumer yet"),
        }
        tries += 1;
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Takes messages for ever.
pub(super) async fn run(shared: Arc<Shared>, partition: usize, mut feed: Feed) {
    loop {
        let why = feed.take(&shared, partition).await;
        shared.following[partition].store(false, Ordering::Relaxed);
        tracing::warn!(partition, why, "publications of this partition do not come; trying again");
        feed = loop {
            match again(&shared, partition, feed.last).await {
                Ok(feed) => break feed,
                Err(why) => tracing::debug!(partition, why, "still no consumer"),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        };
        tracing::info!(partition, "publications of this partition come again");
    }
}

/// A consumer that goes on. After the stream was made anew, nobody knows what was missed: the replicas of the partition
/// are made anew.
async fn again(shared: &Shared, partition: usize, last: u64) -> Result<Feed, String> {
    let log = &shared.logs[partition];
    let info = log.stream.get_info().await.map_err(|error| error.to_string())?;
    let same = info.created == log.stream.cached_info().created && last <= info.state.last_sequence;
    let feed = Feed::open(shared, partition, same.then_some(last)).await?;
    if !same {
        let channels: Vec<_> = shared.channels().values().cloned().collect();
        for live in channels.iter().filter(|live| live.partition == partition) {
            shared.break_up(live);
        }
    }
    Ok(feed)
}

/// Gives a message to its channel, if this node has it.
fn give(
    shared: &Shared,
    partition: usize,
    message: &async_nats::jetstream::Message,
    sequence: u64,
    at: Timestamp,
) {
    let parsed = shared.names.parse(&message.subject);
    let live = parsed.and_then(|(kind, channel, _)| shared.channels().get(&(kind, channel.into())).cloned());
    let Some(live) = live else { return };
    let headers = message.headers.clone().unwrap_or_default();
    let log = &shared.logs[partition];
    let written = log.read(&message.subject, &headers, message.payload.clone(), sequence, at);
    shared.take(&live, Message { sequence, written });
}
