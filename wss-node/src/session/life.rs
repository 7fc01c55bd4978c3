//! How long a session or a subscription may go on without a refresh.

use jiff::Timestamp;

/// Seconds until then; at least one, for SDKs take 0 for no end at all.
pub(super) fn seconds_until(end: Timestamp, now: Timestamp) -> u32 {
    u32::try_from(end.duration_since(now).as_secs().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_no_end() {
        let second = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(seconds_until(second(100), second(40)), 60);
        assert_eq!(seconds_until(second(40), second(100)), 1);
        assert_eq!(seconds_until(Timestamp::MAX, second(0)), u32::MAX);
    }
}
