//! What goes on on this node.

use std::collections::HashSet;

use super::fault::Fault;
use super::v1::{ChannelInfo, ChannelsRequest, ChannelsResult, InfoRequest, InfoResult, NodeResult};
use super::{Api, Caller, count};
use crate::registry::Filter;

/// Channels that one answer tells, at most.
const CHANNELS: usize = 10_000;

impl Api {
    /// Channels that have subscribers here.
    pub(super) async fn channels(
        &self,
        _: &Caller,
        request: ChannelsRequest,
    ) -> Result<ChannelsResult, Fault> {
        let pattern = request.pattern.as_str();
        if pattern.contains(['[', ']', '{', '}', '\\']) {
            return Err(Fault::bad("pattern: only * and ? stand for others"));
        }
        let mut rooms = self.node.channels.hub.rooms(|name| pattern.is_empty() || matches(pattern, name));
        rooms.sort_unstable_by(|one, other| one.channel.name.cmp(&other.channel.name));
        let truncated = rooms.len() > CHANNELS;
        rooms.truncate(CHANNELS);
        let channels = rooms
            .iter()
            .map(|room| (room.channel.name.to_string(), ChannelInfo { num_clients: count(room.len()) }));
        Ok(ChannelsResult { channels: channels.collect(), truncated })
    }

    /// This node.
    pub(super) async fn info(&self, _: &Caller, _: InfoRequest) -> Result<InfoResult, Fault> {
        let sessions = self.node.registry.matching(&Filter::default());
        let users: HashSet<String> = sessions.iter().map(|entry| entry.identity().user).collect();
        let rooms = self.node.channels.hub.rooms(|_| true);
        let node = NodeResult {
            uid: self.node.config.node_id.clone(),
            name: self.node.config.node_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            num_clients: count(sessions.len()),
            num_users: count(users.len()),
            num_channels: count(rooms.len()),
            uptime: u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX),
            num_subs: count(rooms.iter().map(|room| room.len()).sum()),
        };
        Ok(InfoResult { nodes: vec![node] })
    }
}

/// Whether a name is as a pattern says: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where to go on if the last `*` must stand for one more.
    let mut again = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                again = Some((at + 1, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after, from)) = again else { return false };
                again = Some((after, from + 1));
                at = after;
                seen = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_and_marks_for_one() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "news", true),
            ("orders:*", "orders:7", true),
            ("orders:*", "order:7", false),
            ("*:7", "orders:7", true),
            ("*:7", "orders:7:7", true),
            ("*:7", "orders:77", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("n?ws", "news", true),
            ("n?ws", "nws", false),
            ("?", "\u{1f98a}", true),
            ("news", "newsletter", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
