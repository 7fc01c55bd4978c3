//! Which channels have subscribers on this node. Told by brokers what was published; tells the rooms.
//!
//! Lock order: `interest` before `rooms` before a room. A delivery takes the last two only, and a broker may hold locks of
//! its own around it; so brokers are told of interest under `interest` alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::room::{Room, Seat};
use super::subscriber::Newcomer;
use super::{AnyBroker, Channel, form};
use crate::broker::answer::From;
use crate::broker::position::{Epoch, Position};
use crate::broker::presence::{Company, Member, Move};
use crate::broker::publication::Publication;
use crate::broker::{Broker, Deliveries};
use crate::counters::Counters;

const SHARDS: usize = 64;

/// All rooms.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Box<[Shard]>,
    hasher: RandomState,
    reads: Reads,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Held while a broker is told of the first subscriber or the last one, so that it hears of them in order.
    interest: Mutex<()>,
    rooms: Mutex<HashMap<Arc<str>, Arc<Room>>>,
}

/// A subscriber needs to read the log again.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) room: Arc<Room>,
    pub(crate) seat: Seat,
    pub(crate) from: From,
    pub(crate) number: u64,
}

/// Where such reads are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Reads(mpsc::UnboundedSender<Wanted>);

impl Reads {
    /// At most one for each subscriber is under way.
    pub(super) fn wanted(&self, room: &Arc<Room>, seat: Seat, from: From, number: u64) {
        // Nobody reads any more when the node stops.
        let _ = self.0.send(Wanted { room: Arc::clone(room), seat, from, number });
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(super) fn new(counters: Arc<Counters>) -> (Arc<Self>, mpsc::UnboundedReceiver<Wanted>) {
        let (wanted, reads) = mpsc::unbounded_channel();
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        (Arc::new(Self { shards, hasher: RandomState::new(), reads: Reads(wanted), counters }), reads)
    }

    fn shard(&self, channel: &str) -> &Shard {
        &self.shards[self.hasher.hash_one(channel) as usize % SHARDS]
    }

    fn room(&self, channel: &str) -> Option<Arc<Room>> {
        locked(&self.shard(channel).rooms).get(channel).cloned()
    }

    /// The subscribers of a channel on this node.
    pub(crate) fn subscribers(&self, channel: &str) -> usize {
        self.room(channel).map_or(0, |room| room.len())
    }

    /// Rooms whose channel's name is wanted.
    pub(crate) fn rooms(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Room>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(locked(&shard.rooms).values().filter(|room| wanted(&room.channel.name)).cloned());
        }
        found
    }

    /// How many channels have subscribers here.
    pub(crate) fn channels(&self) -> usize {
        self.shards.iter().map(|shard| locked(&shard.rooms).len()).sum()
    }

    /// Takes in a subscriber until the place is dropped. Tells from where the log is to be read.
    pub(super) fn enter(
        self: &Arc<Self>,
        broker: &AnyBroker,
        channel: &Channel,
        newcomer: Newcomer,
        position: Position,
        strict: bool,
    ) -> (Place, From, u64) {
        let shard = self.shard(&channel.name);
        let _interest = locked(&shard.interest);
        let (room, is_first) = {
            let mut rooms = locked(&shard.rooms);
            let is_first = !rooms.contains_key(&channel.name);
            let made = rooms
                .entry(Arc::clone(&channel.name))
                .or_insert_with(|| Arc::new(Room::new(channel.clone())));
            (Arc::clone(made), is_first)
        };
        if is_first {
            broker.subscribe(&channel.name, &channel.namespace.rules);
        }
        let (seat, from, number) = room.enter(newcomer, position, strict);
        (Place { hub: Arc::clone(self), broker: broker.clone(), room, seat }, from, number)
    }

    fn leave(&self, broker: &AnyBroker, room: &Arc<Room>, seat: Seat) {
        let shard = self.shard(&room.channel.name);
        let _interest = locked(&shard.interest);
        if room.leave(seat) {
            locked(&shard.rooms).remove(&room.channel.name);
            broker.unsubscribe(&room.channel.name);
        }
    }
}

impl Deliveries for Hub {
    fn delivered(&self, channel: &str, epoch: &Epoch, publication: &Arc<Publication>) {
        if let Some(room) = self.room(channel) {
            let count = room.delivered(epoch, publication, &self.reads);
            Counters::add_many(&self.counters.deliveries, count);
        }
    }

    fn gap(&self, channel: &str) {
        Counters::add(&self.counters.gaps);
        if let Some(room) = self.room(channel) {
            room.gap(&self.reads);
        }
    }
}

impl Company for Hub {
    fn moved(&self, channel: &str, member: &Member, moved: Move) {
        if let Some(room) = self.room(channel)
            && room.channel.namespace.tells_other_nodes()
        {
            room.announce(&form::moved(member, moved));
        }
    }
}

/// A subscriber's place in a channel, given back on drop, whatever way the session ends.
pub(crate) struct Place {
    hub: Arc<Hub>,
    broker: AnyBroker,
    pub(crate) room: Arc<Room>,
    pub(crate) seat: Seat,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("channel", &self.room.channel.name).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.leave(&self.broker, &self.room, self.seat);
    }
}
