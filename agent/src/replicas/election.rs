//! Who leads, decided from what was read of the Lease. Pure: the time is an argument, and it is our own; clocks of
//! other machines are never compared with it, as in client-go.

use std::time::{Duration, Instant};

/// How a Lease is held.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A Lease that nobody renewed for so long may be taken.
    pub lease: Duration,
    /// A leader that could not renew for so long stops; shorter than `lease`, so that it stops before another begins.
    pub renew: Duration,
    /// Between two looks at it.
    pub retry: Duration,
}

/// What a Lease says (coordination.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who has it; empty: nobody.
    pub holder: String,
    /// For how long from each renewal, in seconds; 0: as long as our own.
    pub seconds: u64,
    /// When it was renewed, by the holder's clock: only whether it changes counts.
    pub renewed: String,
    /// How often the holder changed: the term.
    pub transitions: u64,
}

/// What to do with the Lease now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another has it.
    Follow,
    /// It is free: take it, for this term.
    Take(u64),
    /// It is ours: renew it.
    Renew,
}

/// One replica's view.
#[derive(Debug)]
pub struct Election {
    me: String,
    terms: Terms,
    seen: Option<(Record, Instant)>,
    /// The term that is ours, and since when that was not confirmed.
    held: Option<(u64, Instant)>,
}

impl Election {
    /// `me` must differ from the name of every other process.
    #[must_use]
    pub fn new(me: String, terms: Terms) -> Self {
        Self { me, terms, seen: None, held: None }
    }

    /// Our name in the Lease.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// How the Lease is held.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// The Lease was read at `now`.
    pub fn saw(&mut self, record: Record, now: Instant) {
        if let Some((term, _)) = self.held
            && (record.holder != self.me || record.transitions != term)
        {
            self.held = None;
        }
        if self.seen.as_ref().is_none_or(|(before, _)| *before != record) {
            self.seen = Some((record, now));
        }
    }

    /// Our own write of `record`, begun at `asked`, was taken.
    pub fn wrote(&mut self, record: Record, asked: Instant) {
        self.held = (record.holder == self.me).then_some((record.transitions, asked));
        self.seen = Some((record, asked));
    }

    /// What to do.
    #[must_use]
    pub fn step(&self, now: Instant) -> Step {
        let Some((record, since)) = &self.seen else { return Step::Follow };
        if self.held.is_some_and(|(term, _)| record.holder == self.me && record.transitions == term) {
            return Step::Renew;
        }
        let length = match record.seconds {
            0 => self.terms.lease,
            seconds => Duration::from_secs(seconds),
        };
        if record.holder.is_empty() || now.saturating_duration_since(*since) >= length {
            return Step::Take(record.transitions.saturating_add(1));
        }
        Step::Follow
    }

    /// The term in which we lead; `None`: we do not, or cannot be sure.
    #[must_use]
    pub fn term(&self, now: Instant) -> Option<u64> {
        let (term, confirmed) = self.held?;
        (now.saturating_duration_since(confirmed) < self.terms.renew).then_some(term)
    }

    /// Whether the Lease of this term is ours by what was just read.
    #[must_use]
    pub fn is_ours(&self, record: &Record, term: u64) -> bool {
        record.holder == self.me && record.transitions == term
    }

    /// Who leads, as far as was seen; empty: nobody.
    #[must_use]
    pub fn leader(&self) -> &str {
        self.seen.as_ref().map_or("", |(record, _)| &record.holder)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        lease: Duration::from_secs(15),
        renew: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn record(holder: &str, renewed: &str, transitions: u64) -> Record {
        Record { holder: holder.to_owned(), seconds: 15, renewed: renewed.to_owned(), transitions }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_free_lease_is_taken_for_the_next_term() {
        let start = Instant::now();
        let mut election = Election::new("a".to_owned(), TERMS);
        assert_eq!(election.step(start), Step::Follow, "nothing was read");
        election.saw(record("", "", 6), start);
        assert_eq!(election.step(start), Step::Take(7));
        assert_eq!(election.term(start), None, "wanted is not had");
        election.wrote(record("a", "1", 7), start);
        assert_eq!((election.step(start), election.term(start)), (Step::Renew, Some(7)));
    }

    #[test]
    fn a_lease_is_followed_while_it_changes_and_taken_when_it_stands_still() {
        let start = Instant::now();
        let mut election = Election::new("b".to_owned(), TERMS);
        for (at, renewed) in [(0, "1"), (5, "1"), (14, "2"), (20, "2"), (28, "2")] {
            election.saw(record("a", renewed, 3), start + seconds(at));
            assert_eq!(election.step(start + seconds(at)), Step::Follow, "at {at} s");
            assert_eq!(election.leader(), "a");
        }
        assert_eq!(election.step(start + seconds(29)), Step::Take(4), "15 s after it changed last");
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_another_begins() {
        let start = Instant::now();
        let mut leader = Election::new("a".to_owned(), TERMS);
        leader.wrote(record("a", "1", 1), start);
        let mut other = Election::new("b".to_owned(), TERMS);
        other.saw(record("a", "1", 1), start);
        for at in 0..40 {
            let now = start + seconds(at);
            let both = leader.term(now).is_some() && other.step(now) != Step::Follow;
            assert!(!both, "two at {at} s");
        }
        assert_eq!(leader.term(start + seconds(9)), Some(1));
        assert_eq!(leader.term(start + seconds(10)), None);
        assert_eq!(leader.step(start + seconds(10)), Step::Renew, "it may come back while nobody took it");
    }

    #[test]
    fn a_stolen_lease_is_lost_at_once() {
        let start = Instant::now();
        for stolen in [record("thief", "2", 2), record("a", "2", 5), record("", "2", 1)] {
            let mut election = Election::new("a".to_owned(), TERMS);
            election.wrote(record("a", "1", 1), start);
            election.saw(stolen.clone(), start + seconds(1));
            assert_eq!(election.term(start + seconds(1)), None, "{stolen:?}");
            assert_ne!(election.step(start + seconds(1)), Step::Renew, "{stolen:?}");
        }
    }
}
