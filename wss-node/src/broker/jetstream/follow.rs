//! One partition: an ordered consumer, from where the last one ended, for as long as the node lives.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use futures_util::StreamExt;
use jiff::Timestamp;

use super::log::Message;
use super::shared::Shared;

/// Between two tries to get a consumer.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// A consumer of a partition, after a message or from now on.
pub(super) async fn consumer(
    shared: &Shared,
    partition: usize,
    after: Option<u64>,
) -> Result<Ordered, String> {
    let deliver_policy = after.map_or(DeliverPolicy::New, |sequence| DeliverPolicy::ByStartSequence {
        start_sequence: sequence + 1,
    });
    let config = OrderedConfig { deliver_policy, ..OrderedConfig::default() };
    let consumer = shared.logs[partition].stream.create_consumer(config).await;
    let messages = consumer.map_err(|error| error.to_string())?.messages().await;
    let messages = messages.map_err(|error| error.to_string())?;
    shared.following[partition].store(true, Ordering::Relaxed);
    Ok(messages)
}

/// Takes messages for ever.
pub(super) async fn run(shared: Arc<Shared>, partition: usize, mut messages: Ordered) {
    let mut last = None;
    loop {
        let why = loop {
            match messages.next().await {
                Some(Ok(message)) => {
                    if let Some(sequence) = take(&shared, partition, &message) {
                        last = Some(sequence);
                    }
                }
                Some(Err(error)) => break error.to_string(),
                None => break "it has ended".to_owned(),
            }
        };
        shared.following[partition].store(false, Ordering::Relaxed);
        tracing::warn!(partition, why, "publications of this partition do not come; trying again");
        messages = loop {
            tokio::time::sleep(TRY_AGAIN).await;
            match again(&shared, partition, last).await {
                Ok(messages) => break messages,
                Err(why) => tracing::debug!(partition, why, "still no consumer"),
            }
        };
        tracing::info!(partition, "publications of this partition come again");
    }
}

/// A consumer that goes on. Without a message since the start, or after the stream was made anew, nobody knows what was
/// missed: the replicas of the partition are made anew.
async fn again(shared: &Shared, partition: usize, last: Option<u64>) -> Result<Ordered, String> {
    let log = &shared.logs[partition];
    let info = log.stream.get_info().await.map_err(|error| error.to_string())?;
    let same = info.created == log.stream.cached_info().created;
    let after = last.filter(|last| same && *last <= info.state.last_sequence);
    let messages = consumer(shared, partition, after).await?;
    if after.is_none() {
        let channels: Vec<_> = shared.channels().values().cloned().collect();
        for live in channels.iter().filter(|live| live.partition == partition) {
            shared.break_up(live);
        }
    }
    Ok(messages)
}

/// Gives a message to its channel, if this node has it; tells its sequence.
fn take(shared: &Shared, partition: usize, message: &async_nats::jetstream::Message) -> Option<u64> {
    let info = message.info().ok()?;
    let sequence = info.stream_sequence;
    let at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).unwrap_or_default();
    let parsed = shared.names.parse(&message.subject);
    let live = parsed.and_then(|(kind, channel, _)| shared.channels().get(&(kind, channel.into())).cloned());
    let Some(live) = live else { return Some(sequence) };
    let headers = message.headers.clone().unwrap_or_default();
    let log = &shared.logs[partition];
    let written = log.read(&message.subject, &headers, message.payload.clone(), sequence, at);
    shared.take(&live, Message { sequence, written });
    Some(sequence)
}
