//! What each client has now. Pure: time is an argument. The table is bounded: whoever does not fit in is counted
//! together with all the others who do not, so that a flood from many addresses costs no memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::fault::LimitFault;
use super::pace::{Pace, Progress};
use super::who::Who;

/// Clients that are remembered, about 100 bytes each.
const MAX_CLIENTS: usize = 65_536;
/// A client that is over a limit is told of once in this time.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What one client has.
#[derive(Clone, Copy, Debug, Default)]
struct Has {
    handshakes: u32,
    sessions: u32,
    accepts: Progress,
    /// When somebody was told that it was over a limit.
    told: Option<Instant>,
}

impl Has {
    fn is_nothing(&self, now: Instant) -> bool {
        let told = self.told.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY);
        self.handshakes == 0 && self.sessions == 0 && self.accepts.is_even(now) && !told
    }
}

/// What may be had; `None` or 0: no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) handshakes: u32,
    pub(super) sessions: u32,
    pub(super) accepts: Option<Pace>,
}

/// All clients that have something.
#[derive(Debug)]
pub(super) struct Clients {
    allowed: Allowed,
    has: HashMap<Who, Has>,
    most: usize,
    /// When to look again for those that have nothing any more.
    sweep_at: Option<Instant>,
}

impl Clients {
    pub(super) fn new(allowed: Allowed) -> Self {
        Self { allowed, has: HashMap::new(), most: MAX_CLIENTS, sweep_at: None }
    }

    /// One more connection. Tells under whom it is counted, for [`Clients::handshake_over`].
    pub(super) fn handshake(&mut self, who: Who, now: Instant) -> Result<Who, LimitFault> {
        let who = self.place_of(who, now);
        let Allowed { handshakes: most, accepts, .. } = self.allowed;
        let has = self.has.entry(who).or_default();
        if most > 0 && has.handshakes >= most {
            return Err(LimitFault::Handshakes);
        }
        if accepts.is_some_and(|pace| has.accepts.step(pace, now).is_err()) {
            return Err(LimitFault::AcceptRate);
        }
        has.handshakes += 1;
        Ok(who)
    }

    pub(super) fn handshake_over(&mut self, who: Who) {
        if let Some(has) = self.has.get_mut(&who) {
            has.handshakes = has.handshakes.saturating_sub(1);
        }
    }

    /// One more session.
    pub(super) fn session(&mut self, who: Who, now: Instant) -> Result<Who, LimitFault> {
        let who = self.place_of(who, now);
        let most = self.allowed.sessions;
        let has = self.has.entry(who).or_default();
        if most > 0 && has.sessions >= most {
            return Err(LimitFault::Sessions);
        }
        has.sessions += 1;
        Ok(who)
    }

    pub(super) fn session_over(&mut self, who: Who) {
        if let Some(has) = self.has.get_mut(&who) {
            has.sessions = has.sessions.saturating_sub(1);
        }
    }

    /// Whether somebody should be told that this client is over a limit: not each time.
    pub(super) fn may_tell(&mut self, who: Who, now: Instant) -> bool {
        let who = self.place_of(who, now);
        let has = self.has.entry(who).or_default();
        if has.told.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY) {
            return false;
        }
        has.told = Some(now);
        true
    }

    /// Forgets who has nothing, once in a while; and where to count a client that is not known yet.
    fn place_of(&mut self, who: Who, now: Instant) -> Who {
        let full = self.has.len() >= self.most;
        if self.sweep_at.is_none_or(|at| at <= now) {
            self.has.retain(|_, has| !has.is_nothing(now));
            // A full table is looked at more often, but not for each connection of a flood.
            let again = if full { Duration::from_secs(1) } else { TELL_EVERY };
            self.sweep_at = Some(now + again);
        }
        if self.has.len() < self.most || self.has.contains_key(&who) { who } else { Who::Others }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALLOWED: Allowed = Allowed { handshakes: 2, sessions: 2, accepts: None };

    fn who(number: u8) -> Who {
        Who::V4([192, 0, 2, number])
    }

    #[test]
    fn each_client_has_its_own_limits() {
        let (mut clients, now) = (Clients::new(ALLOWED), Instant::now());
        assert!(clients.handshake(who(1), now).is_ok() && clients.handshake(who(1), now).is_ok());
        assert_eq!(clients.handshake(who(1), now), Err(LimitFault::Handshakes));
        assert!(clients.handshake(who(2), now).is_ok());
        clients.handshake_over(who(1));
        assert!(clients.handshake(who(1), now).is_ok());
        assert!(clients.session(who(1), now).is_ok() && clients.session(who(1), now).is_ok());
        assert_eq!(clients.session(who(1), now), Err(LimitFault::Sessions));
        clients.session_over(who(1));
        assert!(clients.session(who(1), now).is_ok());
    }

    #[test]
    fn the_rate_is_that_of_one_client_and_passes() {
        let allowed = Allowed { accepts: Pace::new(1, 1), handshakes: 0, ..ALLOWED };
        let (mut clients, now) = (Clients::new(allowed), Instant::now());
        clients.handshake(who(1), now).unwrap();
        assert_eq!(clients.handshake(who(1), now), Err(LimitFault::AcceptRate));
        assert!(clients.handshake(who(2), now).is_ok());
        assert!(clients.handshake(who(1), now + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn zero_is_no_limit() {
        let allowed = Allowed { handshakes: 0, sessions: 0, accepts: None };
        let (mut clients, now) = (Clients::new(allowed), Instant::now());
        for _ in 0..1000 {
            assert!(clients.handshake(who(1), now).is_ok() && clients.session(who(1), now).is_ok());
        }
    }

    #[test]
    fn it_is_told_once_in_a_while() {
        let (mut clients, now) = (Clients::new(ALLOWED), Instant::now());
        assert!(clients.may_tell(who(1), now));
        assert!(!clients.may_tell(who(1), now + TELL_EVERY / 2));
        assert!(clients.may_tell(who(2), now));
        assert!(clients.may_tell(who(1), now + TELL_EVERY));
    }

    #[test]
    fn a_full_table_counts_newcomers_together_and_empties_itself() {
        let (mut clients, now) = (Clients::new(ALLOWED), Instant::now());
        clients.most = 2;
        let held: Vec<_> = (1..=4).map(|number| clients.handshake(who(number), now)).collect();
        assert_eq!(held, [Ok(who(1)), Ok(who(2)), Ok(Who::Others), Ok(Who::Others)]);
        assert_eq!(clients.handshake(who(5), now), Err(LimitFault::Handshakes));
        assert_eq!(clients.handshake(who(1), now), Ok(who(1)), "those who are known go on");
        assert_eq!(clients.has.len(), 3);
        held.into_iter().flatten().for_each(|who| clients.handshake_over(who));
        clients.handshake_over(who(1));
        let later = now + TELL_EVERY;
        assert_eq!(clients.handshake(who(6), later), Ok(who(6)));
        assert_eq!(clients.has.len(), 1, "nobody is remembered for nothing");
    }

    proptest! {
        /// Whatever comes and goes, what was taken and not given back is what is counted.
        #[test]
        fn what_is_given_back_is_free(steps in prop::collection::vec((0u8..6, any::<bool>()), 1..300)) {
            let (mut clients, mut now) = (Clients::new(ALLOWED), Instant::now());
            clients.most = 4;
            let mut held = Vec::new();
            for (number, take) in steps {
                now += Duration::from_millis(700);
                if take {
                    held.extend(clients.session(who(number), now));
                } else if let Some(given) = held.pop() {
                    clients.session_over(given);
                }
                let counted: u32 = clients.has.values().map(|has| has.sessions).sum();
                prop_assert_eq!(counted as usize, held.len());
                prop_assert!(clients.has.values().all(|has| has.sessions <= 2));
            }
            held.into_iter().for_each(|who| clients.session_over(who));
            prop_assert!(clients.has.values().all(|has| has.sessions == 0));
        }
    }
}
