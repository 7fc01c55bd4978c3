//! What may go wrong, put into a history in which nothing went wrong.

use sealwire_tests::judge::{Entry, Fault, Payload, Place, Record, Seen};

/// Whether a fault is what was planted.
type IsExpected = fn(&Fault) -> bool;
/// Changes a record; nothing when it has no place for it.
type Plant = fn(&mut Record, &mut fastrand::Rng) -> Option<IsExpected>;

pub(super) const ALL: [(&str, Plant); 15] = [
    ("a publication that did not come", hole),
    ("a publication missing from a recovery", hole_in_recovery),
    ("the end of a recovery is missing", short_recovery),
    ("the last publications did not come", tail),
    ("a publication came twice", repeat),
    ("a recovery repeats what had come", repeat_in_recovery),
    ("two publications in the wrong order", swap),
    ("two readers see two orders", other_order),
    ("one publication at two places", twice),
    ("nobody published it", invented),
    ("it is not where the publisher was told", moved),
    ("the order of a publisher's own is turned round", turned_round),
    ("a history that was replaced without a word", replaced),
    ("a history that went back without a word", went_back),
    ("an epoch ended that should have lasted", ended),
];

/// Indices of publications in what a reader saw live: reader and index.
fn live(record: &Record) -> Vec<(usize, usize)> {
    all(record, |seen| matches!(seen, Seen::Publication(_)))
}

fn all(record: &Record, wanted: impl Fn(&Seen) -> bool) -> Vec<(usize, usize)> {
    let readers = record.readers.iter().enumerate();
    readers
        .flat_map(|(number, reader)| {
            let wanted = reader.seen.iter().enumerate().filter(|(_, seen)| wanted(seen));
            wanted.map(move |(index, _)| (number, index)).collect::<Vec<_>>()
        })
        .collect()
}

fn entry(record: &mut Record, (reader, index): (usize, usize)) -> Option<&mut Entry> {
    match &mut record.readers[reader].seen[index] {
        Seen::Publication(entry) => Some(entry),
        _ => None,
    }
}

fn missed(record: &mut Record, (reader, index): (usize, usize)) -> Option<&mut Vec<Entry>> {
    match &mut record.readers[reader].seen[index] {
        Seen::Recovered { missed, .. } => Some(missed),
        _ => None,
    }
}

fn recoveries(record: &Record, least: usize) -> Vec<(usize, usize)> {
    all(record, |seen| matches!(seen, Seen::Recovered { missed, .. } if missed.len() >= least))
}

fn is_gap(fault: &Fault) -> bool {
    matches!(fault, Fault::Gap { .. })
}

fn hole(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    // Something live comes right after it.
    let mut places = live(record);
    places.retain(|(reader, index)| {
        matches!(record.readers[*reader].seen.get(index + 1), Some(Seen::Publication(_)))
    });
    let (reader, index) = random.choice(places)?;
    record.readers[reader].seen.remove(index);
    Some(is_gap)
}

fn hole_in_recovery(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let place = random.choice(recoveries(record, 1))?;
    let missed = missed(record, place)?;
    missed.remove(random.usize(..missed.len()));
    Some(is_gap)
}

fn short_recovery(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let place = random.choice(recoveries(record, 1))?;
    missed(record, place)?.pop();
    Some(is_gap)
}

fn tail(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let reader = random.choice(&mut record.readers)?;
    let acknowledged = record.publishers.iter().flat_map(|publisher| &publisher.acknowledged);
    let acknowledged: Vec<_> = acknowledged.map(|told| told.payload.clone()).collect();
    while let Some(Seen::Publication(entry)) = reader.seen.last() {
        let is_told = acknowledged.contains(&entry.payload);
        reader.seen.pop();
        if is_told {
            return Some(|fault| matches!(fault, Fault::Unseen { .. }));
        }
    }
    None
}

fn repeat(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let (reader, index) = random.choice(live(record))?;
    let again = record.readers[reader].seen[index].clone();
    record.readers[reader].seen.insert(index + 1, again);
    Some(|fault| matches!(fault, Fault::Repeated { .. }))
}

fn repeat_in_recovery(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let place = random.choice(recoveries(record, 1))?;
    let missed = missed(record, place)?;
    missed.insert(0, missed[0].clone());
    Some(|fault| matches!(fault, Fault::Repeated { .. }))
}

fn swap(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let mut places = live(record);
    places.retain(|(reader, index)| {
        matches!(record.readers[*reader].seen.get(index + 1), Some(Seen::Publication(_)))
    });
    let (reader, index) = random.choice(places)?;
    record.readers[reader].seen.swap(index, index + 1);
    Some(|fault| matches!(fault, Fault::Repeated { .. }))
}

/// The offsets are sound; what is there is not the same for all. Somebody knows better: who was told of the first.
fn other_order(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let mut places = live(record);
    places.retain(|(reader, index)| {
        let next = record.readers[*reader].seen.get(index + 1);
        matches!(next, Some(Seen::Publication(_))) && told_of(record, *reader, *index)
    });
    let (reader, index) = random.choice(places)?;
    let first = entry(record, (reader, index))?.payload.clone();
    let second = std::mem::replace(&mut entry(record, (reader, index + 1))?.payload, first);
    entry(record, (reader, index))?.payload = second;
    Some(|fault| matches!(fault, Fault::Disagreement { .. } | Fault::Twice { .. }))
}

/// Whether its publisher was told where this reader has seen it.
fn told_of(record: &Record, reader: usize, index: usize) -> bool {
    let Seen::Publication(entry) = &record.readers[reader].seen[index] else { return false };
    let place = Place { epoch: epoch(record, reader, index), offset: entry.offset };
    record.acknowledged().any(|told| told.payload == entry.payload && told.place == place)
}

/// The epoch that a reader is in.
fn epoch(record: &Record, reader: usize, index: usize) -> String {
    let before = record.readers[reader].seen[..index].iter().rev();
    let mut epochs = before.filter_map(|seen| match seen {
        Seen::Began(top) | Seen::Recovered { top, .. } | Seen::Lost { top } => Some(&top.epoch),
        Seen::Publication(_) => None,
    });
    epochs.next().cloned().unwrap_or_default()
}

/// A retry that was taken for a new publication.
fn twice(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let mut last: Vec<_> = live(record);
    last.retain(|(reader, index)| record.readers[*reader].seen.len() == index + 1);
    let place @ (reader, _) = random.choice(last)?;
    let Entry { offset, payload } = entry(record, place)?.clone();
    record.readers[reader].seen.push(Seen::Publication(Entry { offset: offset + 1, payload }));
    Some(|fault| matches!(fault, Fault::Twice { .. }))
}

fn invented(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let place = random.choice(live(record))?;
    let payload = match random.bool() {
        true => Payload { publisher: "nobody".to_owned(), n: 1 },
        false => Payload { publisher: "ann".to_owned(), n: 1_000_000 },
    };
    entry(record, place)?.payload = payload;
    Some(|fault| matches!(fault, Fault::Invented { .. }))
}

/// Only where a reader has seen it.
fn moved(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let mut places = live(record);
    places.retain(|(reader, index)| told_of(record, *reader, *index));
    let (reader, index) = random.choice(places)?;
    let epoch = epoch(record, reader, index);
    let seen = entry(record, (reader, index))?.payload.clone();
    let mut told = record.publishers.iter_mut().flat_map(|publisher| &mut publisher.acknowledged);
    told.find(|told| told.payload == seen && told.place.epoch == epoch)?.place.offset += 1_000;
    Some(|fault| matches!(fault, Fault::Twice { .. } | Fault::Disagreement { .. }))
}

fn turned_round(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let publisher = random.choice(&mut record.publishers)?;
    let at = random.usize(..publisher.acknowledged.len().checked_sub(1).filter(|pairs| *pairs > 0)?);
    let [first, second] = &mut publisher.acknowledged[at..at + 2] else { return None };
    if first.place.epoch != second.place.epoch {
        return None;
    }
    std::mem::swap(&mut first.place, &mut second.place);
    Some(|fault| matches!(fault, Fault::OutOfOrder { .. }))
}

fn replaced(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let (reader, index) = random.choice(all(record, |seen| matches!(seen, Seen::Recovered { .. })))?;
    let Seen::Recovered { top, .. } = &mut record.readers[reader].seen[index] else { return None };
    top.epoch = "another".to_owned();
    Some(|fault| matches!(fault, Fault::FalseRecovery { .. }))
}

/// As after a loss of what had been acknowledged, with the old epoch.
fn went_back(record: &mut Record, random: &mut fastrand::Rng) -> Option<IsExpected> {
    let found = all(
        record,
        |seen| matches!(seen, Seen::Recovered { top, missed } if missed.is_empty() && top.offset > 0),
    );
    let (reader, index) = random.choice(found)?;
    let Seen::Recovered { top: Place { offset, .. }, .. } = &mut record.readers[reader].seen[index] else {
        return None;
    };
    *offset -= 1;
    Some(|fault| matches!(fault, Fault::FalseRecovery { .. }))
}

fn ended(record: &mut Record, _: &mut fastrand::Rng) -> Option<IsExpected> {
    let last = record.acknowledged().map(|told| &told.place.epoch).max()?.clone();
    let has_gone = record.acknowledged().any(|told| told.place.epoch != last);
    record.lasting = true;
    has_gone.then_some(|fault| matches!(fault, Fault::Gone { .. }))
}
