//! What a CA's Date header says of our clock. The header came over a verified connection, so it is as good as
//! the CA's own clock, to the second and the time of one exchange.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{AGE, DATE};
use jiff::{SignedDuration, Timestamp};

use crate::clock::Skew;

/// An exchange that took longer says too little of the instant at which the CA looked at its clock.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(10);

/// The last word of a CA.
#[derive(Debug, Default)]
pub(super) struct CaTime(Mutex<Option<Skew>>);

impl CaTime {
    /// Notes the Date of an answer that came at `now` to a request that took so long.
    pub(super) fn heard(&self, headers: &HeaderMap, now: Timestamp, took: Duration) {
        // What a cache hands out has the date of its making.
        if took > LONGEST_EXCHANGE || headers.contains_key(AGE) {
            return;
        }
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let parsed =
            date.and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        let Some(theirs) = parsed else { return };
        let ahead: SignedDuration = now.duration_since(theirs);
        let skew = Skew { ahead, measured: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
    }

    /// The last word, if there was one.
    pub(super) fn skew(&self) -> Option<Skew> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_a_fresh_date_counts() {
        let time = CaTime::default();
        let now: Timestamp = "2026-11-23T10:10:00Z".parse().unwrap();
        let quick = Duration::from_millis(20);
        let mut headers = HeaderMap::new();
        time.heard(&headers, now, quick);
        headers.insert(DATE, HeaderValue::from_static("tomorrow"));
        time.heard(&headers, now, quick);
        headers.insert(DATE, HeaderValue::from_static("Mon, 23 Nov 2026 10:00:00 GMT"));
        time.heard(&headers, now, Duration::from_secs(60));
        headers.insert(AGE, HeaderValue::from_static("300"));
        time.heard(&headers, now, quick);
        assert_eq!(time.skew(), None);
        headers.remove(AGE);
        time.heard(&headers, now, quick);
        assert_eq!(time.skew().unwrap().ahead, SignedDuration::from_mins(10));
    }
}
