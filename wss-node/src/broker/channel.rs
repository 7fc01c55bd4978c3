//! One channel: its log, its state, and the rules by which both change. Pure: the time is an argument, nothing is read
//! or written elsewhere.
//!
//! Appending has two steps, so that a broker can make a publication durable between them: [`Channel::decide`] gives it
//! its place, [`Channel::apply`] puts it there.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{Cursor, From, Page, Read, Refusal, Snapshot, StatePage};
use super::draft::Draft;
use super::older;
use super::position::{Epoch, Position};
use super::publication::{Expect, NewPublication, Publication};
use super::rules::{Kind, Rules};
use super::seen::Seen;
use super::state::State;

/// Bytes that a channel takes without any content.
const CHANNEL_BYTES: usize = 512;

/// A channel.
#[derive(Debug)]
pub(crate) struct Channel {
    epoch: Epoch,
    top: u64,
    /// Dense; the last one is the top.
    log: VecDeque<Arc<Publication>>,
    log_bytes: usize,
    state: State,
    /// Of publications that are state and no longer in the log.
    state_bytes: usize,
    seen: Seen,
    used_at: Timestamp,
}

/// Why a publication gets no place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    Duplicate(Position),
    Conflict { current: Option<Position> },
    Refused(Refusal),
}

impl Channel {
    /// An empty one.
    pub(crate) fn new(kind: Kind, epoch: Epoch, now: Timestamp) -> Self {
        Self::at(kind, Position { epoch, offset: 0 }, now)
    }

    /// One whose publications up to `top` are to be restored or are gone.
    pub(crate) fn at(kind: Kind, top: Position, used_at: Timestamp) -> Self {
        Self {
            epoch: top.epoch,
            top: top.offset,
            log: VecDeque::new(),
            log_bytes: 0,
            state: State::new(kind),
            state_bytes: 0,
            seen: Seen::default(),
            used_at,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.state.kind()
    }

    /// The last publication.
    pub(crate) fn top(&self) -> Position {
        self.position(self.top)
    }

    /// The first publication that the log has, or would have.
    pub(crate) fn first(&self) -> u64 {
        self.top + 1 - self.log.len() as u64
    }

    /// Somebody uses it.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.used_at = self.used_at.max(now);
    }

    /// Whether nobody has used it for so long that it may be forgotten.
    pub(crate) fn is_idle(&self, rules: &Rules, now: Timestamp) -> bool {
        older(self.used_at, rules.meta_ttl.max(rules.history_ttl), now)
    }

    /// What it counts for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        CHANNEL_BYTES + self.log_bytes + self.state_bytes + self.state.overhead_bytes() + self.seen.bytes()
    }

    fn position(&self, offset: u64) -> Position {
        Position { epoch: self.epoch.clone(), offset }
    }

    /// The place for a publication, on top of those in the draft, which it joins.
    pub(crate) fn decide(
        &self,
        draft: &mut Draft,
        rules: &Rules,
        new: &NewPublication,
        now: Timestamp,
    ) -> Result<u64, Declined> {
        let top = self.top + draft.appended();
        if let Some(key) = &new.idempotency_key
            && let Some(offset) = draft.used(key).or_else(|| self.seen.offset(key, now))
        {
            return Err(Declined::Duplicate(self.position(offset)));
        }
        refusal(self.kind(), rules, new).map_or(Ok(()), |refusal| Err(Declined::Refused(refusal)))?;
        let current = match &new.key {
            None => top,
            Some(key) => {
                draft.key(key).unwrap_or_else(|| self.state.entry(key).map_or(0, |entry| entry.offset))
            }
        };
        let as_expected = match &new.expect {
            Expect::Any => true,
            Expect::Position(expected) => expected.epoch == self.epoch && expected.offset == current,
            Expect::Absent => current == 0,
            Expect::Present => current != 0,
        };
        if !as_expected {
            return Err(Declined::Conflict { current: (current != 0).then(|| self.position(current)) });
        }
        let keys = self.state.keys() + draft.keys_added();
        if new.key.is_some() && !new.removed && current == 0 && keys >= rules.keys {
            return Err(Declined::Refused(Refusal::TooManyKeys { limit: rules.keys }));
        }
        draft.note(new, top + 1, current != 0);
        Ok(top + 1)
    }

    /// Puts the publication that follows the top in its place.
    pub(crate) fn apply(
        &mut self,
        rules: &Rules,
        publication: &Arc<Publication>,
        idempotency_key: Option<&str>,
        now: Timestamp,
    ) {
        debug_assert_eq!(publication.offset, self.top + 1, "offsets are dense");
        self.touch(now);
        if let Some(key) = idempotency_key {
            self.seen.insert(key, publication.offset, now);
        }
        let first = self.first();
        if let Some(former) = self.state.apply(publication)
            && former.offset < first
        {
            self.state_bytes -= former.cost_bytes();
        }
        self.top = publication.offset;
        self.log_bytes += publication.cost_bytes();
        self.log.push_back(Arc::clone(publication));
        self.expire(rules, now);
    }

    /// Forgets what is past its time or over its limits.
    pub(crate) fn expire(&mut self, rules: &Rules, now: Timestamp) {
        self.seen.expire(now);
        while self.log.front().is_some_and(|first| {
            self.log.len() > rules.history
                || self.log_bytes > rules.retained_bytes
                || older(first.at, rules.history_ttl, now)
        }) {
            self.forget_first();
        }
    }

    /// Forgets the log up to and with an offset, to make room; the state stays.
    pub(crate) fn forget_up_to(&mut self, offset: u64) {
        while self.log.front().is_some_and(|first| first.offset <= offset) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(first) = self.log.pop_front() else { return };
        self.log_bytes -= first.cost_bytes();
        if self.state.holds(&first) {
            self.state_bytes += first.cost_bytes();
        }
        if self.log.is_empty() {
            self.log = VecDeque::new();
        }
    }

    /// Reads the log. At most `limit` publications; 0 tells the top only.
    pub(crate) fn read(&self, from: &From, limit: usize) -> Read {
        let top = self.top();
        let first = self.first();
        let publications = match from {
            From::Oldest => self.log.iter().take(limit).cloned().collect(),
            From::Newest => self.log.iter().rev().take(limit).cloned().collect(),
            From::After(position) => {
                let within = (first - 1..=self.top).contains(&position.offset);
                if position.epoch != self.epoch || !within {
                    return Read::Unrecoverable { top };
                }
                let skipped = usize::try_from(position.offset + 1 - first).unwrap_or(usize::MAX);
                self.log.iter().skip(skipped).take(limit).cloned().collect()
            }
            From::Before(position) => {
                if position.epoch != self.epoch || position.offset > self.top + 1 {
                    return Read::Unrecoverable { top };
                }
                let kept = usize::try_from(position.offset.saturating_sub(first)).unwrap_or(usize::MAX);
                self.log.iter().take(kept).rev().take(limit).cloned().collect()
            }
        };
        Read::Page(Page { publications, top })
    }

    /// Reads the state. At most `limit` entries, at least one.
    pub(crate) fn snapshot(&self, cursor: Option<&Cursor>, limit: usize) -> Snapshot {
        let position = cursor.map_or_else(|| self.top(), |cursor| cursor.position.clone());
        let reachable = (self.first() - 1..=self.top).contains(&position.offset);
        if position.epoch != self.epoch || !(reachable || cursor.is_none()) {
            return Snapshot::Unrecoverable { top: self.top() };
        }
        let State::Map(entries) = &self.state else {
            let entries = self.state.publications().cloned().collect();
            return Snapshot::Page(StatePage { entries, position, next: None });
        };
        let mut rest = entries
            .after(cursor.map(|cursor| &*cursor.after))
            .filter(|entry| entry.offset <= position.offset);
        let entries: Vec<_> = rest.by_ref().take(limit.max(1)).cloned().collect();
        let last = entries.last().and_then(|last| last.key.clone());
        let next = rest.next().and(last).map(|after| Cursor { position: position.clone(), after });
        Snapshot::Page(StatePage { entries, position, next })
    }

    /// Up to `limit` keys whose time is over, and where they were set: each is to be removed by a publication.
    pub(crate) fn overdue_keys(&self, rules: &Rules, now: Timestamp, limit: usize) -> Vec<NewPublication> {
        let (State::Map(entries), Some(ttl)) = (&self.state, rules.key_ttl) else { return Vec::new() };
        let overdue = entries.by_age().take_while(|entry| older(entry.at, ttl, now)).take(limit);
        let removal = |entry: &Arc<Publication>| NewPublication {
            key: entry.key.clone(),
            removed: true,
            expect: Expect::Position(self.position(entry.offset)),
            ..NewPublication::default()
        };
        overdue.map(removal).collect()
    }

    /// Puts back a publication that was part of the state and is no longer in the log.
    pub(crate) fn restore_state(&mut self, publication: &Arc<Publication>) {
        self.state_bytes += publication.cost_bytes();
        self.state.apply(publication);
    }

    /// Puts back an idempotency key. Oldest first.
    pub(crate) fn restore_key(&mut self, key: &str, offset: u64, at: Timestamp) {
        self.seen.insert(key, offset, at);
    }

    /// Starts to put back the log, which begins after `offset`; [`Channel::apply`] goes on.
    pub(crate) fn restore_from(&mut self, offset: u64) {
        self.top = offset;
    }
}

/// Why a publication can never be part of a channel, if so.
pub(crate) fn refusal(kind: Kind, rules: &Rules, new: &NewPublication) -> Option<Refusal> {
    match kind {
        Kind::Map if new.key.is_none() => return Some(Refusal::KeyMissing),
        Kind::Stream | Kind::Value if new.key.is_some() || new.removed => {
            return Some(Refusal::KeyUnexpected);
        }
        _ => {}
    }
    let (bytes, limit_bytes) = (new.cost_bytes(), rules.retained_bytes);
    (bytes > limit_bytes).then_some(Refusal::TooLarge { bytes, limit_bytes })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
