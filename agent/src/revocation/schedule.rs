//! When a source is asked next. Pure: time, bounds and a number that looks random are arguments.

use jiff::{SignedDuration, Timestamp};

use crate::lifecycle::plus;

/// Part of an answer's validity after which it is refreshed, before the spread: half, as RFC 6960's caches and
/// certmagic do, so that a responder may be down for the other half.
const REFRESH_AT: f64 = 0.5;

/// Questions of answers that came together are spread over this part of the validity.
const SPREAD: f64 = 0.1;

/// Waits vary by this part either way.
const JITTER: f64 = 0.2;

/// The longest wait after an error: an outage of an hour is looked at again within one.
const LONGEST_AFTER_ERROR: SignedDuration = SignedDuration::from_hours(1);

/// How often a source is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Never sooner after an answer or an error.
    pub min: SignedDuration,
    /// Never later after an answer, however long it is good for: what was revoked since would not be seen.
    pub max: SignedDuration,
}

/// After an answer that is good from `this_update` to `next_update`. `random` is in 0..1.
#[must_use]
pub fn after_answer(
    now: Timestamp,
    this_update: Timestamp,
    next_update: Timestamp,
    bounds: &Bounds,
    random: f64,
) -> Timestamp {
    let validity = next_update.duration_since(this_update);
    let half = plus(this_update, validity.mul_f64(REFRESH_AT + SPREAD * (random - 0.5)));
    let latest = plus(now, bounds.max.mul_f64(1.0 - JITTER * random));
    half.min(latest).max(plus(now, bounds.min))
}

/// After `errors` errors in a row: the shortest wait, doubled each time, a fifth more or less. Never later than the
/// end of the answer that still holds.
#[must_use]
pub fn after_error(
    now: Timestamp,
    errors: u32,
    holds_until: Option<Timestamp>,
    bounds: &Bounds,
    random: f64,
) -> Timestamp {
    let doubled = bounds.min.saturating_mul(1 << errors.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST_AFTER_ERROR.max(bounds.min)).mul_f64(1.0 + JITTER * (2.0 * random - 1.0));
    let at = plus(now, wait);
    // One more look just before the end, unless it has been or is too near.
    match holds_until.map(|end| plus(end, -bounds.min)) {
        Some(last) if last > plus(now, bounds.min) => at.min(last),
        _ => at,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { min: SignedDuration::from_mins(1), max: SignedDuration::from_hours(6) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn half_of_the_validity_within_the_bounds() {
        let (this, next) = (at(0), at(3600));
        assert_eq!(after_answer(at(0), this, next, &BOUNDS, 0.5), at(1800));
        assert_eq!(after_answer(at(0), this, next, &BOUNDS, 0.0), at(1620));
        // A week: six hours less up to a fifth.
        assert_eq!(after_answer(at(0), this, at(7 * 86_400), &BOUNDS, 0.0), at(6 * 3600));
        // An answer that came late in its life is not asked for again at once.
        assert_eq!(after_answer(at(3500), this, next, &BOUNDS, 0.5), at(3560));
    }

    #[test]
    fn errors_double_the_wait_up_to_an_hour() {
        let waits: Vec<_> =
            (1..=8).map(|errors| after_error(at(0), errors, None, &BOUNDS, 0.5).as_second() / 60).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after_error(at(0), u32::MAX, None, &BOUNDS, 0.5), at(3600));
        // The answer that holds ends in half an hour: one more look before.
        assert_eq!(after_error(at(0), 8, Some(at(1800)), &BOUNDS, 0.5), at(1740));
    }

    proptest! {
        #[test]
        fn never_outside_of_the_bounds(
            now in 0_i64..10_000_000,
            age in 0_i64..1_000_000,
            validity in 0_i64..10_000_000,
            errors in 0_u32..100,
            random in 0.0_f64..1.0,
        ) {
            let this = at(now - age);
            let next = after_answer(at(now), this, plus(this, SignedDuration::from_secs(validity)), &BOUNDS, random);
            prop_assert!(next >= plus(at(now), BOUNDS.min) && next <= plus(at(now), BOUNDS.max));
            let next = after_error(at(now), errors, Some(at(now + validity)), &BOUNDS, random);
            prop_assert!(next.duration_since(at(now)) >= BOUNDS.min.mul_f64(0.79));
            prop_assert!(next.duration_since(at(now)) <= LONGEST_AFTER_ERROR.mul_f64(1.21));
        }
    }
}
