//! What is published and what is told of it: JSON as it stands, or any bytes in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::fault::Fault;
use super::{Caller, v1};
use crate::broker::publication::Publication;
use crate::channels::{Channel, form};
use crate::config::Payload;
use crate::wire::is_json;

/// The payload of a request: `b64data`, or else `data`.
pub(super) fn read(channel: &Channel, data: Bytes, b64data: &str) -> Result<Bytes, Fault> {
    let data = match b64data {
        "" => data,
        text => STANDARD.decode(text).map_err(|error| Fault::bad(format!("b64data: {error}")))?.into(),
    };
    let config = &channel.namespace.config;
    let (bytes, most) = (data.len(), config.publication_bytes);
    if bytes > most {
        return Err(Fault::bad(format!(
            "{bytes} bytes of data, publication_bytes of the namespace is {most}"
        )));
    }
    if config.payload == Payload::Json && !is_json(&data) {
        return Err(Fault::bad("data: expected JSON, as payload of the namespace says"));
    }
    Ok(data)
}

/// Data for an answer, and in base64 what its form cannot hold as it is.
fn told(caller: &Caller, data: &Bytes) -> (Bytes, String) {
    if !caller.reads_json || data.is_empty() || is_json(data) {
        (data.clone(), String::new())
    } else {
        (Bytes::new(), STANDARD.encode(data))
    }
}

/// A publication of a log.
pub(super) fn publication(caller: &Caller, one: &Publication) -> v1::Publication {
    let (data, b64data) = told(caller, &one.data);
    let info = form::info(&one.info).map(|info| v1::ClientInfo {
        user: info.user,
        client: info.client,
        conn_info: info.conn_info,
        chan_info: info.chan_info,
    });
    v1::Publication {
        data,
        info,
        offset: one.offset,
        tags: form::tags(&one.tags),
        b64data,
        key: one.key.as_deref().unwrap_or_default().to_owned(),
        removed: one.removed,
        time: one.at.as_millisecond(),
    }
}

/// An entry of a map.
pub(super) fn entry(caller: &Caller, one: &Publication) -> v1::MapEntry {
    let v1::Publication { data, offset, tags, b64data, key, removed, time, .. } = publication(caller, one);
    v1::MapEntry { key, data, tags, offset, score: 0, removed, time, b64data }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::service::tests::node;

    #[tokio::test]
    async fn data_are_json_or_bytes_as_the_namespace_says() {
        let node =
            node("[namespaces.default]\npublication_bytes = 8\n[namespaces.raw]\npayload = \"bytes\"\n");
        let find = |name| node.channels.find(name).unwrap();
        let (json, raw) = (find("c"), find("raw:c"));
        assert_eq!(read(&json, Bytes::from_static(b"{}"), "").unwrap(), "{}");
        assert_eq!(read(&json, Bytes::new(), "e30=").unwrap(), "{}");
        assert_eq!(read(&raw, Bytes::new(), "/w==").unwrap(), &[0xff][..]);
        for (data, b64data) in [("", ""), ("{", ""), ("[1,2,3,4]", ""), ("", "/w=="), ("", "%")] {
            assert!(read(&json, Bytes::from_static(data.as_bytes()), b64data).is_err(), "{data} {b64data}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_in_base64_to_those_who_read_json() {
        let json = Caller { reads_json: true, ..Caller::default() };
        let bytes = Bytes::from_static(&[0xff]);
        assert_eq!(told(&json, &bytes), (Bytes::new(), "/w==".to_owned()));
        assert_eq!(told(&Caller::default(), &bytes), (bytes, String::new()));
        let text = Bytes::from_static(b"[1]");
        assert_eq!(told(&json, &text), (text, String::new()));
    }
}
