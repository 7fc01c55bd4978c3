//! What an attempt to send a message came to, and when the next one is. Pure.

use std::time::Duration;

use crate::lifecycle::backoff::fraction;

/// After the first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// So long at most, unless the receiver asks for more.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// A receiver's Retry-After is obeyed up to this: alerts that come a day late are of no use.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An HTTP response.
    Response {
        /// Its status.
        status: u16,
        /// Its Retry-After.
        retry_after: Option<Duration>,
        /// The beginning of its body, in one line.
        body: String,
    },
    /// None: unreachable, timed out, broken off.
    Nothing(String),
    /// Nothing was sent: a secret of ours cannot be read.
    NotSent(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken.
    Sent,
    /// Another attempt may succeed.
    Again {
        /// What went wrong.
        why: String,
        /// How long the receiver wants to be left alone.
        asked: Option<Duration>,
    },
    /// This message will never be taken.
    Never(String),
}

/// Judges an answer. A message is given up only where the receiver finds fault with the message itself; a wrong
/// URL or secret (redirects, 401, 403, 404, 405, 407) is mended by people, and the message is good then.
#[must_use]
pub(super) fn judge(answer: Answer) -> Verdict {
    let (status, retry_after, body) = match answer {
        Answer::Response { status, retry_after, body } => (status, retry_after, body),
        Answer::Nothing(why) | Answer::NotSent(why) => return Verdict::Again { why, asked: None },
    };
    let why = format!("it answers {status}: {body}");
    match status {
        200..=299 => Verdict::Sent,
        // Too early, too slow, too much: RFC 8470, RFC 9110, RFC 6585.
        401 | 403 | 404 | 405 | 407 | 408 | 425 | 429 => Verdict::Again { why, asked: retry_after },
        400..=499 => Verdict::Never(why),
        _ => Verdict::Again { why, asked: retry_after },
    }
}

/// How long to wait after that many failures in a row: doubling, and by `seed` up to half less, so that those
/// that failed together do not come back together.
#[must_use]
pub(super) fn wait(failures: u32, asked: Option<Duration>, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    let wait = whole.mul_f64(1.0 - 0.5 * fraction(seed, u64::from(failures)));
    wait.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(status: u16) -> Answer {
        Answer::Response { status, retry_after: Some(Duration::from_secs(7)), body: "text".to_owned() }
    }

    #[test]
    fn only_what_the_receiver_finds_fault_with_is_given_up() {
        for status in [200, 202, 204] {
            assert_eq!(judge(response(status)), Verdict::Sent);
        }
        for status in [301, 401, 403, 404, 407, 408, 425, 429, 500, 502, 503, 504, 599] {
            let asked = Some(Duration::from_secs(7));
            let why = format!("it answers {status}: text");
            assert_eq!(judge(response(status)), Verdict::Again { why, asked });
        }
        for status in [400, 402, 409, 410, 413, 415, 422, 451] {
            assert_eq!(judge(response(status)), Verdict::Never(format!("it answers {status}: text")));
        }
        let why = "connection refused".to_owned();
        assert_eq!(judge(Answer::Nothing(why.clone())), Verdict::Again { why, asked: None });
    }

    proptest! {
        #[test]
        fn waits_grow_stay_within_bounds_and_obey(failures in 1..1000_u32, seed: u64, asked in 0..10_000_u64) {
            let plain = wait(failures, None, seed);
            prop_assert!(plain >= FIRST_WAIT / 2 && plain <= LONGEST_WAIT);
            if failures >= 10 {
                prop_assert!(plain >= LONGEST_WAIT / 2);
            }
            let asked = Duration::from_secs(asked);
            let obedient = wait(failures, Some(asked), seed);
            prop_assert_eq!(obedient, plain.max(asked.min(LONGEST_ASKED)));
        }
    }
}
