//! A question and its place on the agenda.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::lifecycle::backoff::fraction;
use crate::revocation::Id;

/// A question that is asked again and again.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// Where it stands on the agenda.
    pub(super) next: Option<Timestamp>,
    /// When the source is asked anew; before that, what it said serves.
    pub(super) due: Option<Timestamp>,
    pub(super) asking: bool,
    pub(super) errors: u32,
    pub(super) error: Option<String>,
    pub(super) this_update: Option<Timestamp>,
    pub(super) holds_until: Option<Timestamp>,
}

impl Question {
    pub(super) fn begin(&mut self) {
        self.next = None;
        self.asking = true;
    }

    pub(super) fn answered(&mut self, this_update: Timestamp, next_update: Timestamp) {
        (self.errors, self.error) = (0, None);
        (self.this_update, self.holds_until) = (Some(this_update), Some(next_update));
    }

    pub(super) fn failed(&mut self, error: String) {
        self.errors = self.errors.saturating_add(1);
        self.error = Some(error);
    }

    /// Puts it on the agenda, in place of where it stood.
    pub(super) fn put_off(
        &mut self,
        agenda: &mut BTreeSet<(Timestamp, Id)>,
        id: Id,
        next: Timestamp,
        due: Timestamp,
    ) {
        if let Some(before) = self.next.replace(next) {
            agenda.remove(&(before, id));
        }
        self.due = Some(due);
        agenda.insert((next, id));
    }

    pub(super) fn forget(&self, agenda: &mut BTreeSet<(Timestamp, Id)>, id: Id) {
        if let Some(next) = self.next {
            agenda.remove(&(next, id));
        }
    }
}

/// In 0..1, other for each question and each time it is asked.
pub(super) fn random(seed: u64, id: &Id, now: Timestamp) -> f64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id[..8]);
    fraction(seed ^ u64::from_le_bytes(bytes), now.as_second().unsigned_abs())
}
