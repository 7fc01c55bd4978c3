//! How long to wait before something is tried again.

use std::time::Duration;

/// Doubles from one wait to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The wait after one more failure; `fraction` (0..1) spreads it with full jitter.
    pub(crate) fn next(&mut self, fraction: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        // Never so little that what is dead is asked in a tight loop.
        doubled.min(self.longest).mul_f64(fraction.clamp(0.0, 1.0)).max(self.first / 10)
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn doubles_up_to_the_limit_and_starts_over() {
        let mut backoff = Backoff::between(FIRST, LONGEST);
        let waits: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!((0..100).all(|_| backoff.next(1.0) == LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(125));
        assert_eq!(backoff.next(0.0), Duration::from_millis(25));
    }
}
