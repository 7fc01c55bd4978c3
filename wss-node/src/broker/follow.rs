//! How one subscriber follows a channel: no hole, no duplicate, no other order; or it is told that it lost its place.
//! Pure: deliveries and reads go in, what is to be done comes out.
//!
//! ```text
//!             a read that reaches as far as what waits
//! Buffering ─────────────────────────────────────────▶ Live { next }
//!     ▲                                                   │ a delivery that is not `next`, or a gap
//!     └───────────────────────────────────────────────────┘ and read again
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::{From, Read};
use super::position::{Epoch, Position};
use super::publication::Publication;

/// Publications that wait while a read is under way, at most. Past it the furthest are left to the read after.
pub const BUFFERED: usize = 256;
/// What they count for, at most, in bytes.
pub const BUFFERED_BYTES: usize = 1024 * 1024;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it: it is the next one.
    Forward(Arc<Publication>),
    /// Read the log from here, and bring the answer with the number.
    Read {
        /// From where.
        from: From,
        /// Which read it is.
        number: u64,
    },
    /// The log does not have all that follows what was sent: it goes on from here, after a new snapshot. The subscriber
    /// must be told (`recovered: false`, or that its position is insufficient).
    Lost {
        /// The last publication that is left out.
        top: Position,
    },
}

/// One subscriber of one channel.
#[derive(Debug)]
pub struct Follower {
    /// The last publication that was sent.
    position: Position,
    phase: Phase,
    /// Numbers reads, so that an answer to one that no longer matters is not taken for another.
    number: u64,
}

#[derive(Debug)]
enum Phase {
    Live,
    Buffering(Waiting),
}

/// What was delivered since the read was asked for.
#[derive(Debug, Default)]
struct Waiting {
    publications: BTreeMap<u64, Arc<Publication>>,
    bytes: usize,
    /// The log may have more than the read that is under way sees.
    again: bool,
}

impl Waiting {
    fn add(&mut self, publication: &Arc<Publication>) {
        if self.publications.contains_key(&publication.offset) {
            return;
        }
        self.bytes += publication.cost_bytes();
        self.publications.insert(publication.offset, Arc::clone(publication));
        while self.publications.len() > BUFFERED || self.bytes > BUFFERED_BYTES {
            let Some((_, furthest)) = self.publications.pop_last() else { break };
            self.bytes -= furthest.cost_bytes();
            self.again = true;
        }
    }
}

impl Follower {
    /// A subscriber that has everything up to a position: what it says it has, or where a snapshot was made. The hub
    /// must have been subscribed before.
    #[must_use]
    pub fn after(position: Position) -> (Self, Effect) {
        let mut follower = Self { position, phase: Phase::Live, number: 0 };
        let read = follower.read(Waiting::default());
        (follower, read)
    }

    /// The last publication that it was sent.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether it waits for nothing but deliveries.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    fn read(&mut self, waiting: Waiting) -> Effect {
        self.number += 1;
        self.phase = Phase::Buffering(Waiting { again: false, ..waiting });
        Effect::Read { from: From::After(self.position.clone()), number: self.number }
    }

    /// A publication was delivered.
    pub fn delivered(&mut self, epoch: &Epoch, publication: &Arc<Publication>) -> Option<Effect> {
        if *epoch != self.position.epoch {
            return self.gap();
        }
        // Compared by its place from now on.
        self.position.epoch.share(epoch);
        if publication.offset <= self.position.offset {
            return None;
        }
        match &mut self.phase {
            Phase::Live if publication.offset == self.position.offset + 1 => Some(self.forward(publication)),
            Phase::Live => {
                let mut waiting = Waiting::default();
                waiting.add(publication);
                Some(self.read(waiting))
            }
            Phase::Buffering(waiting) => {
                waiting.add(publication);
                None
            }
        }
    }

    /// Something may be missing, or the epoch may be another.
    pub fn gap(&mut self) -> Option<Effect> {
        match &mut self.phase {
            Phase::Live => Some(self.read(Waiting::default())),
            Phase::Buffering(waiting) => {
                waiting.again = true;
                None
            }
        }
    }

    /// A read has come back. Call with the answer to [`Effect::Read`], also when it is that the broker is not available:
    /// then the read comes back as an effect, for a later time.
    pub fn read_back(&mut self, number: u64, read: Read) -> Vec<Effect> {
        let Phase::Buffering(waiting) = &mut self.phase else { return Vec::new() };
        if number != self.number {
            return Vec::new();
        }
        let mut waiting = std::mem::take(waiting);
        let page = match read {
            Read::Page(page) => page,
            Read::Unavailable(_) => {
                // The next read sees all that this one would have.
                return vec![self.read(waiting)];
            }
            Read::Unrecoverable { top } => {
                if top.epoch != self.position.epoch {
                    // What waits is of the epoch before; of this one something may have passed by unheeded.
                    waiting = Waiting { again: true, ..Waiting::default() };
                }
                self.position = top.clone();
                let mut effects = vec![Effect::Lost { top }];
                effects.extend(self.merge(waiting));
                return effects;
            }
        };
        let mut effects = Vec::new();
        for publication in &page.publications {
            if publication.offset == self.position.offset + 1 {
                effects.push(self.forward(publication));
            }
        }
        waiting.again |= self.position.offset < page.top.offset;
        effects.extend(self.merge(waiting));
        effects
    }

    /// Sends what waits and follows; live if that is all, else one more read.
    fn merge(&mut self, mut waiting: Waiting) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((offset, publication)) = waiting.publications.pop_first() {
            if offset <= self.position.offset {
                waiting.bytes -= publication.cost_bytes();
                continue;
            }
            if offset != self.position.offset + 1 {
                waiting.publications.insert(offset, publication);
                waiting.again = true;
                break;
            }
            waiting.bytes -= publication.cost_bytes();
            effects.push(self.forward(&publication));
        }
        if waiting.again {
            effects.push(self.read(waiting));
        } else {
            self.phase = Phase::Live;
        }
        effects
    }

    fn forward(&mut self, publication: &Arc<Publication>) -> Effect {
        self.position.offset = publication.offset;
        Effect::Forward(Arc::clone(publication))
    }
}

#[cfg(test)]
mod simulation;
