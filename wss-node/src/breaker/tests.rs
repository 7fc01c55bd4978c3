#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

fn config() -> BreakerConfig {
    BreakerConfig::default()
}

fn found(causes: &[Cause]) -> Event {
    let finding = |cause: &Cause| (*cause, Finding { detail: cause.as_str().to_owned(), only_told: false });
    Event::Observed(causes.iter().map(finding).collect())
}

fn proof(breaker: &Breaker, result: Result<(), String>) -> Event {
    Event::Proof { attempt: breaker.attempt, result }
}

/// Time has passed, and nothing else is found.
fn tick(breaker: &mut Breaker, now: Timestamp) -> Vec<Effect> {
    breaker.step(Event::Observed(breaker.found.clone()), now)
}

fn changed(from: State, to: State) -> Effect {
    Effect::Changed { from, to }
}

const TRIPPING: [Cause; 5] =
    [Cause::Expired, Cause::NotYetValid, Cause::NameMismatch, Cause::Revoked, Cause::StapleStale];

#[test]
fn each_cause_opens_it_and_a_proof_after_it_is_gone_closes_it() {
    for cause in TRIPPING {
        let mut breaker = Breaker::new(config(), at(0));
        let effects = breaker.step(found(&[cause]), at(10));
        assert!(effects.contains(&changed(State::Closed, State::Open)), "{cause:?}");
        assert_eq!((breaker.detail().as_str(), breaker.since()), (cause.as_str(), at(10)));
        // No proof helps as long as the cause is there.
        assert_eq!(breaker.step(Event::Proof { attempt: 0, result: Ok(()) }, at(20)), []);
        assert_eq!(breaker.step(found(&[]), at(5_000)), [Effect::Warned]);
        assert_eq!(breaker.deadline(), Some(at(6_000)));
        assert_eq!(tick(&mut breaker, at(5_999)), []);
        let effects = tick(&mut breaker, at(6_000));
        assert_eq!(effects, [changed(State::Open, State::HalfOpen), Effect::Prove { attempt: 1 }]);
        assert_eq!(
            breaker.step(proof(&breaker, Ok(())), at(6_010)),
            [changed(State::HalfOpen, State::Closed)]
        );
        assert_eq!((breaker.detail().as_str(), breaker.deadline()), ("", None));
    }
}

#[test]
fn what_is_set_to_warn_is_told_and_stays_closed() {
    let warn = Reaction::Warn;
    let warned = BreakerConfig {
        expired: warn,
        not_yet_valid: warn,
        name_mismatch: warn,
        revoked: warn,
        staple_stale: warn,
        ..config()
    };
    let mut breaker = Breaker::new(warned, at(0));
    for cause in TRIPPING {
        assert_eq!(breaker.step(found(&[cause]), at(10)), [Effect::Warned], "{cause:?}");
        assert_eq!(breaker.step(found(&[cause]), at(11)), [], "once");
        assert_eq!((breaker.state(), breaker.detail().as_str()), (State::Closed, cause.as_str()));
    }
    let told = Finding { detail: "revoked".into(), only_told: true };
    let mut breaker = Breaker::new(config(), at(0));
    breaker.step(Event::Observed([(Cause::Revoked, told)].into()), at(10));
    assert_eq!(breaker.state(), State::Closed, "the agent said that it does not halt");
}

#[test]
fn an_operator_halts_and_resumes_and_that_needs_a_proof_too() {
    let mut breaker = Breaker::new(config(), at(0));
    let halt = Event::Halt { by: "ops".into(), reason: "incident 7".into() };
    assert_eq!(breaker.step(halt, at(0)), [changed(State::Closed, State::Open)]);
    assert_eq!(breaker.detail(), "halted by ops: incident 7");
    breaker.step(found(&[]), at(100_000));
    assert_eq!(breaker.state(), State::Open);
    breaker.step(Event::Resume, at(100_000));
    assert_eq!(breaker.state(), State::Open);
    tick(&mut breaker, at(101_000));
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.step(proof(&breaker, Ok(())), at(101_001));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn sessions_are_sent_away_once_after_the_hold() {
    let mut breaker = Breaker::new(config(), at(0));
    breaker.step(found(&[Cause::Expired]), at(0));
    assert_eq!(breaker.deadline(), Some(at(30_000)));
    assert_eq!(tick(&mut breaker, at(29_999)), []);
    assert_eq!(tick(&mut breaker, at(30_000)), [Effect::SendAway]);
    assert_eq!(tick(&mut breaker, at(90_000)), []);
    assert_eq!(breaker.deadline(), None, "only news help");
    // The hold goes on while proofs fail.
    let mut breaker = Breaker::new(config(), at(0));
    breaker.step(found(&[Cause::Expired]), at(0));
    breaker.step(found(&[]), at(28_000));
    tick(&mut breaker, at(29_000));
    assert_eq!(breaker.state(), State::HalfOpen);
    let effects = breaker.step(proof(&breaker, Err("another leaf".into())), at(30_500));
    assert_eq!(effects, [changed(State::HalfOpen, State::Open), Effect::SendAway]);
    assert_eq!(breaker.detail(), "not proven yet: another leaf");
}

#[test]
fn a_failed_or_lost_proof_is_tried_again_and_a_late_result_counts_for_nothing() {
    let patient = BreakerConfig { hold: Duration::from_secs(3600), ..config() };
    let mut breaker = Breaker::new(patient, at(0));
    breaker.step(found(&[Cause::Revoked]), at(0));
    breaker.step(found(&[]), at(0));
    tick(&mut breaker, at(1_000));
    let first = breaker.attempt;
    breaker.step(proof(&breaker, Err("refused".into())), at(1_100));
    assert_eq!(breaker.deadline(), Some(at(2_100)));
    tick(&mut breaker, at(2_100));
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.step(Event::Proof { attempt: first, result: Ok(()) }, at(2_200)), []);
    assert_eq!(breaker.deadline(), Some(at(62_100)));
    tick(&mut breaker, at(62_100));
    assert_eq!(breaker.state(), State::Open);
    // A cause that comes while a proof is under way.
    tick(&mut breaker, at(63_100));
    let effects = breaker.step(found(&[Cause::Expired]), at(63_200));
    assert_eq!(effects, [Effect::Warned, changed(State::HalfOpen, State::Open)]);
    assert_eq!(breaker.step(proof(&breaker, Ok(())), at(63_300)), []);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn flapping_begins_the_wait_anew_and_several_proofs_may_be_asked_for() {
    let mut breaker = Breaker::new(BreakerConfig { proofs: 3, ..config() }, at(0));
    breaker.step(found(&[Cause::StapleStale]), at(0));
    for millis in (0..10_000).step_by(900) {
        breaker.step(found(&[]), at(millis));
        assert_eq!(breaker.state(), State::Open, "{millis}");
        breaker.step(found(&[Cause::StapleStale]), at(millis + 800));
    }
    breaker.step(found(&[]), at(20_000));
    tick(&mut breaker, at(21_000));
    for good in 1..3 {
        let effects = breaker.step(proof(&breaker, Ok(())), at(21_000 + good));
        assert_eq!(effects, [Effect::Prove { attempt: breaker.attempt }]);
        assert_eq!(breaker.state(), State::HalfOpen);
    }
    breaker.step(proof(&breaker, Ok(())), at(21_010));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let mut breaker = Breaker::new(config(), at(0));
    breaker.step(found(&[Cause::Expired]), at(0));
    tick(&mut breaker, at(-3_600_000));
    assert_eq!(breaker.deadline(), Some(at(-3_600_000 + 30_000)));
    breaker.step(found(&[]), at(-3_600_000));
    tick(&mut breaker, at(-3_599_000));
    assert_eq!(breaker.state(), State::HalfOpen);
}

/// A step of a random walk.
#[derive(Clone, Debug)]
enum Walk {
    Wait(i64),
    Find(Vec<Cause>),
    Halt,
    Resume,
    /// Answers the proof that is asked for, or an older one.
    Proof {
        old: bool,
        good: bool,
    },
}

fn walk() -> impl Strategy<Value = Vec<Walk>> {
    let cause = prop::sample::select(&TRIPPING[..]);
    let step = prop_oneof![
        4 => (-500_i64..40_000).prop_map(Walk::Wait),
        2 => prop::collection::vec(cause, 0..3).prop_map(Walk::Find),
        2 => Just(Walk::Find(Vec::new())),
        1 => Just(Walk::Halt),
        2 => Just(Walk::Resume),
        4 => (prop::bool::weighted(0.2), prop::bool::weighted(0.7)).prop_map(|(old, good)| Walk::Proof { old, good }),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn random_walks(steps in walk(), proofs in 1_u32..4, warned in prop::sample::select(&TRIPPING[..])) {
        let mut config = BreakerConfig { proofs, ..config() };
        let trips = |cause: &Cause| *cause != warned;
        match warned {
            Cause::Expired => config.expired = Reaction::Warn,
            Cause::NotYetValid => config.not_yet_valid = Reaction::Warn,
            Cause::NameMismatch => config.name_mismatch = Reaction::Warn,
            Cause::Revoked => config.revoked = Reaction::Warn,
            _ => config.staple_stale = Reaction::Warn,
        }
        let mut breaker = Breaker::new(config.clone(), at(0));
        let mut millis = 0;
        let (mut causes, mut halted) = (Vec::new(), false);
        // What the world knows: the proof that is asked for, and how many went well since the last setback.
        let (mut asked, mut good) = (None, 0);
        let (mut opened_at, mut sent_away) = (0, false);
        for step in steps {
            let before = breaker.state();
            let event = match step {
                Walk::Wait(wait) => { millis += wait; found(&causes) }
                Walk::Find(found_now) => { causes = found_now; found(&causes) }
                Walk::Halt => { halted = true; Event::Halt { by: "o".into(), reason: "r".into() } }
                Walk::Resume => { halted = false; Event::Resume }
                Walk::Proof { old: true, .. } => {
                    Event::Proof { attempt: breaker.attempt.wrapping_sub(1), result: Ok(()) }
                }
                Walk::Proof { good: is_good, .. } => {
                    let Some(attempt) = asked.take() else { continue };
                    good = if is_good { good + 1 } else { 0 };
                    Event::Proof { attempt, result: if is_good { Ok(()) } else { Err("no".into()) } }
                }
            };
            opened_at = opened_at.min(millis);
            let effects = breaker.step(event, at(millis));
            let tripping = halted || causes.iter().any(trips);
            prop_assert!(!(tripping && breaker.state() != State::Open), "a cause is there, and it is not open");
            if before != State::Closed && breaker.state() == State::Closed {
                prop_assert!(good >= proofs, "closed after {good} of {proofs} proofs");
            }
            if before == State::Closed && breaker.state() == State::Open {
                (opened_at, sent_away) = (millis, false);
            }
            for effect in &effects {
                match effect {
                    Effect::Prove { attempt } => asked = Some(*attempt),
                    Effect::SendAway => {
                        prop_assert!(millis - opened_at >= 30_000 && !sent_away);
                        sent_away = true;
                    }
                    Effect::Changed { from, to } => {
                        prop_assert_ne!(from, to);
                        if *to == State::Open { good = 0; asked = None; }
                        if *from == State::Open { good = 0; }
                    }
                    Effect::Warned => {}
                }
            }
            if breaker.state() != State::Open && before == State::Open { good = 0; }
        }
        // From wherever it got to: with nothing wrong and proofs that succeed it closes within the hysteresis.
        breaker.step(Event::Resume, at(millis));
        let mut effects = breaker.step(found(&[]), at(millis));
        let end = millis + 62_000 + 1_000 + 1_000;
        while breaker.state() != State::Closed {
            let wanted = effects.iter().find_map(|effect| match effect {
                Effect::Prove { attempt } => Some(*attempt),
                _ => None,
            });
            effects = match wanted {
                Some(attempt) => breaker.step(Event::Proof { attempt, result: Ok(()) }, at(millis)),
                None => {
                    let deadline = breaker.deadline().unwrap();
                    prop_assert!(deadline <= at(end), "it would stay open");
                    millis = millis.max(deadline.as_millisecond() - at(0).as_millisecond());
                    tick(&mut breaker, at(millis))
                }
            };
        }
    }
}
