//! Made-up histories of a channel on a sound node.

use sealwire_tests::judge::{Acknowledged, Entry, Payload, Place, Publisher, Reader, Record, Seen};

/// A node that keeps a channel, loses it now and then if it is in memory only, and forgets old publications.
struct Node {
    epoch: u64,
    log: Vec<Payload>,
    /// Publications that are kept.
    history: usize,
}

impl Node {
    fn top(&self) -> Place {
        self.place(self.log.len())
    }

    fn place(&self, offset: usize) -> Place {
        Place { epoch: format!("e{}", self.epoch), offset: offset as u64 }
    }

    fn after(&self, offset: usize) -> Vec<Entry> {
        let entries = self.log.iter().enumerate().skip(offset);
        entries.map(|(index, payload)| Entry { offset: index as u64 + 1, payload: payload.clone() }).collect()
    }
}

struct Connection {
    is_up: bool,
    epoch: u64,
    offset: usize,
}

/// A history of two or three publishers and readers; the same for the same seed.
pub(super) fn record(seed: u64) -> Record {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut node = Node { epoch: 1, log: Vec::new(), history: random.usize(4..30) };
    let mut record = Record { lasting: random.bool(), ..Record::default() };
    for name in ["ann", "bob", "eve"].into_iter().take(random.usize(2..=3)) {
        record.publishers.push(Publisher { name: name.to_owned(), ..Publisher::default() });
    }
    let mut connections = Vec::new();
    for number in 0..random.usize(2..=3) {
        let name = format!("reader {number}");
        record.readers.push(Reader { name, seen: vec![Seen::Began(node.top())] });
        connections.push(Connection { is_up: true, epoch: node.epoch, offset: 0 });
    }
    // A publication that a publisher has tried and knows nothing of: its epoch and index.
    let mut unknown: Vec<Option<(u64, usize)>> = vec![None; record.publishers.len()];
    for _ in 0..random.usize(30..120) {
        match random.u32(0..100) {
            0..50 => publish(&mut node, &mut record, &mut unknown, &mut random),
            50..54 if !record.lasting => {
                // Everybody's connection goes with it.
                (node.epoch, node.log) = (node.epoch + 1, Vec::new());
                connections.iter_mut().for_each(|connection| connection.is_up = false);
            }
            50..62 => random.choice(&mut connections).unwrap().is_up = false,
            _ => {
                let number = random.usize(..connections.len());
                step(&node, &mut connections[number], &mut record.readers[number]);
            }
        }
    }
    // Retries come to their ends, and readers to the top.
    for number in 0..unknown.len() {
        while unknown[number].is_some() {
            publish(&mut node, &mut record, &mut unknown, &mut random);
        }
    }
    for (connection, reader) in connections.iter_mut().zip(&mut record.readers) {
        while !connection.is_up || connection.epoch != node.epoch || connection.offset < node.log.len() {
            step(&node, connection, reader);
        }
    }
    record
}

fn publish(
    node: &mut Node,
    record: &mut Record,
    unknown: &mut [Option<(u64, usize)>],
    random: &mut fastrand::Rng,
) {
    let number = random.usize(..record.publishers.len());
    let publisher = &mut record.publishers[number];
    publisher.tried += u64::from(unknown[number].is_none());
    let index = unknown[number].filter(|(epoch, _)| *epoch == node.epoch).map(|(_, index)| index);
    // A retry is a publication of its own where the first try was lost with the channel.
    let index = index.unwrap_or_else(|| {
        node.log.push(Payload { publisher: publisher.name.clone(), n: publisher.tried });
        node.log.len() - 1
    });
    // The answer is lost now and then, and the retry is told the first place.
    if random.u32(..10) == 0 {
        unknown[number] = Some((node.epoch, index));
        return;
    }
    unknown[number] = None;
    let (payload, place) = (node.log[index].clone(), node.place(index + 1));
    publisher.acknowledged.push(Acknowledged { payload, place });
}

/// The reader gets its next publication, or comes back.
fn step(node: &Node, connection: &mut Connection, reader: &mut Reader) {
    if !connection.is_up {
        let can = connection.epoch == node.epoch && connection.offset + node.history >= node.log.len();
        let top = node.top();
        let seen = if can {
            Seen::Recovered { missed: node.after(connection.offset), top }
        } else {
            Seen::Lost { top }
        };
        reader.seen.push(seen);
        *connection = Connection { is_up: true, epoch: node.epoch, offset: node.log.len() };
    } else if let Some(entry) = node.after(connection.offset).into_iter().next() {
        reader.seen.push(Seen::Publication(entry));
        connection.offset += 1;
    }
}
