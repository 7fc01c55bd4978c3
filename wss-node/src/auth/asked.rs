//! When a `kid` that nobody knows is worth a question to the issuer. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two questions about unknown keys: whoever makes up names must not make us ask (NODE.md section 5, row 10).
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// Names remembered as absent.
const MAX_ABSENT: usize = 1024;

/// What was asked, and what was found to be absent.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The number of the fetch that was asked for last, and when it was.
    last: Option<(u64, Instant)>,
    /// Until when a name need not be asked for again.
    absent: HashMap<String, Instant>,
}

/// What to do about an unknown name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The issuer does not know it either.
    Absent,
    /// It may be asked for after this time.
    Later(Duration),
    /// Fetch number so and so will tell; `start`: it is to be made now.
    Await { fetch: u64, start: bool },
}

impl Asked {
    /// `started` and `finished`: numbers of the last fetch that began, and of the last that ended.
    pub(super) fn step(&mut self, kid: &str, started: u64, finished: u64, now: Instant) -> Step {
        if self.absent.get(kid).is_some_and(|until| *until > now) {
            return Step::Absent;
        }
        if let Some((fetch, at)) = self.last {
            if fetch > finished {
                return Step::Await { fetch, start: false };
            }
            let since = now.saturating_duration_since(at);
            if since < PAUSE {
                return Step::Later(PAUSE - since);
            }
        }
        let fetch = started + 1;
        self.last = Some((fetch, now));
        Step::Await { fetch, start: true }
    }

    /// A fetch that was waited for had no such key.
    pub(super) fn is_absent(&mut self, kid: &str, now: Instant) {
        if self.absent.len() >= MAX_ABSENT {
            self.absent.retain(|_, until| *until > now);
        }
        if self.absent.len() < MAX_ABSENT {
            self.absent.insert(kid.to_owned(), now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_in_thirty_seconds_whatever_is_made_up() {
        let (mut asked, begin) = (Asked::default(), Instant::now());
        let (mut started, mut finished, mut fetches) = (1, 1, 0);
        for second in 0..300_u64 {
            let now = begin + Duration::from_secs(second);
            for name in 0..50 {
                let kid = format!("{second}-{name}");
                match asked.step(&kid, started, finished, now) {
                    Step::Await { fetch, start } => {
                        assert_eq!(fetch, started + u64::from(start));
                        if start {
                            fetches += 1;
                            started += 1;
                        } else {
                            asked.is_absent(&kid, now);
                        }
                    }
                    Step::Later(wait) => assert!(wait <= PAUSE),
                    Step::Absent => unreachable!("a name that was never asked for"),
                }
            }
            finished = started;
        }
        assert_eq!(fetches, 10);
    }

    #[test]
    fn the_absent_are_remembered_for_a_while_and_not_without_limit() {
        let (mut asked, now) = (Asked::default(), Instant::now());
        for name in 0..2 * MAX_ABSENT {
            asked.is_absent(&name.to_string(), now);
        }
        assert_eq!(asked.absent.len(), MAX_ABSENT);
        assert_eq!(asked.step("0", 1, 1, now), Step::Absent);
        assert_eq!(asked.step("0", 1, 1, now + PAUSE), Step::Await { fetch: 2, start: true });
        asked.is_absent("another", now + PAUSE);
        assert_eq!(asked.absent.len(), 1);
    }

    #[test]
    fn who_comes_while_one_asks_waits_for_the_same_answer() {
        let (mut asked, now) = (Asked::default(), Instant::now());
        // One that has begun already may have been answered before the key was there.
        assert_eq!(asked.step("a", 5, 4, now), Step::Await { fetch: 6, start: true });
        assert_eq!(asked.step("b", 6, 5, now), Step::Await { fetch: 6, start: false });
        assert_eq!(asked.step("c", 6, 6, now), Step::Later(PAUSE));
    }
}
