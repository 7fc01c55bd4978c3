//! How long a session or a subscription may go on without a refresh, as clients are told.

use jiff::Timestamp;

/// Whether it ends, and in how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) expires: bool,
    /// At least one if it ends: SDKs take 0 for no end at all.
    pub(super) ttl: u32,
}

impl Life {
    /// Until an end; `None`: it has none.
    pub(super) fn until(end: Option<Timestamp>, now: Timestamp) -> Self {
        let Some(end) = end else { return Self { expires: false, ttl: 0 } };
        let left = end.duration_since(now).as_secs().max(1);
        Self { expires: true, ttl: u32::try_from(left).unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_never_no_end() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let ends = |ttl| Life { expires: true, ttl };
        assert_eq!(Life::until(Some(second(100)), second(40)), ends(60));
        assert_eq!(Life::until(Some(second(40)), second(100)), ends(1));
        assert_eq!(Life::until(Some(Timestamp::MAX), second(0)), ends(u32::MAX));
        assert_eq!(Life::until(None, second(0)), Life { expires: false, ttl: 0 });
    }
}
