//! From what brokers keep to what clients are given. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::namespace::Namespace;
use crate::broker::presence::{Member, Move};
use crate::broker::publication::{Publication, Tags};
use crate::wire::{Event, v1};

/// As clients get it, whole.
pub(crate) fn publication(namespace: &Namespace, publication: &Publication) -> v1::Publication {
    v1::Publication {
        data: publication.data.clone(),
        info: info(&publication.info),
        // An offset that nobody can come back to would be a promise.
        offset: if namespace.has_history() { publication.offset } else { 0 },
        tags: tags(&publication.tags),
        key: publication.key.as_deref().unwrap_or_default().to_owned(),
        removed: publication.removed,
        ..v1::Publication::default()
    }
}

/// As clients get them.
pub(crate) fn tags(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// As clients get them.
pub(crate) fn publications(namespace: &Namespace, all: &[Arc<Publication>]) -> Vec<v1::Publication> {
    all.iter().map(|one| publication(namespace, one)).collect()
}

/// Who published, as sessions encode it into a publication.
pub(crate) fn info(encoded: &[u8]) -> Option<v1::ClientInfo> {
    // What other services write into the log is theirs to get right.
    if encoded.is_empty() { None } else { v1::ClientInfo::decode(encoded).ok() }
}

/// Somebody in a channel, as clients get it.
pub(crate) fn member(member: &Member) -> v1::ClientInfo {
    v1::ClientInfo {
        user: member.user.to_string(),
        client: member.client.to_string(),
        ..v1::ClientInfo::default()
    }
}

/// That somebody has come or gone, as clients get it.
pub(crate) fn moved(who: &Member, moved: Move) -> Event {
    let info = Some(member(who));
    match moved {
        Move::Came => v1::Join { info }.into(),
        Move::Left => v1::Leave { info }.into(),
    }
}
