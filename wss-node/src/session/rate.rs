//! How much a session may send. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// So many in a second on average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// What one takes; zero: there is no limit.
    each: Duration,
    /// What may be taken ahead of time.
    ahead: Duration,
}

impl Rate {
    /// `per_second` 0: no limit.
    pub(crate) fn new(per_second: u32, at_once: u32) -> Self {
        let each = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { each, ahead: each.saturating_mul(at_once.max(1)) }
    }
}

/// What is left of a rate: the generic cell rate algorithm, which needs one instant instead of a count and its time.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// When all that was taken is made up for.
    even_at: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self { even_at: now }
    }

    /// Takes so many; `false` if that is too many, and then none is taken.
    pub(crate) fn take(&mut self, rate: Rate, count: u32, now: Instant) -> bool {
        let even_at = self.even_at.max(now) + rate.each.saturating_mul(count);
        let allowed = even_at.duration_since(now) <= rate.ahead;
        if allowed {
            self.even_at = even_at;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_average() {
        let (rate, start) = (Rate::new(10, 20), Instant::now());
        let mut allowance = Allowance::new(start);
        assert!(allowance.take(rate, 20, start));
        assert!(!allowance.take(rate, 1, start));
        let later = start + Duration::from_millis(100);
        assert!(allowance.take(rate, 1, later) && !allowance.take(rate, 1, later));
        // However long it waits, a burst is all it gets.
        let much_later = start + Duration::from_secs(3600);
        assert!(!allowance.take(rate, 21, much_later) && allowance.take(rate, 20, much_later));
    }

    #[test]
    fn over_time_it_is_the_average_to_the_message() {
        let (rate, start) = (Rate::new(100, 5), Instant::now());
        let mut allowance = Allowance::new(start);
        let taken =
            (0..10_000_u64).filter(|ms| allowance.take(rate, 1, start + Duration::from_millis(*ms))).count();
        assert!((1000..=1005).contains(&taken), "{taken}");
    }

    #[test]
    fn no_limit() {
        let (rate, now) = (Rate::new(0, 0), Instant::now());
        assert!(Allowance::new(now).take(rate, u32::MAX, now));
    }
}
