//! How a publication is a message. Other services may read it, and write it with the same headers: docs/sync.md.

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;

use crate::broker::position::{Epoch, Position};
use crate::broker::publication::{NewPublication, Publication, Tags};

/// The offset of the publication; 0: the channel begins here, and this is no publication.
const OFFSET: &str = "Sw-Offset";
const EPOCH: &str = "Sw-Epoch";
const REMOVED: &str = "Sw-Removed";
/// A JSON object.
const TAGS: &str = "Sw-Tags";
/// Base64.
const INFO: &str = "Sw-Info";
/// The idempotency key, base64. Not `Nats-Msg-Id`: the server need not remember it, because whoever appends has all
/// publications of the window before it.
const ID: &str = "Sw-Id";
/// Of the subject in the next header, the last sequence must be this one.
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) epoch: Epoch,
    /// Offset 0: the beginning of the channel.
    pub(super) publication: Publication,
    pub(super) id: Option<Box<str>>,
    pub(super) sequence: u64,
}

/// The headers of a publication that is to follow the message with the sequence `after` in its channel.
pub(super) fn headers(new: &NewPublication, at: &Position, after: u64, filter: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED, after.to_string());
    headers.insert(EXPECTED_OF, filter);
    headers.insert(OFFSET, at.offset.to_string());
    headers.insert(EPOCH, at.epoch.as_str());
    if new.removed {
        headers.insert(REMOVED, "1");
    }
    if !new.tags.is_empty() {
        let tags: serde_json::Map<String, serde_json::Value> = new
            .tags
            .iter()
            .map(|(name, value)| (name.to_string(), serde_json::Value::from(value.to_string())))
            .collect();
        headers.insert(TAGS, STANDARD.encode(serde_json::Value::from(tags).to_string()));
    }
    if !new.info.is_empty() {
        headers.insert(INFO, STANDARD.encode(&new.info));
    }
    if let Some(id) = &new.idempotency_key {
        headers.insert(ID, STANDARD.encode(id.as_bytes()));
    }
    headers
}

/// What a message says; `None`: it is not one of a broker.
pub(super) fn read(
    headers: &HeaderMap,
    key: Option<String>,
    payload: Bytes,
    sequence: u64,
    at: Timestamp,
) -> Option<Written> {
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    let bytes = |name: &str| text(name).map(|value| STANDARD.decode(value)).transpose().ok();
    let string = |name: &str| Some(bytes(name)?.map(String::from_utf8).transpose().ok()?.map(Box::from));
    let tags: Tags = match string(TAGS)? {
        None => Tags::default(),
        Some(tags) => {
            let tags: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&tags).ok()?;
            let pairs = tags.iter().map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into())));
            pairs.collect::<Option<_>>()?
        }
    };
    let publication = Publication {
        offset: text(OFFSET)?.parse().ok()?,
        at,
        data: payload,
        key: key.map(Into::into),
        removed: text(REMOVED).is_some(),
        tags,
        info: bytes(INFO)?.map(Bytes::from).unwrap_or_default(),
    };
    Some(Written { epoch: Epoch::named(text(EPOCH)?), publication, id: string(ID)?, sequence })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn new() -> NewPublication {
        NewPublication {
            data: Bytes::from_static(b"data"),
            key: Some("k".into()),
            removed: true,
            tags: Box::new([("a".into(), "line\r\nbreak".into()), ("b".into(), "\u{fc}".into())]),
            info: Bytes::from_static(b"\0\r\n"),
            idempotency_key: Some("id \r\n".into()),
            ..NewPublication::default()
        }
    }

    #[test]
    fn messages_say_what_was_published() {
        let at = Position { epoch: Epoch::named("e"), offset: 7 };
        for new in [new(), NewPublication::default()] {
            let headers = headers(&new, &at, 41, "sw.0.s.x.*");
            assert_eq!(headers.get(EXPECTED).unwrap().as_str(), "41");
            let key = new.key.as_deref().map(str::to_owned);
            let written = read(&headers, key, new.data.clone(), 42, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(written.epoch, at.epoch);
            assert_eq!((written.sequence, &written.id), (42, &new.idempotency_key));
            assert_eq!(written.publication, new.at(7, Timestamp::UNIX_EPOCH));
        }
    }

    #[test]
    fn other_messages_are_not_ours() {
        let at = Position { epoch: Epoch::named("e"), offset: 7 };
        let good = headers(&new(), &at, 41, "sw.0.s.x.*");
        let mut bad = vec![HeaderMap::new()];
        for (name, value) in [(OFFSET, "x"), (TAGS, "!"), (TAGS, "W10="), (INFO, "="), (ID, "/w==")] {
            let mut headers = good.clone();
            headers.insert(name, value);
            bad.push(headers);
        }
        for headers in bad {
            assert_eq!(read(&headers, None, Bytes::new(), 1, Timestamp::UNIX_EPOCH), None, "{headers:?}");
        }
    }
}
