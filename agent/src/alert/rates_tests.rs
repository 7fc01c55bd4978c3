#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn report(handshakes: u64, resets: u64, expired: u64) -> Report {
    let failures = [("reset", resets), ("certificate_expired", expired), ("timeout", 3)];
    Report {
        handshakes,
        handshake_failures: resets + expired,
        failures: failures.map(|(reason, count)| (reason.to_owned(), count)).into(),
        ..Report::default()
    }
}

/// Rates with the thresholds of the documentation, and a clock.
struct Watched {
    rates: Rates,
    start: Instant,
}

impl Watched {
    fn new() -> Self {
        Self { rates: Rates::new(RatesConfig::default()), start: Instant::now() }
    }

    /// Kinds of storm that go on (true) or are over (false).
    fn at(&mut self, second: u64, handshakes: u64, resets: u64, expired: u64) -> Vec<(Kind, bool)> {
        let now = self.start + Duration::from_secs(second);
        let verdicts = self.rates.report("n", &report(handshakes, resets, expired), now);
        verdicts.into_iter().map(|verdict| (verdict.kind, verdict.text.is_some())).collect()
    }
}

#[test]
fn what_was_counted_before_the_first_report_is_no_storm() {
    let mut watched = Watched::new();
    assert_eq!(watched.at(0, 1_000_000, 500_000, 500_000), []);
    assert_eq!(watched.at(10, 1_000_000, 500_001, 500_001), []);
}

#[test]
fn a_storm_begins_at_the_threshold_and_ends_at_half_of_it() {
    let mut watched = Watched::new();
    watched.at(0, 0, 0, 0);
    assert_eq!(watched.at(10, 10, 59, 0), []);
    assert_eq!(watched.at(20, 10, 60, 0), [(Kind::ResetStorm, true)]);
    // 70 s later 59 of them are out of the window, but as many came anew as are half.
    assert_eq!(watched.at(50, 10, 75, 0), [(Kind::ResetStorm, true)]);
    assert_eq!(watched.at(80, 10, 90, 0), [(Kind::ResetStorm, true)]);
    assert_eq!(watched.at(115, 10, 90, 0), [(Kind::ResetStorm, false)]);
    assert_eq!(watched.at(125, 10, 90, 0), []);
}

#[test]
fn resets_among_many_good_handshakes_are_no_storm() {
    let mut watched = Watched::new();
    watched.at(0, 0, 0, 0);
    assert_eq!(watched.at(10, 1000, 100, 0), []);
    assert_eq!(watched.at(20, 1000, 400, 0), [(Kind::ResetStorm, true)]);
}

#[test]
fn clients_that_find_it_expired_count_by_themselves() {
    let mut watched = Watched::new();
    watched.at(0, 0, 0, 0);
    assert_eq!(watched.at(10, 100_000, 0, 4), []);
    assert_eq!(watched.at(20, 200_000, 0, 5), [(Kind::ExpiredHandshakes, true)]);
    assert_eq!(watched.at(90, 300_000, 0, 5), [(Kind::ExpiredHandshakes, false)]);
}

#[test]
fn a_node_that_begins_anew_has_its_counts_since_then() {
    let mut watched = Watched::new();
    watched.at(0, 500, 500, 0);
    assert_eq!(watched.at(10, 0, 30, 0), [], "30, not a count that went back");
    assert_eq!(watched.at(20, 0, 61, 0), [(Kind::ResetStorm, true)]);
}

#[test]
fn a_node_that_falls_silent_has_no_storm() {
    let mut watched = Watched::new();
    watched.at(0, 0, 0, 0);
    watched.at(10, 0, 100, 10);
    let second = |second| watched.start + Duration::from_secs(second);
    assert_eq!(watched.rates.tick(second(130)), []);
    let over = watched.rates.tick(second(131));
    assert_eq!(over.len(), 2);
    assert!(over.iter().all(|verdict| verdict.text.is_none() && verdict.node_id == "n"));
    assert!(watched.rates.nodes.is_empty());
}

proptest! {
    /// Whatever is reported, in whatever rhythm: the count is that of a window of one to two reports more, and
    /// nothing grows.
    #[test]
    fn the_window_holds_what_happened_in_it(
        steps in proptest::collection::vec((1_000..40_000_u64, 0..50_u64), 1..300),
    ) {
        let start = Instant::now();
        let mut rates = Rates::new(RatesConfig::default());
        let mut happened = vec![(start, 0_u64)];
        let mut at = start;
        let mut total = 0;
        rates.report("n", &report(0, 0, 0), start);
        let mut on = false;
        for (millis, resets) in steps {
            at += Duration::from_millis(millis);
            total += resets;
            happened.push((at, resets));
            let verdicts = rates.report("n", &report(0, total, 0), at);
            let node = &rates.nodes["n"];
            prop_assert!(node.samples.len() <= MAX_SAMPLES);
            let counted = node.within().resets;
            let window: u64 = happened.iter().filter(|(then, _)| *then > at - WINDOW).map(|(_, count)| count).sum();
            prop_assert!(counted >= window, "{counted} of {window}");
            // No more than what came since the last report before the window.
            let before = happened.iter().rev().find(|(then, _)| *then <= at - WINDOW).map_or(start, |(then, _)| *then);
            let most: u64 = happened.iter().filter(|(then, _)| *then > before).map(|(_, count)| count).sum();
            prop_assert!(counted <= most, "{counted} of {most}");
            let expected = counted >= if on { 30 } else { 60 };
            let said = verdicts.iter().any(|verdict| verdict.text.is_some());
            prop_assert_eq!(said, expected);
            prop_assert_eq!(verdicts.is_empty(), !on && !expected);
            on = expected;
        }
    }
}
