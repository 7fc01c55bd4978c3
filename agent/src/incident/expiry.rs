//! When the end of validity becomes an incident.

use jiff::{SignedDuration, Timestamp};

use super::Kind;

/// With so small a part of the margin between renewal and end of validity left, something keeps going wrong.
const PART_OF_MARGIN: f64 = 0.25;

/// Never with more of the lifetime left than this: a CA's window may lie as late as its last tenth
/// (`lifecycle::renewal`), which is no trouble yet.
const PART_OF_LIFETIME: f64 = 1.0 / 12.0;

/// Failures in a row without any certificate before people are told: the back-off has tried for 10 minutes.
const FAILURES_WITHOUT: u32 = 3;

/// What the end of validity of a certificate amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong, if anything is.
    pub kind: Option<Kind>,
    /// When to look again by the clock alone.
    pub next: Option<Timestamp>,
}

/// Judges a generation that is valid from `not_before` to `not_after`, and is renewed when `renew_at` of its
/// lifetime is over. Whatever succeeds replaces it, so as long as it is here nothing has.
#[must_use]
pub fn judge(now: Timestamp, not_before: Timestamp, not_after: Timestamp, renew_at: f64) -> Verdict {
    if now >= not_after {
        return Verdict { kind: Some(Kind::Expired), next: None };
    }
    let lifetime = not_after.duration_since(not_before);
    let part = ((1.0 - renew_at) * PART_OF_MARGIN).clamp(0.0, PART_OF_LIFETIME);
    let soon = not_after.checked_sub(lifetime.mul_f64(part)).unwrap_or(Timestamp::MIN);
    if now >= soon {
        return Verdict { kind: Some(Kind::ExpiresSoon), next: Some(not_after) };
    }
    Verdict { kind: None, next: Some(soon) }
}

/// The same where there is no certificate at all, after so many failures in a row.
#[must_use]
pub fn judge_missing(failures: u32) -> Option<Kind> {
    (failures >= FAILURES_WITHOUT).then_some(Kind::ExpiresSoon)
}

/// What is left, never less than nothing.
#[must_use]
pub fn left(now: Timestamp, not_after: Timestamp) -> SignedDuration {
    not_after.duration_since(now).max(SignedDuration::ZERO)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_quarter_of_the_margin_is_left() {
        // 90 days, renewed after 60: the margin is 30, a quarter of it 7.5.
        let judge = |second| judge(at(second), at(0), at(90 * DAY), 2.0 / 3.0);
        let soon = 90 * DAY - 7 * DAY - DAY / 2;
        assert_eq!(judge(0), Verdict { kind: None, next: Some(at(soon)) });
        assert_eq!(judge(soon - 1).kind, None);
        assert_eq!(judge(soon), Verdict { kind: Some(Kind::ExpiresSoon), next: Some(at(90 * DAY)) });
        assert_eq!(judge(90 * DAY - 1).kind, Some(Kind::ExpiresSoon));
        assert_eq!(judge(90 * DAY), Verdict { kind: Some(Kind::Expired), next: None });
    }

    #[test]
    fn without_any_certificate_the_third_failure_counts() {
        assert_eq!(judge_missing(2), None);
        assert_eq!(judge_missing(3), Some(Kind::ExpiresSoon));
    }

    proptest! {
        #[test]
        fn looking_when_it_says_misses_nothing(
            lifetime in 60..200 * DAY,
            renew_at in 0.01..0.95_f64,
            start in 0..10_000_i64,
        ) {
            let (from, end) = (at(start), at(start + lifetime));
            let mut now = from;
            let mut seen = Vec::new();
            loop {
                let verdict = judge(now, from, end, renew_at);
                seen.extend(verdict.kind);
                let Some(next) = verdict.next else { break };
                prop_assert!(next > now);
                // Nothing changes in between.
                let before = next.checked_sub(SignedDuration::from_nanos(1)).unwrap().max(now);
                prop_assert_eq!(judge(before, from, end, renew_at).kind, verdict.kind);
                now = next;
            }
            prop_assert_eq!(seen, [Kind::ExpiresSoon, Kind::Expired]);
            // A window in the last tenth (the CA's last call) is not yet alarming.
            let last_call = at(start + lifetime - lifetime / 10);
            prop_assert_eq!(judge(last_call, from, end, renew_at).kind, None);
        }
    }
}
