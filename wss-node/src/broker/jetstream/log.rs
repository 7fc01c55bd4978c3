//! The streams: made once, appended to under an expectation, read from the leader or in batches.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RawMessageErrorKind, StorageType, Stream,
};
use bytes::Bytes;
use jiff::Timestamp;

use super::fetch::{self, Stored};
use super::message::{self, Written};
use super::names::Names;
use super::options::{ConnectError, Options};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Told in the streams, so that nodes that are configured otherwise notice.
const PARTITIONS: &str = "sealwire-partitions";

/// One partition.
pub(super) struct Log {
    pub(super) stream: Stream,
    client: async_nats::Client,
    context: Context,
    names: Names,
}

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The channel has another last message than expected.
    Moved,
    /// The message is larger than the server takes.
    TooLarge,
    /// It may have been done.
    Unknown(String),
}

fn unknown(error: impl std::fmt::Display) -> Failure {
    Failure::Unknown(error.to_string())
}

impl Log {
    /// Finds the stream of a partition, or makes it.
    pub(super) async fn open(
        client: &async_nats::Client,
        names: &Names,
        partition: u16,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(PATIENCE);
        let name = names.stream(partition);
        let failed = |what: String| ConnectError::Stream { stream: name.clone(), what };
        let config = Config {
            name: name.clone(),
            subjects: vec![names.all(partition)],
            storage: StorageType::File,
            num_replicas: options.replicas,
            max_messages_per_subject: options.history,
            max_age: options.meta_ttl,
            discard: DiscardPolicy::Old,
            allow_direct: true,
            description: Some("Channels of Sealwire nodes".into()),
            metadata: [(PARTITIONS.to_owned(), names.partitions().to_string())].into(),
            ..Config::default()
        };
        let mut stream =
            context.get_or_create_stream(config).await.map_err(|error| failed(error.to_string()))?;
        let info = stream.info().await.map_err(|error| failed(error.to_string()))?;
        let found = info.config.metadata.get(PARTITIONS).map_or("none", String::as_str);
        if found != names.partitions().to_string() {
            let ours = names.partitions();
            let what = format!(
                "it was made for {found} partitions, the configuration has {ours}: set broker.nats.partitions to \
                 what it was, or another broker.nats.prefix"
            );
            return Err(ConnectError::Mismatch { stream: name, what });
        }
        Ok(Self { stream, client: client.clone(), context, names: names.clone() })
    }

    /// Appends a message; gives its sequence.
    pub(super) async fn append(
        &self,
        subject: String,
        headers: HeaderMap,
        data: Bytes,
    ) -> Result<u64, Failure> {
        let failed = |error: async_nats::jetstream::context::PublishError| match error.kind() {
            PublishErrorKind::WrongLastSequence => Failure::Moved,
            PublishErrorKind::MaxPayloadExceeded => Failure::TooLarge,
            _ => unknown(error),
        };
        let ack = self.context.publish_with_headers(subject, headers, data).await.map_err(failed)?;
        ack.await.map(|ack| ack.sequence).map_err(failed)
    }

    /// What the server takes in one message, in bytes.
    pub(super) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// The sequence of the last message of a channel, as its leader has it; 0: there is none.
    pub(super) async fn last(&self, filter: &str) -> Result<u64, Failure> {
        match self.stream.get_last_raw_message_by_subject(filter).await {
            Ok(message) => Ok(message.sequence),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
            Err(error) => Err(unknown(error)),
        }
    }

    /// The first message of a channel from a sequence on, as its leader has it.
    pub(super) async fn next(&self, filter: &str, from: u64) -> Result<Option<Message>, Failure> {
        match self.stream.get_first_raw_message_by_subject(filter, from).await {
            Ok(message) => {
                let nanoseconds = message.time.unix_timestamp_nanos();
                let at = Timestamp::from_nanosecond(nanoseconds).unwrap_or_default();
                let sequence = message.sequence;
                let written = self.read(&message.subject, &message.headers, message.payload, sequence, at);
                Ok(Some(Message { sequence, written }))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unknown(error)),
        }
    }

    /// What a message says, and of which key.
    pub(super) fn read(
        &self,
        subject: &str,
        headers: &HeaderMap,
        payload: Bytes,
        sequence: u64,
        at: Timestamp,
    ) -> Option<Written> {
        let (_, _, key) = self.names.parse(subject)?;
        message::read(headers, key, payload, sequence, at)
    }

    /// All messages of a channel, from any server that has them: the last ones may be missing.
    pub(super) async fn all(&self, filter: &str) -> Result<Vec<Message>, Failure> {
        let stored = fetch::all(&self.client, &self.stream.cached_info().config.name, filter).await;
        let stored = stored.map_err(Failure::Unknown)?.into_iter();
        let message = |it: Stored| {
            let written = self.read(&it.subject, &it.headers, it.payload, it.sequence, it.at);
            Message { sequence: it.sequence, written }
        };
        Ok(stored.map(message).collect())
    }
}

/// A message of a channel.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) sequence: u64,
    /// `None`: something else than a broker's; it takes a sequence and is passed over.
    pub(super) written: Option<Written>,
}
