//! Which issuer gets the attempt, and how failures are waited out.

use super::*;

/// Which issuers get the attempts, each of which fails.
fn turns(world: &mut World, mut now: i64, count: usize) -> Vec<String> {
    let mut turns = Vec::new();
    while turns.len() < count {
        let decision = world.decide(now);
        match &decision.action {
            Action::Obtain { issuer } => {
                turns.push(issuer.clone());
                let issuer = issuer.clone();
                world.fail(now, &issuer, ErrorClass::Transient);
            }
            // Rounded up to whole seconds.
            _ => now = seconds(decision.wake) + 1,
        }
    }
    turns
}

#[test]
fn with_margin_an_issuer_gets_three_attempts_and_then_the_next() {
    let mut world = world();
    world.current = Some((0, 90 * DAY));
    world.changed = Some(Change::Identifiers);
    let turns = turns(&mut world, 0, 7);
    assert_eq!(&turns[..6], ["first", "first", "first", "second", "second", "second"]);
}

#[test]
fn with_nothing_left_the_next_issuer_is_asked_at_once_and_success_brings_back_the_first() {
    let mut world = world();
    world.current = None;
    assert_eq!(turns(&mut world, 0, 4), ["first", "second", "first", "second"]);
    world.memory.forget_failures();
    assert_eq!(obtains(&world.decide(DAY)), Some("first"));
}

#[test]
fn an_issuer_that_keeps_issuing_what_nodes_refuse_gives_way_to_the_next() {
    let mut world = world();
    world.current = Some((0, 90 * DAY));
    world.quarantined = true;
    let (mut now, mut turns) = (0, Vec::new());
    while turns.len() < 4 {
        let decision = world.decide(now);
        match obtains(&decision) {
            // It issues, and a node refuses what it issued.
            Some(issuer) => {
                turns.push(issuer.to_owned());
                world.fail(now, &turns[turns.len() - 1].clone(), ErrorClass::Refused);
            }
            None => now = seconds(decision.wake) + 1,
        }
    }
    assert_eq!(turns, ["first", "first", "first", "second"]);
    // And not in a tight loop: 1, 10 and then another 100 minutes lie between them.
    assert!(now > 110 * 60, "{now}");
}

#[test]
fn a_pending_order_is_taken_up_where_it_is() {
    let mut world = world();
    world.order_pending = Some("second");
    assert_eq!(obtains(&world.decide(0)), Some("second"));
    // The limit of orders is no reason not to finish one.
    world.issuers.get_mut("second").unwrap().limits.orders = Some(Limit::hourly(1, 1000));
    let (charges, state) = (world.policy.charges.clone(), world.issuers.get_mut("second").unwrap());
    state.ledger.charge_order(at(0), &state.limits.clone(), OrderKind::New, &charges);
    assert_eq!(obtains(&world.decide(0)), Some("second"));
}

#[test]
fn a_revocation_goes_around_the_back_off_once() {
    let mut world = world();
    world.policy.issuers = vec!["first".into()];
    world.fail(100, "first", ErrorClass::Transient);
    world.memory.revoke(3, at(110));
    assert_eq!(obtains(&world.decide(110)), Some("first"));
    world.fail(120, "first", ErrorClass::Transient);
    assert_eq!(world.decide(121).action, Action::Wait);
}

#[test]
fn retry_after_is_obeyed_but_not_for_years_and_not_beyond_the_end() {
    let wait = |seconds, remaining: Option<i64>| {
        let trouble = Trouble {
            failures: 1,
            at: at(0),
            class: ErrorClass::Ca,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        retry_delay(&trouble, remaining.map(SignedDuration::from_secs), 1)
    };
    assert_eq!(wait(3 * 3600, None), SignedDuration::from_hours(3));
    assert_eq!(wait(10 * 365 * 86400, Some(30 * DAY)), SignedDuration::from_hours(24));
    assert_eq!(wait(10 * 365 * 86400, Some(8 * HOUR)), SignedDuration::from_hours(4));
    assert!(wait(0, Some(30 * DAY)) >= SignedDuration::from_mins(15));
}

#[test]
fn each_class_has_its_own_schedule() {
    let waits = |class| {
        [1, 2, 3, 4].map(|failures| {
            let trouble = Trouble { failures, at: at(0), class, retry_after: None };
            retry_delay(&trouble, Some(SignedDuration::from_hours(24 * 60)), 0).as_secs() / 60
        })
    };
    // Each with up to a tenth more.
    assert_eq!(waits(ErrorClass::Transient)[0], 1);
    assert!((1440..=1584).contains(&waits(ErrorClass::Identifier)[3]));
    assert!((60..=66).contains(&waits(ErrorClass::Ours)[3]));
    assert!((10..=11).contains(&waits(ErrorClass::Account)[0]));
    assert!((15..=17).contains(&waits(ErrorClass::Ca)[0]));
}

#[test]
fn retries_come_sooner_as_the_end_nears() {
    let trouble = Trouble { failures: 4, at: at(0), class: ErrorClass::Transient, retry_after: None };
    let wait = |left| retry_delay(&trouble, Some(SignedDuration::from_secs(left)), 1);
    assert!(wait(365 * DAY) >= SignedDuration::from_hours(24));
    assert!(wait(4 * HOUR) <= SignedDuration::from_mins(66));
    assert!(wait(4) >= SignedDuration::from_secs(10));
    assert!(wait(-1) <= SignedDuration::from_secs(15 * 66));
}

#[test]
fn a_word_about_one_certificate_holds_up_that_one_only() {
    let mut world = world();
    let mut error = IssueError::new(ErrorClass::Ca, "too many certificates for this exact set");
    error.retry_after = Some(Duration::from_secs(1800));
    world.first().refused(at(0), "one", &error);
    world.first().refused(at(1), "one", &error);
    assert_eq!(world.first().blocked, None);
    world.first().refused(at(2), "two", &error);
    world.first().refused(at(3), "three", &error);
    assert_eq!(world.first().blocked.as_ref().unwrap().until, at(1803), "three are everybody");
}

#[test]
fn peer_defect_08_a_rehearsal_comes_after_repeated_refusals_and_the_real_one_once_after_it() {
    let mut world = world();
    world.current = Some((0, 90 * DAY));
    world.changed = Some(Change::Identifiers);
    world.policy.issuers = vec!["first".into()];
    world.first().rehearsal = Some("staging".into());
    let mut now = 0;
    let mut actions = Vec::new();
    for _ in 0..8 {
        loop {
            let decision = world.decide(now);
            match decision.action {
                Action::Wait => now = seconds(decision.wake) + 1,
                Action::Obtain { .. } => {
                    actions.push(("real", now / HOUR));
                    world.fail(now, "first", ErrorClass::Identifier);
                    break;
                }
                Action::Rehearse { ref at, ref issuer } => {
                    assert_eq!((at.as_str(), issuer.as_str()), ("staging", "first"));
                    actions.push(("staged", now / HOUR));
                    world.memory.rehearsed(self::at(now), "first", Ok(()));
                    break;
                }
                Action::AskRenewalInfo { .. } => unreachable!(),
            }
        }
    }
    // Peer defect 8: staging says yes and production says no, again and again.
    let kinds: Vec<_> = actions.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["real", "real", "real", "staged", "real", "staged", "real", "staged"]);
    assert!(actions[5].1 - actions[4].1 >= 24, "the back-off goes on, it does not start again: {actions:?}");
}

#[test]
fn what_a_clock_that_ran_ahead_has_noted_holds_nothing_up() {
    let mut world = world();
    world.policy.issuers = vec!["first".into()];
    world.changed = Some(Change::KeyType);
    let ahead = 60 * DAY;
    world.fail(ahead, "first", ErrorClass::Transient);
    let charges = world.policy.charges.clone();
    for _ in 0..5 {
        let state = world.first();
        state.ledger.charge_order(at(ahead), &state.limits.clone(), OrderKind::New, &charges);
    }
    let mut error = IssueError::new(ErrorClass::Ca, "busy");
    error.issuer_wide = true;
    world.first().refused(at(ahead), "other", &error);
    assert_eq!(obtains(&world.decide(HOUR)), Some("first"));
    world.window(ahead, 60 * HOUR, 61 * HOUR);
    world.changed = None;
    assert!(matches!(world.decide(HOUR).action, Action::AskRenewalInfo { .. }));
}
