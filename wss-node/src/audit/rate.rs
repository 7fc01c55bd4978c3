//! How many decisions are told, and how many were not. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::{Pace, Progress};

/// What was left out is told at the earliest after this time, in sum.
const LEAST: Duration = Duration::from_millis(900);

/// Lets through so many decisions in a second, and counts the others by their word.
#[derive(Debug)]
pub(super) struct Rate {
    /// `None`: no limit.
    pace: Option<Pace>,
    progress: Progress,
    left_out: BTreeMap<&'static str, u64>,
    /// When the first of them was.
    since: Option<Instant>,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        let pace = Pace::new(per_second, per_second);
        Self { pace, progress: Progress::default(), left_out: BTreeMap::new(), since: None }
    }

    /// Whether this one is told.
    pub(super) fn admit(&mut self, what: &'static str, now: Instant) -> bool {
        if self.pace.is_none_or(|pace| self.progress.step(pace, now).is_ok()) {
            return true;
        }
        *self.left_out.entry(what).or_default() += 1;
        self.since.get_or_insert(now);
        false
    }

    /// What was left out and how long that lasted, once it is worth a line.
    pub(super) fn take_left_out(&mut self, now: Instant) -> Vec<(&'static str, u64, Duration)> {
        let Some(during) = self.since.map(|since| now.saturating_duration_since(since)) else {
            return Vec::new();
        };
        if during < LEAST {
            return Vec::new();
        }
        self.since = None;
        std::mem::take(&mut self.left_out).into_iter().map(|(what, count)| (what, count, during)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_told_once_in_sum() {
        let (mut rate, start) = (Rate::new(10), Instant::now());
        let told = (0..50).filter(|_| rate.admit("origin_refused", start)).count();
        assert_eq!(told, 10);
        assert!(!rate.admit("token_refused", start));
        assert!(rate.take_left_out(start + LEAST / 2).is_empty());
        let later = start + Duration::from_secs(1);
        let second = Duration::from_secs(1);
        assert_eq!(rate.take_left_out(later), [("origin_refused", 40, second), ("token_refused", 1, second)]);
        assert!(rate.take_left_out(later + LEAST).is_empty());
        assert!(rate.admit("origin_refused", later));
    }
}
