//! The subscribers of one channel on this node, and how a publication gets into their queues: encoded once for each
//! framing, the same bytes for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use slab::Slab;

use super::Channel;
use super::hub::Reads;
use super::subscriber::{Frames, Held, Newcomer, Subscriber};
use crate::broker::answer::{From, Read};
use crate::broker::follow::{Effect, Follower};
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::Publication;
use crate::broker::rules::Kind;
use crate::outbound::Order;
use crate::wire::{Event, Framing, Reply};

/// The subscribers of a channel.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) channel: Channel,
    subscribers: Mutex<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    all: Slab<Subscriber>,
    serials: u64,
    /// The publication before the next one, for differences.
    base: Option<(Epoch, u64, Bytes)>,
}

/// A place in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    index: usize,
    serial: u64,
}

/// What a read has brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    /// The subscriber has everything, and gets what follows.
    Up,
    /// One more read is needed.
    Behind { from: From, number: u64 },
    /// The log does not have all that it missed.
    Lost,
    /// It has left.
    Gone,
}

impl Room {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, subscribers: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.locked().all.len()
    }

    /// Takes in a subscriber that has everything up to a position; tells from where the log is to be read. What is
    /// published from now on waits for it. Unless `strict`, what is missing until then is no loss.
    pub(super) fn enter(
        &self,
        mut newcomer: Newcomer,
        position: Position,
        strict: bool,
    ) -> (Seat, From, u64) {
        // One name for all: compared by its place, for each subscriber of each publication.
        if newcomer.called == self.channel.name {
            newcomer.called = Arc::clone(&self.channel.name);
        }
        let (follower, effect) = Follower::after(position);
        let mut subscribers = self.locked();
        subscribers.serials += 1;
        let serial = subscribers.serials;
        let held = Some(Held::default());
        let subscriber =
            Subscriber { newcomer, serial, follower, held, has_base: false, strict, lost: false };
        let index = subscribers.all.insert(subscriber);
        let (from, number) = match effect {
            Effect::Read { from, number } => (from, number),
            // A follower begins with a read.
            Effect::Forward(_) | Effect::Lost { .. } => (From::Newest, 0),
        };
        (Seat { index, serial }, from, number)
    }

    /// Gives a place back; tells whether it was the last one.
    pub(super) fn leave(&self, seat: Seat) -> bool {
        let mut subscribers = self.locked();
        if subscribers.all.get(seat.index).is_some_and(|one| one.serial == seat.serial) {
            subscribers.all.remove(seat.index);
        }
        subscribers.all.is_empty()
    }

    /// The next publication. Tells how many got it.
    pub(super) fn delivered(
        self: &Arc<Self>,
        epoch: &Epoch,
        publication: &Arc<Publication>,
        reads: &Reads,
    ) -> usize {
        let mut subscribers = self.locked();
        let Subscribers { all, base, .. } = &mut *subscribers;
        let before = base.take().filter(|(of, offset, _)| of == epoch && offset + 1 == publication.offset);
        let mut frames = Frames::new(self, publication, before.map(|(_, _, data)| data));
        let mut count = 0;
        for (index, subscriber) in all.iter_mut() {
            match subscriber.follower.delivered(epoch, publication) {
                Some(Effect::Forward(_)) => {
                    subscriber.take(&mut frames);
                    count += 1;
                }
                Some(Effect::Read { from, number }) => {
                    reads.wanted(self, Seat { index, serial: subscriber.serial }, from, number);
                }
                // Only a read tells of a loss.
                Some(Effect::Lost { .. }) | None => {}
            }
        }
        if self.channel.namespace.config.delta {
            *base = Some((epoch.clone(), publication.offset, publication.data.clone()));
        }
        count
    }

    /// Something may be missing.
    pub(super) fn gap(self: &Arc<Self>, reads: &Reads) {
        for (index, subscriber) in &mut self.locked().all {
            if let Some(Effect::Read { from, number }) = subscriber.follower.gap() {
                reads.wanted(self, Seat { index, serial: subscriber.serial }, from, number);
            }
        }
    }

    /// A read has come back.
    pub(crate) fn read_back(&self, seat: Seat, number: u64, read: Read) -> Caught {
        let mut subscribers = self.locked();
        let Some(subscriber) = subscribers.all.get_mut(seat.index).filter(|one| one.serial == seat.serial)
        else {
            return Caught::Gone;
        };
        let mut caught = Caught::Up;
        for effect in subscriber.follower.read_back(number, read) {
            match effect {
                Effect::Forward(publication) => subscriber.take(&mut Frames::new(self, &publication, None)),
                Effect::Read { from, number } => caught = Caught::Behind { from, number },
                Effect::Lost { .. } if subscriber.strict => {
                    subscriber.lose();
                    return Caught::Lost;
                }
                Effect::Lost { .. } => {}
            }
        }
        caught
    }

    /// What has been held back for a subscriber, and where it stands then. More is held back until [`Room::open`].
    pub(crate) fn held(&self, seat: Seat) -> Option<(Vec<Arc<Publication>>, Position)> {
        let mut subscribers = self.locked();
        let subscriber = subscribers.all.get_mut(seat.index).filter(|one| one.serial == seat.serial)?;
        let held = std::mem::take(subscriber.held.as_mut()?);
        if !held.publications.is_empty() {
            subscriber.has_base = true;
        }
        Some((held.publications, subscriber.follower.position().clone()))
    }

    /// Where a subscriber stands without what is held back for it.
    pub(crate) fn stands(&self, seat: Seat) -> Option<Position> {
        let subscribers = self.locked();
        let subscriber = subscribers.all.get(seat.index).filter(|one| one.serial == seat.serial)?;
        let position = subscriber.follower.position().clone();
        let first = subscriber.held.as_ref().and_then(|held| held.publications.first());
        Some(Position { offset: first.map_or(position.offset, |first| first.offset - 1), ..position })
    }

    /// Whether subscribers are promised to miss nothing: a stream without history can keep no such promise.
    pub(crate) fn is_gapless(&self) -> bool {
        let namespace = &self.channel.namespace;
        namespace.kind() != Kind::Stream || (namespace.config.recovery && namespace.has_history())
    }

    /// The answer is in the subscriber's queue: what was held back since follows it, and then everything else.
    pub(crate) fn open(&self, seat: Seat) {
        let mut subscribers = self.locked();
        let Some(subscriber) = subscribers.all.get_mut(seat.index).filter(|one| one.serial == seat.serial)
        else {
            return;
        };
        let Some(held) = subscriber.held.take() else { return };
        subscriber.strict = self.is_gapless();
        if subscriber.lost {
            subscriber.newcomer.outbound.tell(Order::Lost(Arc::clone(&subscriber.newcomer.called)));
        }
        for publication in held.publications {
            subscriber.take(&mut Frames::new(self, &publication, None));
        }
    }

    /// Somebody has come or gone: those who asked are told.
    pub(crate) fn announce(&self, event: &Event) {
        let mut encoded: Vec<(Arc<str>, Framing, Bytes)> = Vec::new();
        for (_, subscriber) in &self.locked().all {
            let Newcomer { outbound, called, framing, hears_members, .. } = &subscriber.newcomer;
            if !hears_members || subscriber.held.is_some() {
                continue;
            }
            let known = encoded.iter().find(|(name, of, _)| name == called && of == framing);
            let frame = known.map(|(_, _, frame)| frame.clone()).or_else(|| {
                let frame = framing.encode(&Reply::push(&**called, event.clone())).ok()?;
                encoded.push((Arc::clone(called), *framing, frame.clone()));
                Some(frame)
            });
            if let Some(frame) = frame {
                outbound.push(frame);
            }
        }
    }
}
