#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy() -> Policy {
    Policy {
        identifiers: vec!["a.example".into(), "b.example".into()],
        issuers: vec!["first".into(), "second".into()],
        renew_at: 0.5,
    }
}

fn current(not_before: i64, not_after: i64) -> Current {
    Current {
        generation: 3,
        issuer: "first".into(),
        identifiers: vec!["b.example".into(), "a.example".into()],
        not_before: at(not_before),
        not_after: at(not_after),
    }
}

fn facts() -> Facts {
    Facts { current: Some(current(0, 100 * HOUR)), ..Facts::default() }
}

fn failed(at_second: i64, class: ErrorClass) -> Option<LastFailure> {
    Some(LastFailure { at: at(at_second), class, retry_after: None })
}

fn obtains(decision: &Decision) -> Option<&str> {
    match &decision.action {
        Action::Obtain { issuer } => Some(issuer),
        Action::Wait => None,
    }
}

#[test]
fn renews_at_the_ratio_less_a_spread() {
    let decision = decide(at(0), &facts(), &policy(), 7);
    assert_eq!(decision.action, Action::Wait);
    assert!(decision.at > at(48 * HOUR) && decision.at <= at(50 * HOUR), "{decision:?}");
    let due = decide(decision.at, &facts(), &policy(), 7);
    assert_eq!(obtains(&due), Some("first"));
    let other = decide(at(0), &facts(), &policy(), 8);
    assert_ne!(other.at, decision.at);
}

#[test]
fn what_cannot_wait_is_due_now() {
    let now = at(HOUR);
    let reason = |change: &dyn Fn(&mut Facts, &mut Policy)| {
        let (mut facts, mut policy) = (facts(), policy());
        change(&mut facts, &mut policy);
        let decision = decide(now, &facts, &policy, 1);
        assert!(obtains(&decision).is_some(), "{decision:?}");
        decision.reason
    };
    assert_eq!(reason(&|facts, _| facts.current = None), Reason::Missing);
    assert_eq!(reason(&|facts, _| facts.damaged = true), Reason::Damaged);
    assert_eq!(reason(&|facts, _| facts.order_pending = true), Reason::Resume);
    assert_eq!(reason(&|facts, _| facts.quarantined = true), Reason::Quarantined);
    assert_eq!(reason(&|facts, _| facts.request = Some(Request { force: false })), Reason::Requested);
    assert_eq!(reason(&|_, policy| policy.identifiers.truncate(1)), Reason::IdentifiersChanged);
    assert_eq!(reason(&|_, policy| policy.issuers = vec!["other".into()]), Reason::IssuerRemoved);
}

#[test]
fn failures_are_waited_out_unless_forced() {
    let mut facts = Facts { failures: 1, last_failure: failed(0, ErrorClass::Transient), ..Facts::default() };
    let decision = decide(at(0), &facts, &policy(), 1);
    assert_eq!(decision.action, Action::Wait);
    assert!(decision.at >= at(60) && decision.at <= at(66), "{decision:?}");

    facts.request = Some(Request { force: false });
    assert_eq!(decide(at(0), &facts, &policy(), 1).action, Action::Wait);
    facts.request = Some(Request { force: true });
    assert_eq!(obtains(&decide(at(0), &facts, &policy(), 1)), Some("first"));
}

#[test]
fn the_next_issuer_gets_its_turn_and_the_first_one_again() {
    let with = |failures| {
        let facts = Facts { failures, last_failure: failed(0, ErrorClass::Ca), ..Facts::default() };
        let decision = decide(at(30 * 24 * HOUR), &facts, &policy(), 1);
        obtains(&decision).unwrap().to_owned()
    };
    let turns: Vec<_> = (0..8).map(with).collect();
    assert_eq!(turns, ["first", "first", "first", "second", "second", "second", "first", "first"]);
}

#[test]
fn retry_after_is_obeyed_but_not_for_years() {
    let wait = |seconds| {
        let last =
            LastFailure { at: at(0), class: ErrorClass::Ca, retry_after: Some(Duration::from_secs(seconds)) };
        retry_delay(1, &last, None, 1)
    };
    assert_eq!(wait(3 * 3600), SignedDuration::from_hours(3));
    assert_eq!(wait(10 * 365 * 86400), SignedDuration::from_hours(24));
    assert!(wait(0) >= SignedDuration::from_mins(1));
}

#[test]
fn retries_come_sooner_as_the_end_nears() {
    let last = failed(0, ErrorClass::Transient).unwrap();
    let wait = |left| retry_delay(4, &last, Some(SignedDuration::from_secs(left)), 1);
    assert!(wait(365 * 24 * HOUR) >= SignedDuration::from_hours(24));
    assert!(wait(4 * HOUR) <= SignedDuration::from_mins(66));
    assert!(wait(4) >= SHORTEST_SEEN);
    assert!(wait(-1) <= SignedDuration::from_secs(15 * 66));
}

const SHORTEST_SEEN: SignedDuration = SignedDuration::from_secs(10);

#[test]
fn reasons_read_well() {
    let facts = Facts { failures: 2, last_failure: failed(0, ErrorClass::Ca), ..Facts::default() };
    assert_eq!(
        decide(at(0), &facts, &policy(), 1).reason.to_string(),
        "there is no generation yet; back-off after 2 failure(s), the last one the CA's"
    );
    assert_eq!(
        decide(at(0), &self::facts(), &policy(), 1).reason.to_string(),
        "50 % of the lifetime that ends 1970-01-05T04:00:00Z"
    );
}

proptest! {
    /// Whatever the lifetime, the ratio and the failures: a renewal is tried before the end, again and
    /// again, and never in a tight loop.
    #[test]
    fn every_lifetime_gets_several_attempts_before_its_end(
        lifetime in 120_i64..400 * 86400,
        renew_at in 0.01_f64..0.95,
        seed in any::<u64>(),
    ) {
        let policy = Policy { renew_at, ..policy() };
        let mut facts = Facts { current: Some(current(0, lifetime)), ..Facts::default() };
        let first = decide(at(0), &facts, &policy, seed).at;
        prop_assert!(first < at(lifetime));
        let mut now = first;
        let mut attempts = 0;
        while now < at(lifetime) && attempts < 1000 {
            prop_assert!(obtains(&decide(now, &facts, &policy, seed)).is_some());
            attempts += 1;
            facts.failures += 1;
            facts.last_failure = Some(LastFailure { at: now, class: ErrorClass::Transient, retry_after: None });
            let next = decide(now, &facts, &policy, seed);
            prop_assert!(next.at.duration_since(now) >= SHORTEST_SEEN);
            now = next.at;
        }
        // With 6 s left (120 s at 0.95) one attempt is all that fits.
        let room = lifetime as f64 * (1.0 - renew_at);
        prop_assert!(attempts >= if room >= 60.0 { 3 } else { 1 }, "{attempts} attempts in {room} s");
        // One a day while there is margin, and then a number that grows with the logarithm of what is left.
        prop_assert!(attempts < 60 + lifetime / 86400, "{attempts}");
    }

    /// The decision never depends on anything but its arguments, and a wait ends where it says.
    #[test]
    fn a_wait_ends_in_an_action(failures in 0_u32..20, failed_at in 0_i64..1_000_000, seed in any::<u64>()) {
        let facts = Facts { failures, last_failure: failed(failed_at, ErrorClass::Ours), ..facts() };
        let now = at(failed_at);
        let decision = decide(now, &facts, &policy(), seed);
        prop_assert_eq!(&decision, &decide(now, &facts, &policy(), seed));
        if decision.action == Action::Wait {
            prop_assert!(decision.at > now);
            let due = decide(decision.at, &facts, &policy(), seed);
            prop_assert!(obtains(&due).is_some());
        }
    }
}
