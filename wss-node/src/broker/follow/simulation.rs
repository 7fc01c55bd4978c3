//! A log, a network that reorders, duplicates and drops deliveries, reads that take their time, and a subscriber. Every
//! run comes from a seed.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::broker::answer::{Page, Unavailable};
use crate::broker::publication::NewPublication;

/// What the network and the log do, in percent.
#[derive(Clone, Copy, Debug)]
struct Faults {
    drop: u8,
    duplicate: u8,
    reorder: u8,
    unavailable: u8,
    /// The log keeps no more than this.
    history: usize,
    /// In thousandths of steps.
    new_epoch: u16,
}

struct Log {
    epoch: Epoch,
    top: u64,
    kept: Vec<Arc<Publication>>,
    history: usize,
}

impl Log {
    fn new(number: u64, history: usize) -> Self {
        Self { epoch: Epoch::drawn(number), top: 0, kept: Vec::new(), history }
    }

    fn top(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.top }
    }

    fn publish(&mut self, bytes: usize) -> Arc<Publication> {
        self.top += 1;
        let mut data = format!("{:?} ", self.top()).into_bytes();
        data.resize(bytes.max(data.len()), b' ');
        let new = NewPublication { data: Bytes::from(data), ..NewPublication::default() };
        let publication = Arc::new(new.at(self.top, Timestamp::UNIX_EPOCH));
        self.kept.push(Arc::clone(&publication));
        let surplus = self.kept.len().saturating_sub(self.history);
        self.kept.drain(..surplus);
        publication
    }

    fn read(&self, from: &From, limit: usize) -> Read {
        let From::After(position) = from else { panic!("a follower reads after its position") };
        let top = self.top();
        let first = self.top + 1 - self.kept.len() as u64;
        if position.epoch != self.epoch || position.offset > self.top || position.offset + 1 < first {
            return Read::Unrecoverable { top };
        }
        let after = self.kept.iter().filter(|publication| publication.offset > position.offset);
        Read::Page(Page { publications: after.take(limit).cloned().collect(), top })
    }
}

struct World {
    random: fastrand::Rng,
    faults: Faults,
    log: Log,
    epochs: u64,
    network: Vec<(Epoch, Arc<Publication>)>,
    follower: Follower,
    /// The read that is under way; answered from the log as it is when it leaves.
    asked: Option<(From, u64)>,
    answer: Option<(u64, Read)>,
    /// What the client has: checked at each publication.
    client: Position,
    forwarded: usize,
    lost: usize,
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let log = Log::new(0, faults.history);
        let (follower, effect) = Follower::after(log.top());
        let client = log.top();
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            faults,
            log,
            epochs: 0,
            network: Vec::new(),
            follower,
            asked: None,
            answer: None,
            client,
            forwarded: 0,
            lost: 0,
        };
        world.take(effect);
        world
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }

    /// What the hub does, and what the client checks.
    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Forward(publication) => {
                assert_eq!(
                    publication.offset,
                    self.client.offset + 1,
                    "a hole, a duplicate or another order"
                );
                self.client.offset += 1;
                let told = format!("{:?} ", self.client);
                assert!(publication.data.starts_with(told.as_bytes()), "of another epoch than {told}");
                self.forwarded += 1;
            }
            Effect::Read { from, number } => {
                assert!(self.asked.is_none() && self.answer.is_none(), "two reads at once");
                self.asked = Some((from, number));
            }
            Effect::Lost { top } => {
                assert_ne!(top, self.client, "nothing was lost");
                self.client = top;
                self.lost += 1;
            }
        }
    }

    fn take_all(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            self.take(effect);
        }
        assert_eq!(*self.follower.position(), self.client);
    }

    fn publish(&mut self) {
        let bytes = if self.chance(1) { BUFFERED_BYTES / 3 } else { 0 };
        let publication = self.log.publish(bytes);
        let copies = match (self.chance(self.faults.drop), self.chance(self.faults.duplicate)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        for _ in 0..copies {
            self.network.push((self.log.epoch.clone(), Arc::clone(&publication)));
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let nth = if self.chance(self.faults.reorder) { self.random.usize(0..self.network.len()) } else { 0 };
        let (epoch, publication) = self.network.remove(nth);
        let effect = self.follower.delivered(&epoch, &publication);
        self.take_all(effect);
    }

    fn read(&mut self) {
        if let Some((from, number)) = self.asked.take() {
            let limit = self.random.usize(1..8);
            let read = if self.chance(self.faults.unavailable) {
                Read::Unavailable(Unavailable::for_now("a test"))
            } else {
                self.log.read(&from, limit)
            };
            self.answer = Some((number, read));
        } else if let Some((number, read)) = self.answer.take() {
            // An answer to an older question changes nothing.
            assert_eq!(self.follower.read_back(number.wrapping_sub(1), read.clone()), []);
            let effects = self.follower.read_back(number, read);
            self.take_all(effects);
        }
    }

    fn gap(&mut self) {
        let effect = self.follower.gap();
        self.take_all(effect);
    }

    fn new_epoch(&mut self) {
        self.epochs += 1;
        self.log = Log::new(self.epochs, self.faults.history);
    }

    fn step(&mut self) {
        if self.random.u16(0..1000) < self.faults.new_epoch {
            self.new_epoch();
        }
        match self.random.u8(0..100) {
            0..35 => self.publish(),
            35..70 => self.deliver(),
            70..98 => self.read(),
            _ => self.gap(),
        }
    }

    /// No more faults: whatever was dropped, one gap and its reads bring it all.
    fn settle(&mut self) {
        self.faults.unavailable = 0;
        while !self.network.is_empty() {
            self.deliver();
        }
        self.gap();
        let mut reads = 0;
        while !self.follower.is_live() {
            self.read();
            reads += 1;
            assert!(reads < 20_000, "it reads for ever");
        }
        assert_eq!(self.client, self.log.top(), "something is missing, and it was not told");
    }
}

fn run(seed: u64, faults: Faults) -> World {
    let mut world = World::new(seed, faults);
    for _ in 0..1500 {
        world.step();
    }
    world.settle();
    world
}

/// Runs a seed and names it if it fails.
fn seeds(count: u64, faults: impl Fn(&mut fastrand::Rng) -> Faults) -> (usize, usize) {
    let (mut forwarded, mut lost) = (0, 0);
    for seed in 0..count {
        let faults = faults(&mut fastrand::Rng::with_seed(seed));
        let result = std::panic::catch_unwind(|| run(seed, faults));
        let world = result.unwrap_or_else(|_| panic!("seed {seed} with {faults:?} fails: see above"));
        forwarded += world.forwarded;
        lost += world.lost;
    }
    (forwarded, lost)
}

#[test]
fn whatever_the_network_does_no_hole_no_duplicate_no_other_order() {
    let (forwarded, lost) = seeds(300, |random| Faults {
        drop: random.u8(0..60),
        duplicate: random.u8(0..40),
        reorder: random.u8(0..100),
        unavailable: random.u8(0..30),
        history: random.usize(1..60),
        new_epoch: random.u16(0..10),
    });
    // The walks go where they should: some lose their place, most publications arrive.
    assert!(forwarded > 50_000, "{forwarded}");
    assert!(lost > 100, "{lost}");
}

#[test]
fn with_enough_history_nobody_is_told_that_something_was_lost() {
    let (forwarded, lost) = seeds(100, |random| Faults {
        drop: random.u8(0..100),
        duplicate: 20,
        reorder: random.u8(0..100),
        unavailable: random.u8(0..50),
        history: usize::MAX,
        new_epoch: 0,
    });
    assert!(forwarded > 30_000, "{forwarded}");
    assert_eq!(lost, 0);
}

#[test]
fn without_faults_one_read_is_enough() {
    let mut log = Log::new(1, 100);
    let (mut follower, effect) = Follower::after(log.top());
    let first = log.publish(0);
    assert_eq!(follower.delivered(&log.epoch, &first), None);
    let Effect::Read { from, number } = effect else { panic!("{effect:?}") };
    let read = log.read(&from, 10);
    let second = log.publish(0);
    assert_eq!(follower.delivered(&log.epoch, &second), None);
    assert_eq!(follower.read_back(number, read), [Effect::Forward(first), Effect::Forward(second.clone())]);
    assert_eq!(follower.delivered(&log.epoch, &second), None);
    let third = log.publish(0);
    assert_eq!(follower.delivered(&log.epoch, &third), Some(Effect::Forward(third.clone())));
}

#[test]
fn what_waits_is_bounded_and_left_to_the_next_read() {
    let mut log = Log::new(1, usize::MAX);
    let (mut follower, Effect::Read { from, number }) = Follower::after(log.top()) else { panic!("no read") };
    let read = log.read(&from, 10);
    for _ in 0..2 * BUFFERED {
        let publication = log.publish(0);
        assert_eq!(follower.delivered(&log.epoch, &publication), None);
    }
    let Phase::Buffering(waiting) = &follower.phase else { panic!("{follower:?}") };
    assert_eq!(waiting.publications.len(), BUFFERED);
    let effects = follower.read_back(number, read);
    let (last, forwarded) = effects.split_last().unwrap();
    assert_eq!(forwarded.len(), BUFFERED);
    assert!(
        matches!(last, Effect::Read { from: From::After(position), .. } if position.offset == BUFFERED as u64)
    );
}
