//! Idempotency keys that were used lately. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::older;

/// How long a publisher may try again with the same key; what Centrifugo keeps them for.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Keys of one channel, at most: past it the oldest is forgotten.
pub const CAPACITY: usize = 16_384;
/// Bytes that a key takes besides itself.
const OVERHEAD_BYTES: usize = 96;

/// The keys of one channel and where their publications stand.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    used: HashMap<Arc<str>, Used>,
    /// Oldest first.
    order: VecDeque<(Timestamp, Arc<str>)>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    at: Timestamp,
    offset: u64,
}

impl Seen {
    /// Where the publication with this key stands, if it was made within the window.
    pub(crate) fn offset(&self, key: &str, now: Timestamp) -> Option<u64> {
        self.used.get(key).filter(|used| !older(used.at, WINDOW, now)).map(|used| used.offset)
    }

    /// A publication with this key was appended.
    pub(crate) fn insert(&mut self, key: &str, offset: u64, at: Timestamp) {
        while self.order.len() >= CAPACITY {
            self.forget_oldest();
        }
        let key: Arc<str> = key.into();
        self.bytes += key.len() + OVERHEAD_BYTES;
        self.order.push_back((at, Arc::clone(&key)));
        self.used.insert(key, Used { at, offset });
    }

    /// Forgets what is older than the window.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| older(*at, WINDOW, now)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, key)) = self.order.pop_front() else { return };
        self.bytes -= key.len() + OVERHEAD_BYTES;
        // A key may have been used again since, when the clock had gone back.
        if self.used.get(&key).is_some_and(|used| used.at == at) {
            self.used.remove(&key);
        }
    }

    /// What the keys count for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_for_the_window_and_no_longer() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let (last, over) = (start + WINDOW - Duration::from_nanos(1), start + WINDOW);
        let mut seen = Seen::default();
        seen.insert("k", 7, start);
        assert_eq!((seen.offset("k", last), seen.offset("k", over)), (Some(7), None));
        assert_eq!(seen.offset("other", start), None);
        seen.expire(last);
        assert_eq!(seen.bytes(), 1 + OVERHEAD_BYTES);
        seen.expire(over);
        assert_eq!((seen.bytes(), seen.used.len()), (0, 0));
    }

    #[test]
    fn past_the_capacity_the_oldest_is_forgotten() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut seen = Seen::default();
        for n in 0..=CAPACITY as u64 {
            seen.insert(&n.to_string(), n, now + Duration::from_nanos(n));
        }
        assert_eq!((seen.offset("0", now), seen.offset("1", now)), (None, Some(1)));
        assert_eq!((seen.used.len(), seen.order.len()), (CAPACITY, CAPACITY));
    }

    #[test]
    fn a_clock_that_goes_back_forgets_no_later_use() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let mut seen = Seen::default();
        seen.insert("k", 1, start);
        seen.insert("k", 2, start + WINDOW);
        seen.expire(start + WINDOW);
        assert_eq!(seen.offset("k", start + WINDOW), Some(2));
    }
}
