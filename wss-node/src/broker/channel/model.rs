//! What a channel must do, told without regard to time or memory: it keeps every publication for ever and computes each
//! answer from all of them.

use std::collections::BTreeMap;

use super::*;
use crate::broker::seen::WINDOW;

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) position: Position,
    pub(crate) all: Vec<Publication>,
    used: Vec<(Box<str>, u64, Timestamp)>,
    /// What was forgotten to make room.
    forgotten: u64,
}

impl Model {
    pub(crate) fn new(epoch: Epoch) -> Self {
        let position = Position { epoch, offset: 0 };
        Self { position, all: Vec::new(), used: Vec::new(), forgotten: 0 }
    }

    fn at(&self, offset: u64) -> Position {
        Position { epoch: self.position.epoch.clone(), offset }
    }

    /// The state: what a client has that applied every publication.
    pub(crate) fn state(&self, kind: Kind) -> BTreeMap<Box<str>, Publication> {
        let mut state = BTreeMap::new();
        apply_all(&mut state, kind, self.all.iter());
        state
    }

    pub(crate) fn append(
        &mut self,
        rules: &Rules,
        new: &NewPublication,
        now: Timestamp,
    ) -> Result<u64, Declined> {
        if let Some(id) = &new.idempotency_key {
            let used = self.used.iter().rev().find(|(used, _, at)| used == id && !older(*at, WINDOW, now));
            if let Some((_, offset, _)) = used {
                return Err(Declined::Duplicate(self.at(*offset)));
            }
        }
        let state = self.state(rules.kind);
        let current = match (&new.key, rules.kind) {
            (None, Kind::Map) => return Err(Declined::Refused(Refusal::KeyMissing)),
            (Some(_), Kind::Stream | Kind::Value) => return Err(Declined::Refused(Refusal::KeyUnexpected)),
            (Some(key), Kind::Map) => state.get(key).map_or(0, |entry| entry.offset),
            (None, _) => self.position.offset,
        };
        let (bytes, limit_bytes) = (new.cost_bytes(), rules.retained_bytes);
        if bytes > limit_bytes {
            return Err(Declined::Refused(Refusal::TooLarge { bytes, limit_bytes }));
        }
        let fits = match &new.expect {
            Expect::Any => true,
            Expect::Position(position) => *position == self.at(current),
            Expect::Absent => current == 0,
            Expect::Present => current > 0,
        };
        if !fits {
            return Err(Declined::Conflict { current: (current > 0).then(|| self.at(current)) });
        }
        if rules.kind == Kind::Map && !new.removed && current == 0 && state.len() >= rules.keys {
            return Err(Declined::Refused(Refusal::TooManyKeys { limit: rules.keys }));
        }
        self.position.offset += 1;
        let offset = self.position.offset;
        self.all.push(new.clone().at(offset, now));
        self.used.extend(new.idempotency_key.clone().map(|id| (id, offset, now)));
        Ok(offset)
    }

    pub(crate) fn forget_up_to(&mut self, offset: u64) {
        self.forgotten = self.forgotten.max(offset.min(self.position.offset));
    }

    /// The longest end of the log that the rules allow.
    pub(crate) fn log(&self, rules: &Rules, now: Timestamp) -> &[Publication] {
        let mut bytes = 0;
        let kept = self.all.iter().rev().take(rules.history).take_while(|publication| {
            bytes += publication.cost_bytes();
            bytes <= rules.retained_bytes
                && !older(publication.at, rules.history_ttl, now)
                && publication.offset > self.forgotten
        });
        let kept = kept.count();
        &self.all[self.all.len() - kept..]
    }

    /// What recovery from a position must give: exactly what follows it, or nothing.
    pub(crate) fn after(&self, rules: &Rules, position: &Position, now: Timestamp) -> Option<&[Publication]> {
        let log = self.log(rules, now);
        let offset = position.offset;
        let first = self.position.offset + 1 - log.len() as u64;
        let known = position.epoch == self.position.epoch && offset <= self.position.offset;
        (known && offset + 1 >= first).then(|| &self.all[offset as usize..])
    }
}

/// What a client does with a snapshot and publications.
pub(crate) fn apply_all<'a>(
    state: &mut BTreeMap<Box<str>, Publication>,
    kind: Kind,
    publications: impl Iterator<Item = &'a Publication>,
) {
    for publication in publications {
        let key = match kind {
            Kind::Stream => continue,
            Kind::Value => "".into(),
            Kind::Map => publication.key.clone().expect("maps have keys"),
        };
        if publication.removed {
            state.remove(&key);
        } else {
            state.insert(key, publication.clone());
        }
    }
}
