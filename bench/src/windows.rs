//! Handshakes sorted by the time in which they happened. Pure.

use std::time::Instant;

use crate::prober::Seen;
use crate::sample::{Sample, median, ratio};

/// A span of time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Its first instant.
    pub from: Instant,
    /// The first instant after it.
    pub to: Instant,
}

impl Window {
    fn began_in(&self, seen: &Seen) -> bool {
        seen.started >= self.from && seen.started < self.to
    }

    fn overlaps(&self, seen: &Seen) -> bool {
        seen.started < self.to && seen.ended > self.from
    }
}

/// The good handshakes that began in one of the windows.
#[must_use]
pub fn begun_in(windows: &[Window], seen: &[Seen]) -> Sample {
    let within = |seen: &&Seen| windows.iter().any(|window| window.began_in(seen));
    good(seen).filter(within).map(Seen::took).collect()
}

/// The good handshakes that were under way at some instant of one of the windows.
#[must_use]
pub fn under_way_in(windows: &[Window], seen: &[Seen]) -> Sample {
    let overlaps = |seen: &&Seen| windows.iter().any(|window| window.overlaps(seen));
    good(seen).filter(overlaps).map(Seen::took).collect()
}

/// By how much a percentile differs between neighbours: the median over all pairs of the one with over the one
/// without. A disturbance that lasts longer than a pair hits both sides of it.
#[must_use]
pub fn ratio_of_neighbours(with: &[Window], without: &[Window], seen: &[Seen], part: f64) -> f64 {
    let pairs = with.iter().zip(without);
    let ratios = pairs.filter_map(|(with, without)| {
        let (with, without) = (begun_in(&[*with], seen), begun_in(&[*without], seen));
        (!with.is_empty() && !without.is_empty()).then(|| ratio(with.at(part), without.at(part)))
    });
    median(ratios.collect())
}

fn good(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(|seen| seen.leaf.is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, millis: u64) -> Instant {
            self.0 + Duration::from_millis(millis)
        }

        fn window(&self, from: u64, to: u64) -> Window {
            Window { from: self.at(from), to: self.at(to) }
        }

        fn seen(&self, from: u64, to: u64) -> Seen {
            Seen { started: self.at(from), ended: self.at(to), leaf: Ok([0; 32]) }
        }
    }

    #[test]
    fn a_handshake_belongs_to_the_window_it_began_in_and_overlaps_what_it_saw() {
        let clock = Clock(Instant::now());
        let seen = [clock.seen(0, 9), clock.seen(9, 11), clock.seen(19, 25), clock.seen(20, 21)];
        let window = [clock.window(10, 20)];
        assert_eq!(begun_in(&window, &seen).len(), 1);
        assert_eq!(begun_in(&window, &seen).max(), Duration::from_millis(6));
        let under_way = under_way_in(&window, &seen);
        assert_eq!((under_way.len(), under_way.median()), (2, Duration::from_millis(2)));
    }

    #[test]
    fn failures_are_counted_elsewhere() {
        let clock = Clock(Instant::now());
        let failed = Seen { leaf: Err("cut".to_owned()), ..clock.seen(1, 2) };
        assert!(begun_in(&[clock.window(0, 9)], &[failed]).is_empty());
    }

    #[test]
    fn neighbours_are_compared_pair_by_pair() {
        let clock = Clock(Instant::now());
        let without = [clock.window(0, 100), clock.window(200, 300), clock.window(400, 500)];
        let with = [clock.window(100, 200), clock.window(300, 400), clock.window(500, 600)];
        // The last pair falls into a storm that has nothing to do with the matter.
        let seen = [
            clock.seen(0, 10),
            clock.seen(100, 111),
            clock.seen(200, 210),
            clock.seen(300, 311),
            clock.seen(400, 500),
            clock.seen(500, 600),
        ];
        assert!((ratio_of_neighbours(&with, &without, &seen, 0.99) - 1.1).abs() < 1e-9);
        assert!(ratio_of_neighbours(&with, &without, &[], 0.99).is_nan());
    }
}
