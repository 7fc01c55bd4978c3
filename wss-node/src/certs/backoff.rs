//! How long to wait before dialling the agent again: it may be about to start, and many nodes may be waiting.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles from 250 ms to 10 s, with full jitter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `fraction` (0..1) spreads it.
    pub(crate) fn next(&mut self, fraction: f64) -> Duration {
        let ceiling = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Full jitter, but never so little that a dead agent is asked in a tight loop.
        ceiling.mul_f64(fraction.clamp(0.0, 1.0)).max(FIRST / 10)
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit_and_starts_over() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!((0..100).all(|_| backoff.next(1.0) == LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(125));
        assert_eq!(backoff.next(0.0), Duration::from_millis(25));
    }
}
