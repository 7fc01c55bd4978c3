//! `[namespaces.NAME]`: what channels are, by the beginning of their names.

use std::collections::BTreeMap;
use std::time::Duration;

use sealwire_config::{Fault, duration};
use serde::Deserialize;

use super::BrokerConfig;
use crate::broker::rules::{Kind, Rules};

/// The namespace of channels whose names hold no `:`.
pub const DEFAULT: &str = "default";
/// The most characters of a name.
const MAX_NAME_BYTES: usize = 64;

/// All namespaces, by name. None at all: every channel is as [`NamespaceConfig::default`] says.
pub type Namespaces = BTreeMap<String, NamespaceConfig>;

/// How long an acknowledged publication lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// As long as the node.
    #[default]
    Memory,
    /// As long as the disk of the node: it is acknowledged after a flush.
    Disk,
    /// As long as the NATS cluster that nodes share.
    Cluster,
}

/// What publications may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// JSON, which clients of both framings can be given.
    #[default]
    Json,
    /// Any bytes: for clients with the Protobuf framing only.
    Bytes,
}

/// `[namespaces.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceConfig {
    /// What the present state of a channel is.
    #[serde(deserialize_with = "kind")]
    pub kind: Kind,
    /// How long an acknowledged publication lasts.
    pub durability: Durability,
    /// What publications may hold.
    pub payload: Payload,
    /// Publications kept in the log of a channel, at most; 0: none, and nothing can be recovered.
    pub history: usize,
    /// How long a publication stays in the log.
    #[serde(deserialize_with = "duration")]
    pub history_ttl: Duration,
    /// How long a channel that nobody uses keeps its position and its state.
    #[serde(deserialize_with = "duration")]
    pub meta_ttl: Duration,
    /// Bytes of the log of a channel, at most.
    pub retained_bytes: usize,
    /// Keys of a map, at most.
    pub keys: usize,
    /// How long a key of a map lives unless it is set again; unset: until it is removed.
    #[serde(deserialize_with = "some_duration")]
    pub key_ttl: Option<Duration>,
    /// Subscribers that come back get what they missed.
    pub recovery: bool,
    /// Publications that one recovery or one page of history gives, at most.
    pub recovery_limit: usize,
    /// Publications may come as differences (Fossil), if the client wishes.
    pub delta: bool,
    /// Publications tell which client published them.
    pub publisher: bool,
    /// It is kept who is in a channel.
    pub presence: bool,
    /// Subscribers are told who comes and who goes, if they wish.
    pub join_leave: bool,
    /// Largest publication, in bytes of its data.
    pub publication_bytes: usize,
    /// Publications of one session in a second, on average; 0: no limit of its own.
    pub publications_per_second: u32,
    /// And at once.
    pub publications_burst: u32,
    /// Subscribers of one channel on one node; 0: no limit.
    pub subscribers: usize,
    /// Who may subscribe, by patterns of names: `*` at the end stands for anything, `{user}` for the client's user.
    pub subscribe: Vec<String>,
    /// Who may publish, in the same way.
    pub publish: Vec<String>,
}

impl Default for NamespaceConfig {
    fn default() -> Self {
        let Rules { kind, history, history_ttl, meta_ttl, retained_bytes, keys, key_ttl } = Rules::default();
        Self {
            kind,
            durability: Durability::Memory,
            payload: Payload::Json,
            history,
            history_ttl,
            meta_ttl,
            retained_bytes,
            keys,
            key_ttl,
            recovery: true,
            recovery_limit: 300,
            delta: false,
            publisher: true,
            presence: false,
            join_leave: false,
            publication_bytes: 64 * 1024,
            publications_per_second: 0,
            publications_burst: 100,
            subscribers: 0,
            subscribe: vec!["*".to_owned()],
            publish: vec!["*".to_owned()],
        }
    }
}

impl NamespaceConfig {
    /// As brokers take it.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            kind: self.kind,
            history: self.history,
            history_ttl: self.history_ttl,
            meta_ttl: self.meta_ttl.max(self.history_ttl),
            retained_bytes: self.retained_bytes,
            keys: self.keys,
            key_ttl: self.key_ttl,
        }
    }

    fn check(&self, name: &str, broker: &BrokerConfig) -> Result<(), Fault> {
        let fault = |key, message: String| Err(Fault::new(&["namespaces", name, key], message));
        match self.durability {
            Durability::Disk if broker.directory.is_none() => {
                return fault("durability", "\"disk\" needs broker.directory".to_owned());
            }
            Durability::Cluster if broker.nats.is_none() => {
                return fault("durability", "\"cluster\" needs broker.nats.servers".to_owned());
            }
            _ => {}
        }
        let kept = broker.nats.as_ref().map_or(u32::MAX, |nats| nats.history);
        if self.durability == Durability::Cluster && self.history > kept as usize {
            let message =
                format!("{} is more than the streams keep (broker.nats.history: {kept})", self.history);
            return fault("history", message);
        }
        if self.delta && self.kind == Kind::Map {
            return fault("delta", "maps have none: set it for streams and values".to_owned());
        }
        if self.history == 0 && self.kind == Kind::Map {
            return fault("history", "0 is too small for a map: its changes come from the log".to_owned());
        }
        if self.key_ttl.is_some() && self.kind != Kind::Map {
            return fault("key_ttl", "only maps have keys: set kind = \"map\"".to_owned());
        }
        for (key, value) in [
            ("retained_bytes", self.retained_bytes),
            ("keys", self.keys),
            ("recovery_limit", self.recovery_limit),
            ("publication_bytes", self.publication_bytes),
        ] {
            if value == 0 {
                return fault(key, "0 is too small, expected at least 1".to_owned());
            }
        }
        if self.publications_per_second > 0 && self.publications_burst == 0 {
            return fault("publications_burst", "0 lets nothing through, expected at least 1".to_owned());
        }
        for (key, patterns) in [("subscribe", &self.subscribe), ("publish", &self.publish)] {
            if let Some(pattern) = patterns.iter().find(|pattern| !is_pattern(pattern)) {
                let message = format!(
                    "\"{pattern}\": expected a name, with * at its end only and {{user}} for the user, but not \"{{user}}*\""
                );
                return fault(key, message);
            }
        }
        Ok(())
    }
}

fn is_pattern(pattern: &str) -> bool {
    let fixed = pattern.strip_suffix('*').unwrap_or(pattern);
    // `{user}*` would let `ann` in where `anna` is.
    let is_safe = fixed.len() == pattern.len() || !fixed.ends_with("{user}");
    !pattern.is_empty() && is_safe && !fixed.replace("{user}", "").contains(['*', '{', '}'])
}

pub(super) fn check(namespaces: &Namespaces, broker: &BrokerConfig) -> Result<(), Fault> {
    namespaces.iter().try_for_each(|(name, namespace)| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_name) {
            let message = "expected a name of letters, digits, '-', '_' and '.': what stands before the first ':' of a channel";
            return Err(Fault::new(&["namespaces", name], message));
        }
        namespace.check(name, broker)
    })
}

fn some_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Named {
        Stream,
        Value,
        Map,
    }
    Ok(match Named::deserialize(deserializer)? {
        Named::Stream => Kind::Stream,
        Named::Value => Kind::Value,
        Named::Map => Kind::Map,
    })
}
