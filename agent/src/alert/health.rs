//! How a receiver is doing, and when that is an incident of its own.

use std::time::{Duration, Instant};

/// A receiver that is restarted is back within this: only what fails for longer is told.
const FAILING_FOR: Duration = Duration::from_mins(5);
/// A loss cannot be mended: it is told for so long, or until something gets through.
const LOSS_TOLD_FOR: Duration = Duration::from_hours(1);

/// What is known of one receiver. Pure: instants come in as arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// Since when nothing has gone through; `None`: the last attempt was good.
    failing: Option<Instant>,
    /// Attempts that failed in a row.
    pub(super) failures: u32,
    /// What went wrong last.
    error: String,
    /// When a message was given up last, with nothing taken since.
    lost: Option<Instant>,
    /// Its secret cannot be used.
    unusable: bool,
    /// Messages that were given up, since the start.
    pub(super) dropped: u64,
    /// Requests that were taken, since the start.
    pub(super) taken: u64,
    /// Requests that were not, since the start.
    pub(super) refused: u64,
}

impl Health {
    /// A message, or a repetition, was taken.
    pub(super) fn good(&mut self) {
        let Self { dropped, taken, refused, .. } = *self;
        *self = Self { dropped, refused, taken: taken + 1, ..Self::default() };
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Instant, why: String) {
        self.failing.get_or_insert(now);
        self.refused += 1;
        self.failures = self.failures.saturating_add(1);
        self.error = why;
    }

    /// A message was given up.
    pub(super) fn dropped(&mut self, now: Instant, why: String) {
        self.dropped += 1;
        self.lost = Some(now);
        self.error = why;
        self.failures = 0;
    }

    /// Its secret can be used, or why not.
    pub(super) fn checked(&mut self, result: Result<(), String>) {
        self.unusable = result.is_err();
        if let Err(why) = result {
            self.error = why;
        }
    }

    /// There is nothing that it could be told.
    pub(super) fn idle(&mut self) {
        self.failing = None;
        self.failures = 0;
    }

    /// What to say of it, if it is in trouble.
    pub(super) fn trouble(&self, now: Instant, waiting: usize) -> Option<String> {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let failing = since(self.failing).is_some_and(|long| long >= FAILING_FOR);
        let lost = since(self.lost).is_some_and(|ago| ago < LOSS_TOLD_FOR);
        if !failing && !lost && !self.unusable {
            return None;
        }
        let dropped = match self.dropped {
            0 => String::new(),
            count => format!(", {count} given up since the start"),
        };
        Some(format!("{waiting} message(s) wait{dropped}; the last error: {}", self.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_outage_is_no_incident_and_a_long_one_is_until_it_ends() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::default();
        assert_eq!(health.trouble(start, 0), None);
        for second in [0, 100, 299] {
            health.failed(later(second), "refused".to_owned());
            assert_eq!(health.trouble(later(second), 2), None);
        }
        let told = health.trouble(later(300), 2);
        assert_eq!(told.as_deref(), Some("2 message(s) wait; the last error: refused"));
        health.good();
        assert_eq!((health.trouble(later(900), 0), health.failures), (None, 0));
        health.failed(later(1000), "again".to_owned());
        assert_eq!(health.trouble(later(1299), 0), None, "counted anew");
    }

    #[test]
    fn a_loss_is_told_at_once() {
        let now = Instant::now();
        let mut health = Health::default();
        health.dropped(now, "it answers 400".to_owned());
        let told = health.trouble(now, 0);
        let expected = "0 message(s) wait, 1 given up since the start; the last error: it answers 400";
        assert_eq!(told.as_deref(), Some(expected));
        assert!(health.trouble(now + LOSS_TOLD_FOR, 0).is_none(), "not for ever");
        health.good();
        assert_eq!((health.trouble(now, 0), health.dropped), (None, 1));
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_told_until_it_can() {
        let now = Instant::now();
        let mut health = Health::default();
        health.checked(Err("no key".to_owned()));
        assert!(health.trouble(now, 0).unwrap_or_default().contains("no key"));
        health.checked(Ok(()));
        assert_eq!(health.trouble(now, 0), None);
    }
}
