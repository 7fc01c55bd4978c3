//! The clock, injected so that no rule reads the time behind the back of a test, and watched: a clock that
//! jumps or is wrong must not make an agent renew everything.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use rustls_pki_types::UnixTime;

/// Beyond this the clock is wrong: CAs and validators of tokens and OCSP answers allow about as much.
pub const TOLERATED: SignedDuration = SignedDuration::from_mins(5);

/// With no CA to ask for the time, a clock that has jumped is believed after this long.
const BELIEVED_AFTER: Duration = Duration::from_hours(1);

/// A source of wall-clock time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// The time since the machine was started, suspended or not: what a step of the clock is measured
    /// against.
    fn since_boot(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// What a CA's Date header said of our clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// How far our clock is ahead of the CA's.
    pub ahead: SignedDuration,
    /// When it was measured.
    pub measured: Instant,
}

/// Whether the clock can be believed: a pure state machine over what is observed.
#[derive(Debug, Default)]
pub struct ClockWatch {
    last: Option<(Timestamp, Duration)>,
    doubted: Option<Instant>,
}

impl ClockWatch {
    /// Compares the wall clock with the time since boot. Gives the size of a jump, if there was one.
    pub fn observe(&mut self, wall: Timestamp, since_boot: Duration, now: Instant) -> Option<SignedDuration> {
        let (last_wall, last_boot) = self.last.replace((wall, since_boot))?;
        let passed = SignedDuration::try_from(since_boot.saturating_sub(last_boot)).ok()?;
        let jumped = wall.duration_since(last_wall) - passed;
        if jumped.abs() <= TOLERATED {
            return None;
        }
        self.doubted = Some(now);
        Some(jumped)
    }

    /// A CA's word on the time. One from before the jump says nothing.
    pub fn heard(&mut self, skew: Skew) {
        if self.doubted.is_some_and(|since| skew.measured > since) {
            self.doubted = None;
        }
    }

    /// Whether the clock has jumped and nobody has confirmed it since. `asked` tells whether there is a CA
    /// to ask.
    pub fn is_doubted(&mut self, now: Instant, asked: bool) -> bool {
        if !asked && self.doubted.is_some_and(|since| now.saturating_duration_since(since) > BELIEVED_AFTER) {
            self.doubted = None;
        }
        self.doubted.is_some()
    }
}

/// As the certificate checks want it; instants before 1970 count as 1970.
#[must_use]
pub fn unix_time(at: Timestamp) -> UnixTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_jump_is_doubted_until_a_ca_has_spoken() {
        let mut watch = ClockWatch::default();
        let start = Instant::now();
        assert_eq!(watch.observe(at(1000), Duration::from_secs(10), start), None);
        assert_eq!(watch.observe(at(1030), Duration::from_secs(40), start), None);
        let jumped = watch.observe(at(1030 + 86400), Duration::from_secs(70), start);
        assert_eq!(jumped, Some(SignedDuration::from_secs(86400 - 30)));
        assert!(watch.is_doubted(start, true));
        watch.heard(Skew { ahead: SignedDuration::ZERO, measured: start });
        assert!(watch.is_doubted(start, true), "measured before the jump");
        let measured = start + Duration::from_secs(1);
        watch.heard(Skew { ahead: SignedDuration::ZERO, measured });
        assert!(!watch.is_doubted(start, true));
    }

    #[test]
    fn a_suspended_machine_has_not_jumped() {
        let mut watch = ClockWatch::default();
        let now = Instant::now();
        watch.observe(at(0), Duration::from_secs(10), now);
        let slept = 3 * 86400;
        assert_eq!(watch.observe(at(slept), Duration::from_secs(10 + slept.unsigned_abs()), now), None);
        assert!(!watch.is_doubted(now, true));
    }

    #[test]
    fn with_nobody_to_ask_the_clock_is_believed_in_the_end() {
        let mut watch = ClockWatch::default();
        let now = Instant::now();
        watch.observe(at(0), Duration::ZERO, now);
        assert!(watch.observe(at(-86400), Duration::from_secs(1), now).is_some());
        assert!(watch.is_doubted(now, false));
        assert!(watch.is_doubted(now + BELIEVED_AFTER * 2, true));
        assert!(!watch.is_doubted(now + BELIEVED_AFTER * 2, false));
    }
}
