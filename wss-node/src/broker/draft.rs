//! What was decided of a channel and is not applied yet: publications of one batch that is on its way to the disk. Pure.

use std::collections::HashMap;

use super::publication::NewPublication;

/// Publications that have their places and wait for the disk. Later ones of the batch are decided on top of them.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    appended: u64,
    /// The offset at which a key is set; 0: it is removed.
    keys: HashMap<Box<str>, u64>,
    /// How many keys there are more than before; fewer are not counted, which is on the safe side.
    keys_added: usize,
    used: HashMap<Box<str>, u64>,
}

impl Draft {
    pub(crate) fn appended(&self) -> u64 {
        self.appended
    }

    /// What the batch makes of a key, if anything.
    pub(crate) fn key(&self, key: &str) -> Option<u64> {
        self.keys.get(key).copied()
    }

    pub(crate) fn keys_added(&self) -> usize {
        self.keys_added
    }

    pub(crate) fn used(&self, idempotency_key: &str) -> Option<u64> {
        self.used.get(idempotency_key).copied()
    }

    /// A publication has got its place. `was_set`: its key had been, before it.
    pub(crate) fn note(&mut self, new: &NewPublication, offset: u64, was_set: bool) {
        self.appended += 1;
        if let Some(key) = &new.key {
            self.keys_added += usize::from(!new.removed && !was_set);
            self.keys.insert(key.clone(), if new.removed { 0 } else { offset });
        }
        if let Some(key) = &new.idempotency_key {
            self.used.insert(key.clone(), offset);
        }
    }
}
