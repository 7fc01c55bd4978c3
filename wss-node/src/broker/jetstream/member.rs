//! Somebody in a channel, as messages of presence and of moves tell it. Pure; docs/sync.md tells it to other services.

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::names::{base32, read_base32};
use crate::broker::presence::{Member, Move};

const USER: &str = "Sw-User";
const LEFT: &str = "Sw-Left";

/// The subject of a client in a channel.
pub(super) fn subject(prefix: &str, channel: &str, client: &str) -> String {
    format!("{prefix}.{}.{}", base32(channel), base32(client))
}

/// The subjects of all clients in a channel.
pub(super) fn all(prefix: &str, channel: &str) -> String {
    format!("{prefix}.{}.*", base32(channel))
}

/// What a message says besides its subject and the member's own information.
pub(super) fn headers(user: &str, moved: Move) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER, STANDARD.encode(user));
    if moved == Move::Left {
        headers.insert(LEFT, "1");
    }
    headers
}

/// The channel of a subject.
pub(super) fn channel(prefix: &str, subject: &str) -> Option<String> {
    let (channel, _client) = subject.strip_prefix(prefix)?.strip_prefix('.')?.split_once('.')?;
    read_base32(channel)
}

/// Who it is about, and whether they are there; `None`: it is something else.
pub(super) fn read(subject: &str, headers: &HeaderMap, payload: Bytes) -> Option<(Member, Move)> {
    let client = read_base32(subject.rsplit('.').next()?)?;
    let user = STANDARD.decode(headers.get(USER)?.as_str()).ok()?;
    let user = String::from_utf8(user).ok()?;
    let moved = if headers.get(LEFT).is_some() { Move::Left } else { Move::Came };
    Some((Member { client: client.into(), user: user.into(), info: payload }, moved))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_who_came_where_and_nothing_else_is_one() {
        let subject = subject("acme.sw.members", "talk:größer", "c.1 *");
        assert!(subject.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{subject}");
        let info = Bytes::from_static(b"{}");
        for moved in [Move::Came, Move::Left] {
            let headers = headers("ann\r\nbob", moved);
            let (member, told) = read(&subject, &headers, info.clone()).unwrap();
            assert_eq!((&*member.client, &*member.user, told), ("c.1 *", "ann\r\nbob", moved));
            assert_eq!(member.info, info);
        }
        assert_eq!(channel("acme.sw.members", &subject).as_deref(), Some("talk:größer"));
        for other in
            ["acme.sw.members", "acme.sw.presence.me.me", "acme.sw.membersme.me", "acme.sw.members.1.me"]
        {
            assert_eq!(channel("acme.sw.members", other), None, "{other}");
        }
        assert_eq!(read(&subject, &HeaderMap::new(), Bytes::new()), None);
        let mut broken = HeaderMap::new();
        broken.insert(USER, "no base64!");
        assert_eq!(read(&subject, &broken, Bytes::new()), None);
    }
}
