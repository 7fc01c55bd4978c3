//! How long to wait after failures: calm while there is margin, sooner when the end of validity is near.

use jiff::SignedDuration;

use super::memory::Trouble;
use crate::issuer::ErrorClass;

const fn minutes(all: [i64; 4]) -> [SignedDuration; 4] {
    [
        SignedDuration::from_mins(all[0]),
        SignedDuration::from_mins(all[1]),
        SignedDuration::from_mins(all[2]),
        SignedDuration::from_mins(all[3]),
    ]
}

/// Let's Encrypt's advice for clients: after 1 minute, 10 minutes, 100 minutes, then daily
/// (<https://letsencrypt.org/docs/integration-guide/#retrying-failures>).
const ADVISED: [SignedDuration; 4] = minutes([1, 10, 100, 1440]);

/// Our own disk or configuration: no CA is asked, so looking again costs nobody anything.
const OURS: [SignedDuration; 4] = minutes([1, 5, 15, 60]);

/// An account is mended by people; asking does not help them.
const ACCOUNT: [SignedDuration; 4] = minutes([10, 100, 1440, 1440]);

/// A CA that is busy or has a limit, and does not say for how long.
const CA: [SignedDuration; 4] = minutes([15, 60, 360, 1440]);

/// No wait may use up more than this part of what is left of the validity, so that several attempts fit.
const SHARE_OF_REMAINING: i32 = 4;

/// Never sooner, whatever is left: the floor that makes a tight loop impossible.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);

/// With nothing valid to serve, never later than this. Let's Encrypt allows 5 failed authorizations per
/// name and hour (<https://letsencrypt.org/docs/rate-limits/>); this makes 4.
const LONGEST_WITHOUT_CERTIFICATE: SignedDuration = SignedDuration::from_mins(15);

/// A CA's Retry-After is obeyed up to a day; a longer one is a mistake of the CA's.
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// The wait after the last failure of `trouble`. `remaining` is what was left of the current generation's
/// validity at that failure; `None` or less than zero if there was nothing valid.
#[must_use]
pub fn retry_delay(trouble: &Trouble, remaining: Option<SignedDuration>, seed: u64) -> SignedDuration {
    let failures = trouble.failures;
    // The CA no longer knows the order: a new one may be placed at once (but not twice in a row).
    if trouble.class == ErrorClass::OrderLost && failures == 1 {
        return SHORTEST;
    }
    let delays = match trouble.class {
        ErrorClass::Transient | ErrorClass::Identifier | ErrorClass::Refused | ErrorClass::OrderLost => {
            &ADVISED
        }
        ErrorClass::Ours => &OURS,
        ErrorClass::Account => &ACCOUNT,
        ErrorClass::Ca => &CA,
    };
    let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(delays.len() - 1);
    let remaining = remaining.filter(SignedDuration::is_positive);
    let longest = remaining.map_or(LONGEST_WITHOUT_CERTIFICATE, |left| left / SHARE_OF_REMAINING);
    let wait = delays[step].min(longest).max(SHORTEST);
    // Up to a tenth more, by the seed: those that failed together must not come back together.
    let jittered = wait + wait.mul_f64(0.1 * fraction(seed, u64::from(failures)));
    let asked = trouble
        .retry_after
        .and_then(|after| SignedDuration::try_from(after).ok())
        .unwrap_or(SignedDuration::ZERO)
        .min(LONGEST_RETRY_AFTER);
    // A wait that outlasts the certificate helps nobody: half of what is left, then half of that, ...
    let asked = match remaining {
        Some(left) if asked >= left => (left / 2).max(LONGEST_WITHOUT_CERTIFICATE).min(asked),
        _ => asked,
    };
    jittered.max(asked)
}

/// A number in 0..1 that looks random and depends on nothing but its arguments (SplitMix64).
#[must_use]
pub fn fraction(seed: u64, salt: u64) -> f64 {
    let mut z = seed.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 53 bits are what an f64 holds exactly.
    (z >> 11) as f64 / (1_u64 << 53) as f64
}
