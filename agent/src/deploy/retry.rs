//! When a target is tried again. Pure; chance comes in as an argument.

use std::time::Duration;

/// A reload that came a moment too early works a moment later.
const FIRST: Duration = Duration::from_secs(1);
/// A server that comes up after a long time has its certificate within five minutes.
const LONGEST: Duration = Duration::from_mins(5);
/// Targets that failed for the same reason do not come back together.
const SPREAD: f64 = 0.2;

/// The pause after so many failures in a row (1 for the first): doubling from a second to five minutes, shortened by
/// up to a fifth by `chance` (0 to 1). It never ends: there is no last attempt.
pub(super) fn pause(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST).mul_f64(1.0 - SPREAD * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes_and_never_ends() {
        let seconds: Vec<_> = (1..=10).map(|failures| pause(failures, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(pause(u32::MAX, 0.0), LONGEST);
        assert_eq!(pause(u32::MAX, 1.0), Duration::from_mins(4));
        assert_eq!(pause(0, 7.0), Duration::from_millis(800));
    }
}
