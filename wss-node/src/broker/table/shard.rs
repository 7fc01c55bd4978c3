//! Channels behind one lock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::order::{Logged, Order};
use crate::broker::budget::Budget;
use crate::broker::channel::Channel;
use crate::broker::position::Epoch;
use crate::broker::publication::{NewPublication, Publication};
use crate::broker::rules::{Kind, Rules};

/// A channel and what the node needs to know of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) channel: Channel,
    pub(crate) rules: Arc<Rules>,
    /// Somebody on this node is subscribed.
    pub(crate) interested: bool,
    /// Whoever has it appends and delivers: both in one order.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

/// Some of the channels. A name has a channel of its own for each kind: when the configuration makes a map of a stream,
/// that is another channel, with another epoch.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    streams: HashMap<Arc<str>, Entry>,
    values: HashMap<Arc<str>, Entry>,
    maps: HashMap<Arc<str>, Entry>,
    /// Maps whose keys end by themselves.
    timed: HashSet<Arc<str>>,
    order: Order,
}

/// A key whose time is over.
#[derive(Debug)]
pub(crate) struct Overdue {
    pub(crate) channel: Arc<str>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) removal: NewPublication,
}

impl Shard {
    fn of(&self, kind: Kind) -> &HashMap<Arc<str>, Entry> {
        match kind {
            Kind::Stream => &self.streams,
            Kind::Value => &self.values,
            Kind::Map => &self.maps,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut HashMap<Arc<str>, Entry> {
        match kind {
            Kind::Stream => &mut self.streams,
            Kind::Value => &mut self.values,
            Kind::Map => &mut self.maps,
        }
    }

    /// A channel that is there already.
    pub(crate) fn find(&mut self, kind: Kind, channel: &str) -> Option<&mut Entry> {
        self.of_mut(kind).get_mut(channel)
    }

    /// A channel; a new one, with an epoch of its own, if it is not there.
    pub(crate) fn open(
        &mut self,
        budget: &Budget,
        channel: &str,
        rules: &Arc<Rules>,
        now: Timestamp,
    ) -> &mut Entry {
        if !self.of(rules.kind).contains_key(channel) {
            let new = Channel::new(rules.kind, Epoch::drawn(fastrand::u64(..)), now);
            self.put(budget, channel, rules, new);
        }
        if rules.key_ttl.is_some() && !self.timed.contains(channel) {
            self.timed.insert(channel.into());
        }
        let entry = self.of_mut(rules.kind).get_mut(channel);
        let entry = entry.unwrap_or_else(|| unreachable!("put above, and the lock is held"));
        if !Arc::ptr_eq(&entry.rules, rules) {
            entry.rules = Arc::clone(rules);
        }
        entry
    }

    /// Puts a channel in its place, or another in the place of what is there.
    pub(crate) fn put(&mut self, budget: &Budget, channel: &str, rules: &Arc<Rules>, new: Channel) {
        let bytes = new.bytes();
        let channels = self.of_mut(rules.kind);
        if let Some(entry) = channels.get_mut(channel) {
            budget.changed(entry.channel.bytes(), bytes);
            entry.channel = new;
        } else {
            budget.changed(0, bytes);
            let rules = Arc::clone(rules);
            let entry = Entry { channel: new, rules, interested: false, turn: Arc::default() };
            channels.insert(channel.into(), entry);
        }
    }

    /// Puts an empty channel, with an epoch of its own, in the place of one that has publications; tells whether there
    /// was one.
    pub(crate) fn begin_anew(&mut self, budget: &Budget, kind: Kind, channel: &str, now: Timestamp) -> bool {
        let Some(entry) = self.find(kind, channel) else { return false };
        if entry.channel.top().offset == 0 {
            return false;
        }
        let rules = Arc::clone(&entry.rules);
        self.put(budget, channel, &rules, Channel::new(kind, Epoch::drawn(fastrand::u64(..)), now));
        self.order.forget(kind, channel);
        true
    }

    /// Puts a publication in its place.
    pub(crate) fn apply(
        &mut self,
        budget: &Budget,
        channel: &str,
        rules: &Arc<Rules>,
        publication: &Arc<Publication>,
        idempotency_key: Option<&str>,
        now: Timestamp,
    ) {
        let entry = self.open(budget, channel, rules, now);
        let before = entry.channel.bytes();
        entry.channel.apply(rules, publication, idempotency_key, now);
        budget.changed(before, entry.channel.bytes());
    }

    /// Remembers a publication among those that may be given up.
    pub(crate) fn remember(&mut self, kind: Kind, channel: &str, publication: &Publication) {
        let Self { streams, values, maps, order, .. } = self;
        let of = |kind: Kind| match kind {
            Kind::Stream => &*streams,
            Kind::Value => &*values,
            Kind::Map => &*maps,
        };
        // The name is there already: no copy of it for each publication.
        let Some((channel, _)) = of(kind).get_key_value(channel) else { return };
        let logged =
            Logged { at: publication.at, kind, channel: Arc::clone(channel), offset: publication.offset };
        order.push(logged, |logged| {
            of(logged.kind).get(&logged.channel).is_some_and(|entry| entry.channel.first() <= logged.offset)
        });
    }

    /// When the oldest publication that may be given up was made.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.order.oldest().map(|logged| logged.at)
    }

    /// Gives up the oldest publication; tells whether there was one in a log.
    pub(crate) fn give_up_oldest(&mut self, budget: &Budget) -> bool {
        let Some(logged) = self.order.pop() else { return false };
        let Some(entry) = self.of_mut(logged.kind).get_mut(&logged.channel) else { return false };
        let (before, first) = (entry.channel.bytes(), entry.channel.first());
        entry.channel.forget_up_to(logged.offset);
        budget.changed(before, entry.channel.bytes());
        entry.channel.first() > first
    }

    /// Forgets what is past its time, and channels that nobody used for their `meta_ttl`. Tells which ones.
    pub(crate) fn expire(&mut self, budget: &Budget, now: Timestamp) -> Vec<(Kind, Arc<str>)> {
        let mut forgotten = Vec::new();
        for kind in [Kind::Stream, Kind::Value, Kind::Map] {
            self.of_mut(kind).retain(|name, entry| {
                let before = entry.channel.bytes();
                if !entry.interested && entry.channel.is_idle(&entry.rules, now) {
                    budget.changed(before, 0);
                    forgotten.push((kind, Arc::clone(name)));
                    return false;
                }
                entry.channel.expire(&entry.rules, now);
                budget.changed(before, entry.channel.bytes());
                true
            });
        }
        self.timed.retain(|name| self.maps.contains_key(name));
        forgotten
    }

    /// Up to `limit` keys whose time is over, of each map.
    pub(crate) fn overdue(&self, now: Timestamp, limit: usize) -> Vec<Overdue> {
        let maps = self.timed.iter().filter_map(|name| self.maps.get_key_value(name));
        let overdue = maps.flat_map(|(name, entry)| {
            let removals = entry.channel.overdue_keys(&entry.rules, now, limit);
            removals.into_iter().map(|removal| Overdue {
                channel: Arc::clone(name),
                rules: Arc::clone(&entry.rules),
                removal,
            })
        });
        overdue.collect()
    }

    /// All channels.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Kind, &Arc<str>, &Entry)> {
        let kinds = [Kind::Stream, Kind::Value, Kind::Map].into_iter();
        kinds.flat_map(|kind| self.of(kind).iter().map(move |(name, entry)| (kind, name, entry)))
    }

    /// How many channels there are.
    pub(crate) fn len(&self) -> usize {
        self.streams.len() + self.values.len() + self.maps.len()
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.order.len()
    }
}
