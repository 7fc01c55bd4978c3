//! The model of the CA's limits.

use super::*;

#[test]
fn peer_defect_09_a_429_to_everybody_holds_up_that_issuer_only_and_is_obeyed() {
    let mut world = world();
    world.changed = Some(Change::Identifiers);
    let mut error = IssueError::new(ErrorClass::Ca, "busy");
    (error.issuer_wide, error.retry_after) = (true, Some(Duration::from_secs(1800)));
    world.first().refused(at(0), "other", &error);
    let decision = world.decide(1);
    assert_eq!((decision.at, decision.issuer), (at(1800), 0), "with margin the first is waited for");
    assert!(matches!(decision.hold, Some(Hold::Blocked { .. })));
    world.current = None;
    assert_eq!(obtains(&world.decide(1)), Some("second"), "without, the next is asked");
    // A CA that wants to be left alone for ten years does not cost a certificate its life.
    (world.current, world.policy.issuers) = (Some((-90 * HOUR, 10 * HOUR)), vec!["first".into()]);
    error.retry_after = Some(Duration::from_secs(10 * 365 * 86400));
    world.first().refused(at(0), "other", &error);
    assert_eq!(world.decide(1).at, at(5 * HOUR));
}

#[test]
fn the_model_of_limits_holds_an_order_up_and_says_which() {
    let mut world = world();
    world.current = None;
    world.policy.issuers = vec!["first".into()];
    let charges = world.policy.charges.clone();
    assert_eq!(charges.domains, ["a.example"]);
    for _ in 0..5 {
        assert!(obtains(&world.decide(0)).is_some());
        let state = world.first();
        state.ledger.charge_order(at(0), &state.limits.clone(), OrderKind::New, &charges);
    }
    let decision = world.decide(0);
    assert_eq!(decision.hold, Some(Hold::Limit(Held::Set)));
    // Five in a week: one comes back in a fifth of it.
    assert_eq!(decision.at, at(7 * DAY / 5));
    let state = world.first();
    state.ledger.refund_certificate(&state.limits.clone(), OrderKind::New, &charges);
    assert!(obtains(&world.decide(0)).is_some());
}

#[test]
fn routine_leaves_a_reserve_to_the_urgent() {
    let limit = Limits { per_set: None, per_domain: None, ..Limits::LETS_ENCRYPT };
    let charges = Charges::of(&["a.example".to_owned()]);
    let mut ledger = Ledger::default();
    let free =
        |ledger: &Ledger, urgent| ledger.earliest(at(0), &limit, OrderKind::New, &charges, urgent).0 <= at(0);
    let mut placed = 0;
    while free(&ledger, false) {
        ledger.charge_order(at(0), &limit, OrderKind::New, &charges);
        placed += 1;
    }
    assert!((265..=275).contains(&placed), "{placed}");
    while free(&ledger, true) {
        ledger.charge_order(at(0), &limit, OrderKind::New, &charges);
        placed += 1;
    }
    assert_eq!(placed, 300);
    assert!(ledger.earliest(at(0), &limit, OrderKind::Replaces, &charges, false).0 <= at(0), "exempt");
    ledger.prune(at(3 * HOUR + 1));
    assert_eq!(ledger.used(at(3 * HOUR + 1), &limit).0, 0);
}

#[test]
fn a_limit_reads_and_prints_as_people_write_it() {
    assert_eq!("300/3h".parse(), Ok(Limit::hourly(300, 3)));
    for bad in ["", "300", "0/3h", "x/3h", "3/0s", "3/-1h", "3/soon"] {
        assert!(bad.parse::<Limit>().unwrap_err().contains("300/3h"), "{bad}");
    }
}

#[test]
fn failed_authorizations_stop_before_the_ca_does() {
    let mut world = world();
    (world.current, world.policy.issuers) = (None, vec!["first".into()]);
    let charges = world.policy.charges.clone();
    for _ in 0..5 {
        let state = world.first();
        state.ledger.charge_failure(at(0), &state.limits.clone(), &charges);
    }
    let decision = world.decide(0);
    assert!(matches!(decision.hold, Some(Hold::Limit(Held::FailedAuthorizations(_)))), "{decision:?}");
    assert_eq!(decision.at, at(HOUR / 5));
}
