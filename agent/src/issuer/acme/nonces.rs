//! Nonces that answers brought and that nobody has used: each saves the round trip for a new one. Only those
//! that instant-acme throws away are kept (an order holds on to its own), so that none is used twice.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

/// RFC 8555 section 6.5.1.
pub(super) const NONCE_HEADER: &str = "replay-nonce";

/// CAs keep nonces for minutes to hours, but forget them all when they are deployed anew.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// More orders than this do not end within a minute.
const MAX_KEPT: usize = 64;

/// Unused nonces of one CA.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<VecDeque<(HeaderValue, Instant)>>);

impl Nonces {
    /// Keeps the nonce of an answer, if it has one.
    pub(super) fn keep(&self, headers: &HeaderMap) {
        let Some(nonce) = headers.get(NONCE_HEADER) else { return };
        let mut kept = self.lock();
        kept.push_back((nonce.clone(), Instant::now()));
        if kept.len() > MAX_KEPT {
            kept.pop_front();
        }
    }

    /// The newest, if it is fresh.
    pub(super) fn take(&self) -> Option<HeaderValue> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<HeaderValue> {
        let mut kept = self.lock();
        kept.retain(|(_, since)| now.saturating_duration_since(*since) < KEPT_FOR);
        kept.pop_back().map(|(nonce, _)| nonce)
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(HeaderValue, Instant)>> {
        // A queue is whole between any two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(nonce: &str) -> HeaderMap {
        [(NONCE_HEADER.parse().unwrap(), nonce.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn each_nonce_is_given_once_and_only_while_fresh() {
        let nonces = Nonces::default();
        nonces.keep(&HeaderMap::new());
        assert_eq!(nonces.take(), None);
        nonces.keep(&answer("one"));
        nonces.keep(&answer("two"));
        assert_eq!(nonces.take().unwrap(), "two");
        assert_eq!(nonces.take_at(Instant::now() + KEPT_FOR), None, "one is too old by then");
        assert_eq!(nonces.take(), None);
        for number in 0..MAX_KEPT + 5 {
            nonces.keep(&answer(&number.to_string()));
        }
        assert_eq!(nonces.lock().len(), MAX_KEPT);
        nonces.clear();
        assert_eq!(nonces.take(), None);
    }
}
