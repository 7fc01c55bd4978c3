//! Who is in a channel, on any node: a message for each member that ends by itself (per-message TTL, ADR-43).

use std::time::Duration;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{Client, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::fetch::{self, Stored};
use super::names::{base32, read_base32};
use super::options::{ConnectError, Options};
use super::shared::unavailable;
use crate::broker::answer::Unavailable;
use crate::broker::presence::{Member, Presence, counted};

const USER: &str = "Sw-User";
const LEFT: &str = "Sw-Left";
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
        let subject = format!("{}.{}.{}", self.prefix, base32(channel), base32(client));
        let told = self.context.publish_with_headers(subject, headers, payload).await;
        told.map_err(unavailable)?.await.map(drop).map_err(unavailable)
    }

    async fn all(&self, channel: &str) -> Result<impl Iterator<Item = Member>, Unavailable> {
        let filter = format!("{}.{}.*", self.prefix, base32(channel));
        let stored = fetch::all(&self.client, &self.stream, &filter).await.map_err(unavailable)?;
        Ok(stored.into_iter().filter_map(member))
    }
}

/// What a message says; `None`: the member has left, or it is something else.
fn member(stored: Stored) -> Option<Member> {
    let Stored { subject, headers, payload, .. } = stored;
    let client = read_base32(subject.rsplit('.').next()?)?;
    let user = STANDARD.decode(headers.get(USER)?.as_str()).ok()?;
    let user = String::from_utf8(user).ok()?;
    let left = headers.get(LEFT).is_some();
    (!left).then(|| Member { client: client.into(), user: user.into(), info: payload })
}

impl Presence for JetStreamPresence {
    async fn join(&self, channel: &str, member: Member, ttl: Duration) -> Result<(), Unavailable> {
        let mut headers = HeaderMap::new();
        headers.insert(USER, STANDARD.encode(member.user.as_bytes()));
        self.tell(channel, &member.client, headers, ttl, member.info).await
    }

    async fn leave(&self, channel: &str, client: &str) -> Result<(), Unavailable> {
        let mut headers = HeaderMap::new();
        headers.insert(LEFT, "1");
        self.tell(channel, client, headers, LEFT_FOR, Bytes::new()).await
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
