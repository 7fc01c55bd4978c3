//! Who is in a channel. Best effort by contract: an entry that is not refreshed ends by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::answer::Unavailable;

/// One client in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Names the session.
    pub client: Box<str>,
    /// Whose it is; empty: nobody's.
    pub user: Box<str>,
    /// What the session tells of it, encoded.
    pub info: Bytes,
}

/// What a member did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It has come to the channel.
    Came,
    /// It is there no more.
    Left,
}

/// Who is told of the moves of other nodes' clients: the hub. Best effort by contract.
pub trait Company: Send + Sync {
    /// Somebody has come to a channel, or has left it. Must not wait.
    fn moved(&self, channel: &str, member: &Member, moved: Move);
}

/// Where it is kept who is in which channel.
pub trait Presence: Send + Sync {
    /// A client is in a channel for `ttl` from now on: called when it joins and again before `ttl` is over.
    fn join(
        &self,
        channel: &str,
        member: Member,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// And is not any more.
    fn leave(&self, channel: &str, client: &str) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// All who are there, by client, at most `limit`.
    fn members(
        &self,
        channel: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Member>, Unavailable>> + Send;

    /// How many clients are there, and how many users.
    fn count(&self, channel: &str) -> impl Future<Output = Result<(usize, usize), Unavailable>> + Send;
}

/// Who is where, on this node alone. Pure.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    channels: HashMap<Box<str>, HashMap<Box<str>, Listed>>,
}

#[derive(Debug)]
struct Listed {
    member: Member,
    until: Timestamp,
}

impl Roll {
    pub(crate) fn join(&mut self, channel: &str, member: Member, ttl: Duration, now: Timestamp) {
        let until = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
        let members = self.channels.entry(channel.into()).or_default();
        members.insert(member.client.clone(), Listed { member, until });
    }

    pub(crate) fn leave(&mut self, channel: &str, client: &str) {
        let Some(members) = self.channels.get_mut(channel) else { return };
        members.remove(client);
        if members.is_empty() {
            self.channels.remove(channel);
        }
    }

    /// Those whose time is not over.
    pub(crate) fn members(&self, channel: &str, now: Timestamp) -> impl Iterator<Item = &Member> {
        let members = self.channels.get(channel).into_iter().flat_map(HashMap::values);
        members.filter(move |listed| listed.until > now).map(|listed| &listed.member)
    }

    /// Forgets those whose time is over.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.channels.retain(|_, members| {
            members.retain(|_, listed| listed.until > now);
            !members.is_empty()
        });
    }
}

/// Sorts members and counts their users.
pub(crate) fn counted<'a>(members: impl Iterator<Item = &'a Member>) -> (usize, usize) {
    let mut clients = 0;
    let users: std::collections::HashSet<&str> =
        members.inspect(|_| clients += 1).map(|member| &*member.user).collect();
    (clients, users.len())
}

/// Presence of a single node.
pub struct LocalPresence {
    roll: std::sync::Mutex<Roll>,
    clock: super::table::Clock,
}

impl LocalPresence {
    /// Nobody is anywhere.
    #[must_use]
    pub fn new(clock: super::table::Clock) -> Self {
        Self { roll: std::sync::Mutex::default(), clock }
    }

    fn roll(&self) -> std::sync::MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Forgets those whose time is over, every so often, until it is dropped.
    pub async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        loop {
            ticks.tick().await;
            self.roll().expire((self.clock)());
        }
    }
}

impl Presence for LocalPresence {
    async fn join(&self, channel: &str, member: Member, ttl: Duration) -> Result<(), Unavailable> {
        self.roll().join(channel, member, ttl, (self.clock)());
        Ok(())
    }

    async fn leave(&self, channel: &str, client: &str) -> Result<(), Unavailable> {
        self.roll().leave(channel, client);
        Ok(())
    }

    async fn members(&self, channel: &str, limit: usize) -> Result<Vec<Member>, Unavailable> {
        let now = (self.clock)();
        let mut members: Vec<_> = self.roll().members(channel, now).cloned().collect();
        members.sort_unstable_by(|one, other| one.client.cmp(&other.client));
        members.truncate(limit);
        Ok(members)
    }

    async fn count(&self, channel: &str) -> Result<(usize, usize), Unavailable> {
        let now = (self.clock)();
        Ok(counted(self.roll().members(channel, now)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn member(client: &str, user: &str) -> Member {
        Member { client: client.into(), user: user.into(), info: Bytes::new() }
    }

    #[test]
    fn members_stay_as_long_as_they_are_refreshed() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let ttl = Duration::from_secs(60);
        let mut roll = Roll::default();
        roll.join("c", member("1", "ann"), ttl, start);
        roll.join("c", member("2", "ann"), ttl, start);
        roll.join("c", member("3", "bob"), ttl, start);
        roll.leave("c", "3");
        roll.leave("nowhere", "3");
        assert_eq!(counted(roll.members("c", start)), (2, 1));
        roll.join("c", member("1", "ann"), ttl, start + ttl / 2);
        assert_eq!(counted(roll.members("c", start + ttl)), (1, 1));
        roll.expire(start + ttl);
        assert_eq!(roll.channels["c"].len(), 1);
        roll.expire(start + ttl * 2);
        assert!(roll.channels.is_empty());
    }

    #[tokio::test]
    async fn members_are_told_by_client() {
        let clock: super::super::table::Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
        let presence = LocalPresence::new(clock);
        for client in ["b", "c", "a"] {
            presence.join("c", member(client, client), Duration::from_secs(1)).await.unwrap();
        }
        let members = presence.members("c", 2).await.unwrap();
        assert!(members.iter().map(|member| &*member.client).eq(["a", "b"]));
        assert_eq!(presence.count("c").await.unwrap(), (3, 3));
        assert_eq!(presence.count("d").await.unwrap(), (0, 0));
    }
}
