//! Who is in a channel, on any node: a message for each member that ends by itself (per-message TTL, ADR-43).

use std::time::Duration;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;

use super::fetch::{self, Stored};
use super::member;
use super::options::{ConnectError, Options};
use super::shared::unavailable;
use crate::broker::answer::Unavailable;
use crate::broker::presence::{Member, Move, Presence, counted};

const TTL: &str = "Nats-TTL";
/// How long it is remembered that a member has left: the server wants a second at least.
const LEFT_FOR: Duration = Duration::from_secs(1);

/// Presence in a cluster. Kept in the memory of the servers; a member that is not refreshed ends by itself.
pub struct JetStreamPresence {
    client: Client,
    context: Context,
    stream: String,
    prefix: String,
}

impl JetStreamPresence {
    /// Connects, and finds or makes the stream.
    ///
    /// # Errors
    /// When no server answers or the stream cannot be made.
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        let client = options.connect().await?;
        let context = async_nats::jetstream::new(client.clone());
        let prefix = format!("{}.presence", options.prefix);
        let stream = prefix.replace('.', "_").to_uppercase();
        let config = Config {
            name: stream.clone(),
            subjects: vec![format!("{prefix}.>")],
            storage: StorageType::Memory,
            num_replicas: options.replicas,
            max_messages_per_subject: 1,
            allow_direct: true,
            allow_message_ttl: true,
            description: Some("Who is in which channel of Sealwire nodes".into()),
            ..Config::default()
        };
        let made = context.get_or_create_stream(config).await;
        made.map_err(|error| ConnectError::Stream { stream: stream.clone(), what: error.to_string() })?;
        Ok(Self { client, context, stream, prefix })
    }

    async fn tell(
        &self,
        channel: &str,
        client: &str,
        mut headers: HeaderMap,
        ttl: Duration,
        payload: Bytes,
    ) -> Result<(), Unavailable> {
        headers.insert(TTL, format!("{}s", ttl.as_secs().max(1)));
        let subject = member::subject(&self.prefix, channel, client);
        let told = self.context.publish_with_headers(subject, headers, payload).await;
        told.map_err(unavailable)?.await.map(drop).map_err(unavailable)
    }

    async fn all(&self, channel: &str) -> Result<impl Iterator<Item = Member>, Unavailable> {
        let filter = member::all(&self.prefix, channel);
        let stored = fetch::all(&self.client, &self.stream, &filter).await.map_err(unavailable)?;
        let members = stored
            .into_iter()
            .filter_map(|Stored { subject, headers, payload, .. }| member::read(&subject, &headers, payload));
        Ok(members.filter(|(_, moved)| *moved == Move::Came).map(|(member, _)| member))
    }
}

impl Presence for JetStreamPresence {
    async fn join(&self, channel: &str, member: Member, ttl: Duration) -> Result<(), Unavailable> {
        let headers = member::headers(&member.user, Move::Came);
        self.tell(channel, &member.client, headers, ttl, member.info).await
    }

    async fn leave(&self, channel: &str, client: &str) -> Result<(), Unavailable> {
        // Whose it was is of no use any more.
        self.tell(channel, client, member::headers("", Move::Left), LEFT_FOR, Bytes::new()).await
    }

    async fn members(&self, channel: &str, limit: usize) -> Result<Vec<Member>, Unavailable> {
        let mut members: Vec<_> = self.all(channel).await?.collect();
        members.sort_unstable_by(|one, other| one.client.cmp(&other.client));
        members.truncate(limit);
        Ok(members)
    }

    async fn count(&self, channel: &str) -> Result<(usize, usize), Unavailable> {
        let members: Vec<_> = self.all(channel).await?.collect();
        Ok(counted(members.iter()))
    }
}
