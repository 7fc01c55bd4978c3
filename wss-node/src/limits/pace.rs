//! How often something may happen: the generic cell rate algorithm, which needs one instant for each client.

use std::time::{Duration, Instant};

/// So many in a second on average, and so many at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two, on average.
    between: Duration,
    /// How far ahead of the average a client may be.
    ahead: Duration,
}

impl Pace {
    /// `None` for a pace without a limit: `per_second` is 0. At least one may come at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Option<Self> {
        let between = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { between, ahead: between.saturating_mul(burst.max(1)) })
    }
}

/// How far one client is ahead of the average.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// When it is no longer ahead; `None`: it never was.
    even_at: Option<Instant>,
}

impl Progress {
    /// One more at `now`.
    ///
    /// # Errors
    /// It is one too many; the next may come after so long.
    pub(crate) fn step(&mut self, pace: Pace, now: Instant) -> Result<(), Duration> {
        let even_at = self.even_at.map_or(now, |at| at.max(now)) + pace.between;
        let ahead = even_at.saturating_duration_since(now);
        if ahead > pace.ahead {
            return Err(ahead.saturating_sub(pace.ahead));
        }
        self.even_at = Some(even_at);
        Ok(())
    }

    /// Whether there is nothing to be remembered.
    pub(crate) fn is_even(&self, now: Instant) -> bool {
        self.even_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_and_then_the_average() {
        let pace = Pace::new(10, 3).unwrap();
        let start = Instant::now();
        let mut progress = Progress::default();
        for _ in 0..3 {
            progress.step(pace, start).unwrap();
        }
        assert_eq!(progress.step(pace, start).unwrap_err(), Duration::from_millis(100));
        assert!(!progress.is_even(start + Duration::from_millis(299)));
        progress.step(pace, start + Duration::from_millis(100)).unwrap();
        progress.step(pace, start + Duration::from_millis(150)).unwrap_err();
        assert!(progress.is_even(start + Duration::from_millis(400)));
    }

    #[test]
    fn zero_is_no_limit_and_a_burst_of_zero_lets_in_one() {
        assert!(Pace::new(0, 5).is_none());
        let mut progress = Progress::default();
        assert!(progress.step(Pace::new(1, 0).unwrap(), Instant::now()).is_ok());
    }

    proptest! {
        /// In no window do more get in than the burst and the average of the window.
        #[test]
        fn never_more_than_it_says(
            per_second in 1u32..50,
            burst in 1u32..20,
            gaps in prop::collection::vec(0u64..400, 1..200),
        ) {
            let pace = Pace::new(per_second, burst).unwrap();
            let start = Instant::now();
            let mut progress = Progress::default();
            let (mut at, mut taken) = (0, Vec::new());
            for gap in gaps {
                at += gap;
                if progress.step(pace, start + Duration::from_millis(at)).is_ok() {
                    taken.push(at);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + (to - from) as f64 / 1000.0 * f64::from(per_second);
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
