//! What a node has of one channel of the cluster: the log and the state as far as it has seen them. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::message::Written;
use crate::broker::channel::Channel;
use crate::broker::position::Position;
use crate::broker::publication::Publication;
use crate::broker::rules::{Kind, Rules};

/// A channel, and the last message of it that was seen.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) channel: Channel,
    pub(super) sequence: u64,
}

/// What a message of the channel does to the replica.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was known.
    Known,
    /// It is the next one.
    Next(Arc<Publication>),
    /// Something is between, or the channel began anew: the replica must be made anew.
    Broken,
}

impl Replica {
    /// From all messages of a channel that the stream has, in their order; `None`: it has none.
    pub(super) fn restore(kind: Kind, rules: &Rules, messages: &[Written], now: Timestamp) -> Option<Self> {
        let last = messages.last()?;
        let ours: Vec<_> = messages.iter().filter(|message| message.epoch == last.epoch).collect();
        // The end of the log that has no hole: what is before it is state only.
        let mut first = ours.len() - 1;
        while first > 0
            && ours[first - 1].publication.offset + 1 == ours[first].publication.offset
            && ours[first - 1].publication.offset > 0
        {
            first -= 1;
        }
        let (state, log) = ours.split_at(first);
        let begin = log[0].publication.offset.saturating_sub(1);
        let mut channel = Channel::at(kind, Position { epoch: last.epoch.clone(), offset: begin }, now);
        let mut by_key = HashMap::new();
        for message in state.iter().filter(|message| message.publication.offset > 0) {
            by_key.insert(message.publication.key.as_deref(), &message.publication);
        }
        for publication in by_key.into_values().filter(|publication| !publication.removed) {
            channel.restore_state(&Arc::new(publication.clone()));
        }
        for message in log.iter().filter(|message| message.publication.offset > 0) {
            let publication = Arc::new(message.publication.clone());
            channel.apply(rules, &publication, message.id.as_deref(), publication.at);
        }
        channel.touch(now);
        channel.expire(rules, now);
        Some(Self { channel, sequence: last.sequence })
    }

    /// Takes in a message of the channel.
    pub(super) fn take(&mut self, rules: &Rules, message: &Written) -> Taken {
        if message.sequence <= self.sequence {
            return Taken::Known;
        }
        let top = self.channel.top();
        if message.epoch != top.epoch || message.publication.offset != top.offset + 1 {
            return Taken::Broken;
        }
        self.sequence = message.sequence;
        let publication = Arc::new(message.publication.clone());
        self.channel.apply(rules, &publication, message.id.as_deref(), publication.at);
        Taken::Next(publication)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::answer::{From, Read, Snapshot};
    use crate::broker::position::Epoch;
    use crate::broker::publication::NewPublication;

    fn message(epoch: &str, offset: u64, key: &str, removed: bool) -> Written {
        let key = (!key.is_empty()).then(|| key.into());
        let new = NewPublication { key, removed, ..NewPublication::default() };
        Written {
            epoch: Epoch::named(epoch),
            publication: new.at(offset, Timestamp::UNIX_EPOCH),
            id: Some(format!("id{offset}").into()),
            sequence: 100 + offset,
        }
    }

    fn restored(messages: &[Written]) -> Option<Replica> {
        Replica::restore(Kind::Map, &Rules::default(), messages, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_log_without_its_beginning_has_its_end_and_the_whole_state() {
        // Of "a" and "b" the stream has the last message only; "c" was removed before the log begins.
        let messages = [
            message("other", 9, "z", false),
            message("e", 2, "a", false),
            message("e", 3, "b", false),
            message("e", 5, "c", true),
            message("e", 7, "d", false),
            message("e", 8, "d", true),
            message("e", 9, "f", false),
        ];
        let replica = restored(&messages).expect("it has messages");
        assert_eq!((replica.sequence, replica.channel.top().offset, replica.channel.first()), (109, 9, 7));
        let Snapshot::Page(page) = replica.channel.snapshot(None, 10) else { panic!() };
        let keys = page.entries.iter().map(|entry| entry.key.as_deref().expect("a key"));
        assert!(keys.eq(["a", "b", "f"]));
        let read =
            |offset| replica.channel.read(&From::After(Position { epoch: Epoch::named("e"), offset }), 9);
        assert!(matches!(read(6), Read::Page(page) if page.publications.len() == 3));
        assert!(matches!(read(5), Read::Unrecoverable { .. }));
    }

    #[test]
    fn a_channel_that_has_just_begun_has_an_epoch_and_nothing_else() {
        assert!(restored(&[]).is_none());
        let mut replica = restored(&[message("e", 0, "", false)]).expect("it has a message");
        assert_eq!((replica.channel.top().offset, replica.channel.first(), replica.sequence), (0, 1, 100));
        let first = message("e", 1, "a", false);
        assert!(matches!(replica.take(&Rules::default(), &first), Taken::Next(_)));
        let both = restored(&[message("e", 0, "", false), first]).expect("it has messages");
        assert_eq!((both.channel.top().offset, both.channel.first()), (1, 1));
    }

    #[test]
    fn messages_are_taken_once_and_in_order_or_the_replica_is_broken() {
        let rules = Rules::default();
        let mut replica = restored(&[message("e", 7, "a", false)]).expect("it has a message");
        assert_eq!(replica.take(&rules, &message("e", 7, "a", false)), Taken::Known);
        assert!(matches!(replica.take(&rules, &message("e", 8, "b", false)), Taken::Next(_)));
        assert_eq!(replica.take(&rules, &message("e", 8, "b", false)), Taken::Known);
        assert_eq!(replica.take(&rules, &message("e", 10, "b", false)), Taken::Broken);
        assert_eq!(replica.take(&rules, &message("f", 9, "b", false)), Taken::Broken);
    }
}
