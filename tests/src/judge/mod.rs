//! The judge: takes what publishers were told and what subscribers saw in one channel, and says which promises were
//! broken. Pure; it knows nothing of nodes, networks or time.
//!
//! The promises (docs/protocol.md, "Guarantees"): one order for all, offsets without holes, nothing twice, nothing
//! missing for who comes back unless it is told so (`recovered: false`), a retry with its idempotency key is one
//! publication, and what was acknowledged lasts as long as its durability says.

mod fault;
mod readers;
mod record;

use std::collections::BTreeMap;

pub use fault::Fault;
pub use record::{Acknowledged, Entry, Payload, Place, Publisher, Reader, Record, Seen};

/// What a record amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Broken promises; none, if all is well.
    pub faults: Vec<Fault>,
    /// Publications that were acknowledged.
    pub acknowledged: usize,
    /// Publications that readers saw, over all of them.
    pub seen: usize,
    /// How often a reader came back and was told that nothing is missing.
    pub recovered: usize,
    /// Publications that came with those.
    pub caught_up: usize,
    /// How often a reader was told that something is missing.
    pub lost: usize,
}

/// Where publications are, by all who have seen them.
#[derive(Debug, Default)]
struct Order {
    at: BTreeMap<Place, (Payload, String)>,
    places: BTreeMap<Payload, Vec<Place>>,
}

impl Order {
    /// Somebody saw this payload there.
    fn saw(&mut self, by: &str, place: &Place, payload: &Payload, lasting: bool, faults: &mut Vec<Fault>) {
        match self.at.get(place) {
            Some((other, _)) if other == payload => return,
            Some((other, earlier)) => {
                faults.push(Fault::Disagreement {
                    place: place.clone(),
                    seen: [(earlier.clone(), other.clone()), (by.to_owned(), payload.clone())],
                });
                return;
            }
            None => {
                self.at.insert(place.clone(), (payload.clone(), by.to_owned()));
            }
        }
        let places = self.places.entry(payload.clone()).or_default();
        // A channel that was lost with its node may get a retry of what had been in it.
        if let Some(first) = places.iter().find(|first| lasting || first.epoch == place.epoch) {
            let places = [first.clone(), place.clone()];
            faults.push(Fault::Twice { payload: payload.clone(), places });
        }
        places.push(place.clone());
    }
}

/// Judges a channel.
#[must_use]
pub fn judge(record: &Record) -> Verdict {
    let mut verdict = Verdict::default();
    let mut order = Order::default();
    for publisher in &record.publishers {
        verdict.acknowledged += publisher.acknowledged.len();
        acknowledgements(record, publisher, &mut order, &mut verdict.faults);
    }
    let ends: Vec<_> =
        record.readers.iter().map(|reader| readers::walk(record, reader, &mut order, &mut verdict)).collect();
    epochs(record, &ends, &mut verdict.faults);
    for (reader, end) in record.readers.iter().zip(&ends) {
        let Some(end) = end else { continue };
        let newest = record.acknowledged().filter(|told| told.place.epoch == end.epoch);
        if let Some(told) = newest.max_by_key(|told| told.place.offset)
            && told.place.offset > end.offset
        {
            let (reader, end) = (reader.name.clone(), end.clone());
            verdict.faults.push(Fault::Unseen { reader, end, acknowledged: told.clone() });
        }
    }
    verdict
}

fn acknowledgements(record: &Record, publisher: &Publisher, order: &mut Order, faults: &mut Vec<Fault>) {
    let mut before: Option<&Acknowledged> = None;
    for told in &publisher.acknowledged {
        let by = format!("the acknowledgement for {}", publisher.name);
        order.saw(&by, &told.place, &told.payload, record.lasting, faults);
        let after = |before: &&Acknowledged| {
            before.place.epoch == told.place.epoch && before.place.offset >= told.place.offset
        };
        // It was published after the one before was acknowledged.
        if let Some(before) = before.filter(after) {
            faults.push(Fault::OutOfOrder { first: before.clone(), second: told.clone() });
        }
        before = Some(told);
    }
}

/// A channel that lasts has one epoch, and all who read it end in the same.
fn epochs(record: &Record, ends: &[Option<Place>], faults: &mut Vec<Fault>) {
    let Some(last) = ends.iter().flatten().next() else { return };
    for (reader, end) in record.readers.iter().zip(ends) {
        if let Some(end) = end.as_ref().filter(|end| end.epoch != last.epoch) {
            faults.push(Fault::Apart { reader: reader.name.clone(), end: end.clone(), other: last.clone() });
        }
    }
    if record.lasting {
        let gone = record.acknowledged().filter(|told| told.place.epoch != last.epoch);
        faults.extend(gone.map(|told| Fault::Gone { acknowledged: told.clone(), epoch: last.epoch.clone() }));
    }
}
