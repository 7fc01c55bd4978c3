//! When each session is closed. Pure: instants, measures and chance are arguments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Sessions in a second, before any handshake was measured.
const UNMEASURED: f64 = 1000.0;
/// A machine so busy that a handshake seems to take longer than this does not say what others can do.
const LEAST: f64 = 50.0;

/// At which rate sessions are closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// In a second.
    pub(crate) rate: f64,
    /// From the first to the last.
    pub(crate) takes: Duration,
    /// What other nodes are thought to take, if it is less than `rate`: the window was too short for it.
    pub(crate) exceeds: Option<f64>,
}

/// The pace for `sessions` that must all be closed within `window`. It is what other nodes take easily: `configured` in a
/// second, or else half of what this machine's processors can do, where a handshake costs one of them `cost`. If that
/// would take longer than the window, the window wins: it is what was promised to whoever waits for the node to end.
pub(crate) fn pace(
    sessions: u64,
    window: Duration,
    configured: u32,
    cost: Option<Duration>,
    processors: usize,
) -> Pace {
    let easy = match (configured, cost) {
        (0, None) => UNMEASURED,
        (0, Some(cost)) => (processors as f64 / cost.as_secs_f64().max(1e-9) / 2.0).max(LEAST),
        (configured, _) => f64::from(configured),
    };
    let needed = sessions as f64 / window.as_secs_f64().max(1e-3);
    let rate = easy.max(needed);
    let takes = Duration::from_secs_f64(sessions as f64 / rate);
    Pace { rate, takes, exceeds: (needed > easy).then_some(easy) }
}

/// A place in time for each session, in random order.
#[derive(Debug)]
pub(crate) struct Schedule {
    begins: Instant,
    between: Duration,
    sessions: u64,
    /// Places are taken in steps of this, which has no divisor in common with `sessions`, so that each is taken once.
    step: u64,
    first: u64,
    asked: AtomicU64,
}

impl Schedule {
    /// For `sessions` from `begins` on; `chance` decides the order.
    pub(crate) fn new(begins: Instant, sessions: u64, pace: Pace, chance: u64) -> Self {
        let sessions = sessions.max(1);
        // About the golden section of it, moved by chance: neighbours come far apart.
        let wanted = (sessions as f64 * 0.618) as u64 + chance % (sessions / 8 + 1);
        let step = (wanted.max(1)..).find(|step| divisor(*step, sessions) == 1).unwrap_or(1);
        Self {
            begins,
            between: Duration::from_secs_f64(1.0 / pace.rate),
            sessions,
            step: step % sessions,
            first: chance % sessions,
            asked: AtomicU64::new(0),
        }
    }

    /// When the session that asks is to be closed: each time another place. Those who come beyond the number, because they
    /// began at the last moment, go last.
    pub(crate) fn next(&self) -> Instant {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let place = if asked < self.sessions {
            let place = u128::from(asked) * u128::from(self.step) + u128::from(self.first);
            u64::try_from(place % u128::from(self.sessions)).unwrap_or_default()
        } else {
            self.sessions
        };
        self.begins + self.between.mul_f64(place as f64)
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(20);

    #[test]
    fn the_rate_is_what_other_nodes_take_easily() {
        let cost = Some(Duration::from_micros(400));
        let measured = pace(10_000, WINDOW, 0, cost, 2);
        assert_eq!((measured.rate, measured.takes, measured.exceeds), (2500.0, Duration::from_secs(4), None));
        assert_eq!(pace(10_000, WINDOW, 0, None, 2).rate, UNMEASURED);
        assert_eq!(pace(2, WINDOW, 1, cost, 2).takes, Duration::from_secs(2));
        let slow = Some(Duration::from_secs(1));
        assert_eq!(pace(10, WINDOW, 0, slow, 1).rate, LEAST, "a stalled machine is no measure");
        assert_eq!(pace(0, WINDOW, 0, cost, 2).takes, Duration::ZERO);
    }

    #[test]
    fn the_window_is_a_promise() {
        let hurried = pace(10_000, Duration::from_secs(5), 100, None, 2);
        assert_eq!((hurried.rate, hurried.takes), (2000.0, Duration::from_secs(5)));
        assert_eq!(hurried.exceeds, Some(100.0));
    }

    #[test]
    fn the_order_is_no_order_of_arrival() {
        let schedule = Schedule::new(Instant::now(), 100, pace(100, WINDOW, 100, None, 1), 7);
        let times: Vec<_> = (0..100).map(|_| schedule.next()).collect();
        let rising = times.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((20..80).contains(&rising), "{rising}");
        let near = times.windows(2).filter(|pair| pair[1] - pair[0] == Duration::from_millis(10)).count();
        assert!(near < 5, "{near}");
    }

    proptest! {
        /// Each place is taken once: the rate is even, whatever the number and the chance.
        #[test]
        fn one_session_at_a_time(sessions in 1u64..500, chance in any::<u64>()) {
            let begins = Instant::now();
            let schedule = Schedule::new(begins, sessions, pace(sessions, WINDOW, 100, None, 1), chance);
            let mut times: Vec<_> = (0..sessions).map(|_| schedule.next() - begins).collect();
            times.sort();
            for (place, time) in times.iter().enumerate() {
                prop_assert_eq!(*time, schedule.between.mul_f64(place as f64));
            }
            prop_assert_eq!(schedule.next() - begins, schedule.between.mul_f64(sessions as f64));
        }
    }
}
