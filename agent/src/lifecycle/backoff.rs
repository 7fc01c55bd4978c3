//! How long to wait after failures: calm while there is margin, sooner when the end of validity is near.

use jiff::SignedDuration;

use super::LastFailure;
use crate::issuer::ErrorClass;

/// Let's Encrypt's advice for clients: after 1 minute, 10 minutes, 100 minutes, then daily
/// (<https://letsencrypt.org/docs/integration-guide/#retrying-failures>).
const DELAYS: [SignedDuration; 4] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(10),
    SignedDuration::from_mins(100),
    SignedDuration::from_hours(24),
];

/// No wait may use up more than this part of what is left of the validity, so that several attempts fit.
const SHARE_OF_REMAINING: i32 = 4;

/// Never sooner, whatever is left: the floor that makes a tight loop impossible.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);

/// With nothing valid to serve, never later than this. Let's Encrypt allows 5 failed authorizations per
/// name and hour (<https://letsencrypt.org/docs/rate-limits/>); this makes 4.
const LONGEST_WITHOUT_CERTIFICATE: SignedDuration = SignedDuration::from_mins(15);

/// A CA's Retry-After is obeyed up to a day; a longer one is a mistake of the CA's.
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Failures in a row before the next issuer gets its turn.
pub const ATTEMPTS_PER_ISSUER: u32 = 3;

/// The wait after the `failures`-th failure in a row. `remaining` is what was left of the current
/// generation's validity at that failure; `None` if there is none.
#[must_use]
pub fn retry_delay(
    failures: u32,
    last: &LastFailure,
    remaining: Option<SignedDuration>,
    seed: u64,
) -> SignedDuration {
    // The CA no longer knows the order: a new one may be placed at once (but not twice in a row).
    if last.class == ErrorClass::OrderLost && failures == 1 {
        return SHORTEST;
    }
    let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(DELAYS.len() - 1);
    let calm = DELAYS[step];
    let longest = match remaining {
        Some(left) if left.is_positive() => left / SHARE_OF_REMAINING,
        _ => LONGEST_WITHOUT_CERTIFICATE,
    };
    let wait = calm.min(longest).max(SHORTEST);
    // Up to a tenth more, by the seed: those that failed together must not come back together.
    let jittered = wait + wait.mul_f64(0.1 * fraction(seed, u64::from(failures)));
    let asked = last
        .retry_after
        .and_then(|after| SignedDuration::try_from(after).ok())
        .unwrap_or(SignedDuration::ZERO)
        .min(LONGEST_RETRY_AFTER);
    jittered.max(asked)
}

/// A number in 0..1 that looks random and depends on nothing but its arguments (SplitMix64).
pub(super) fn fraction(seed: u64, salt: u64) -> f64 {
    let mut z = seed.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 53 bits are what an f64 holds exactly.
    (z >> 11) as f64 / (1_u64 << 53) as f64
}
