#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::backoff::retry_delay;
use super::limits::{Held, Limit, OrderKind};
use super::*;
use crate::issuer::{ErrorClass, RenewalInfo};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A certificate of 100 hours from two issuers, renewed at half of its life, and all that is known of it.
#[derive(Clone)]
struct World {
    current: Option<(i64, i64)>,
    changed: Option<Change>,
    damaged: bool,
    quarantined: bool,
    order_pending: Option<&'static str>,
    request: Option<Request>,
    memory: Memory,
    policy: Policy,
    issuers: Issuers,
    identifiers: Vec<String>,
    seed: u64,
}

fn world() -> World {
    let identifiers = vec!["a.example".to_owned(), "b.a.example".to_owned()];
    let policy = Policy {
        issuers: vec!["first".into(), "second".into()],
        renew_at: 0.5,
        windows: None,
        charges: Charges::of(&identifiers),
    };
    let issuers = ["first", "second"].map(|name| (name.to_owned(), IssuerState::new(Limits::LETS_ENCRYPT)));
    World {
        current: Some((0, 100 * HOUR)),
        changed: None,
        damaged: false,
        quarantined: false,
        order_pending: None,
        request: None,
        memory: Memory::default(),
        policy,
        issuers: issuers.into(),
        identifiers,
        seed: 7,
    }
}

impl World {
    fn facts(&self) -> Facts<'_> {
        Facts {
            current: self.current.map(|(not_before, not_after)| Current {
                generation: 3,
                issuer: "first",
                identifiers: &self.identifiers,
                not_before: at(not_before),
                not_after: at(not_after),
                stored_at: at(not_before),
            }),
            changed: self.changed,
            damaged: self.damaged,
            quarantined: self.quarantined,
            order_pending: self.order_pending,
            memory: &self.memory,
            request: self.request,
        }
    }

    fn decide(&self, now: i64) -> Decision {
        decide(at(now), &self.facts(), &self.policy, &self.issuers, self.seed)
    }

    fn fail(&mut self, now: i64, issuer: &str, class: ErrorClass) {
        self.memory.failed(at(now), Some(issuer), &IssueError::new(class, "no"));
    }

    fn first(&mut self) -> &mut IssuerState {
        self.issuers.get_mut("first").unwrap()
    }

    fn window(&mut self, now: i64, start: i64, end: i64) {
        self.first().renewal_info = true;
        let info = RenewalInfo { start: at(start), end: at(end), explanation_url: None, retry_after: None };
        self.memory.renewal_info(at(now), 3, Ok(Some(info)), self.seed);
    }
}

fn obtains(decision: &Decision) -> Option<&str> {
    match &decision.action {
        Action::Obtain { issuer } => Some(issuer),
        _ => None,
    }
}

fn seconds(timestamp: Timestamp) -> i64 {
    timestamp.as_second()
}

#[test]
fn renews_at_the_ratio_less_a_spread() {
    let mut world = world();
    let decision = world.decide(0);
    assert_eq!(decision.action, Action::Wait);
    assert!(decision.at > at(48 * HOUR) && decision.at <= at(50 * HOUR), "{decision:?}");
    assert_eq!(obtains(&world.decide(seconds(decision.at) + 1)), Some("first"));
    world.seed = 8;
    assert_ne!(world.decide(0).at, decision.at);
}

#[test]
fn what_cannot_wait_is_due_now() {
    let reason = |change: &dyn Fn(&mut World)| {
        let mut world = world();
        change(&mut world);
        let decision = world.decide(HOUR);
        assert!(obtains(&decision).is_some(), "{decision:?}");
        decision.reason
    };
    assert_eq!(reason(&|world| world.current = None), Reason::Missing);
    assert_eq!(reason(&|world| world.current = Some((-HOUR, 10))), Reason::NotValid);
    assert_eq!(reason(&|world| world.damaged = true), Reason::Damaged);
    assert_eq!(reason(&|world| world.order_pending = Some("second")), Reason::Resume);
    assert_eq!(reason(&|world| world.quarantined = true), Reason::Quarantined);
    assert_eq!(reason(&|world| world.request = Some(Request { force: false })), Reason::Requested);
    assert_eq!(reason(&|world| world.changed = Some(Change::KeyType)), Reason::Changed(Change::KeyType));
    assert_eq!(reason(&|world| world.memory.revoke(3, at(0))), Reason::Revoked);
}

#[test]
fn failures_are_waited_out_unless_forced() {
    let mut world = world();
    world.changed = Some(Change::Identifiers);
    world.fail(0, "first", ErrorClass::Transient);
    let decision = world.decide(0);
    assert_eq!(decision.action, Action::Wait);
    assert!(decision.at >= at(60) && decision.at <= at(66), "{decision:?}");
    assert!(matches!(decision.hold, Some(Hold::BackOff { failures: 1, .. })));

    world.request = Some(Request { force: false });
    assert_eq!(world.decide(0).action, Action::Wait);
    world.request = Some(Request { force: true });
    assert_eq!(obtains(&world.decide(0)), Some("first"));
}

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
    assert!(wait(4) >= SHORTEST_SEEN);
    assert!(wait(-1) <= SignedDuration::from_secs(15 * 66));
}

const SHORTEST_SEEN: SignedDuration = SignedDuration::from_secs(10);

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

#[test]
fn a_rehearsal_comes_after_repeated_refusals_and_the_real_one_once_after_it() {
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
fn renewal_information_sets_the_time_and_is_drawn_once() {
    let mut world = world();
    world.window(0, 30 * HOUR, 40 * HOUR);
    let drawn = world.decide(0).at;
    assert!((at(30 * HOUR)..at(40 * HOUR)).contains(&drawn), "{drawn}");
    assert!(matches!(world.decide(0).reason, Reason::RenewalInfo { .. }));
    world.window(HOUR, 30 * HOUR, 40 * HOUR);
    assert_eq!(world.decide(HOUR).at, drawn, "the same window, the same instant");
    world.window(HOUR, 31 * HOUR, 40 * HOUR);
    assert_ne!(world.decide(HOUR).at, drawn);
}

#[test]
fn a_window_in_the_past_means_now_but_not_for_ever() {
    let mut world = world();
    world.window(10 * HOUR, 8 * HOUR, 9 * HOUR);
    assert_eq!(obtains(&world.decide(10 * HOUR)), Some("first"));
    // The one that came of it is unwanted too: a CA that has lost its mind.
    world.memory.hurried = 1;
    let decision = world.decide(HOUR);
    assert_eq!(decision.action, Action::Wait);
    assert!(decision.at >= at(5 * HOUR), "a twentieth of the lifetime: {decision:?}");
}

#[test]
fn a_window_near_or_past_the_end_is_overridden() {
    let mut world = world();
    world.window(0, 99 * HOUR, 500 * HOUR);
    let decision = world.decide(0);
    assert_eq!(
        (decision.at, decision.reason),
        (at(90 * HOUR), Reason::LastCall { not_after: at(100 * HOUR) })
    );
}

#[test]
fn peer_defect_05_a_failed_question_is_asked_again() {
    let mut world = world();
    world.first().renewal_info = true;
    let first = world.decide(0);
    assert!(first.wake <= at(600), "{first:?}");
    let asks = Action::AskRenewalInfo { issuer: "first".into() };
    assert_eq!(world.decide(601).action, asks);
    let mut now = 601;
    for errors in 1..=4 {
        world.memory.renewal_info(at(now), 3, Err("away".into()), 7);
        let ari = world.memory.ari.clone().unwrap();
        assert_eq!(ari.errors, errors);
        let wait = seconds(ari.next) - now;
        assert!((4 * HOUR + 2000..=8 * HOUR).contains(&wait), "six hours, more or less: {wait}");
        now = seconds(ari.next) + 1;
        assert_eq!(world.decide(now).action, asks);
    }
    world.window(now, 60 * HOUR, 61 * HOUR);
    world.memory.renewal_info(at(now), 3, Err("away".into()), 7);
    assert!(matches!(world.decide(now).reason, Reason::RenewalInfo { .. }), "an error undoes no answer");
    assert!(!matches!(world.decide(101 * HOUR).action, Action::AskRenewalInfo { .. }), "never after the end");
}

#[test]
fn the_cas_wish_for_the_next_question_is_bounded() {
    for (asked, least, most) in [(0, 60, 60), (7200, 7200, 7200), (10 * 365 * 86400, DAY, DAY)] {
        let mut memory = Memory::default();
        let info = RenewalInfo {
            start: at(0),
            end: at(1),
            explanation_url: None,
            retry_after: Some(Duration::from_secs(asked)),
        };
        memory.renewal_info(at(0), 1, Ok(Some(info)), 1);
        let next = seconds(memory.ari.unwrap().next);
        assert!((least..=most).contains(&next), "{asked}: {next}");
    }
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

#[test]
fn windows_move_a_renewal_but_never_past_safety() {
    let mut world = world();
    let windows = |cron: &str| {
        Some(Windows::new(&[cron.to_owned()], SignedDuration::from_hours(2), "Europe/Berlin").unwrap())
    };
    let free = world.decide(0).at;
    // 02:00 in Berlin is 01:00 UTC in January: the third day after the epoch is a Saturday.
    world.policy.windows = windows("0 2 * * *");
    let decision = world.decide(0);
    assert_eq!(decision.hold, Some(Hold::Window));
    assert_eq!((decision.at, seconds(decision.at) % DAY), (at(2 * DAY + HOUR), HOUR));
    assert!(decision.at > free);
    assert!(obtains(&world.decide(2 * DAY + HOUR)).is_some(), "open");
    assert!(obtains(&world.decide(2 * DAY + 2 * HOUR)).is_some(), "still open");
    // Once a year is too seldom: half of the margin, then it happens.
    world.policy.windows = windows("0 2 1 7 *");
    let decision = world.decide(0);
    let half = seconds(free) + (100 * HOUR - seconds(free)) / 2;
    assert!((decision.at.as_second() - half).abs() <= 1, "{decision:?}");
    // What cannot wait does not.
    world.memory.revoke(3, at(0));
    assert!(obtains(&world.decide(HOUR)).is_some());
    assert!(Windows::new(&["61 * * * *".to_owned()], SignedDuration::from_hours(1), "UTC").is_err());
    assert!(Windows::new(&["0 * * * *".to_owned()], SignedDuration::from_hours(1), "Mars/Base").is_err());
}

#[test]
fn an_explanation_names_rule_numbers_and_issuers() {
    let mut world = world();
    world.window(0, 30 * HOUR, 40 * HOUR);
    world.fail(0, "second", ErrorClass::Identifier);
    let lines = explain::explain(at(HOUR), &world.facts(), &world.policy, &world.issuers, world.seed);
    let text = lines.iter().map(|line| format!("{}: {}\n", line.label, line.text)).collect::<String>();
    for part in
        ["generation 3 from first", "the CA's window 1970-01-02T06:00:00Z", "calm", "0 of 300", "survives"]
    {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn a_plan_renews_again_and_again_and_obeys_the_limits() {
    let mut world = world();
    world.first().limits.renewals_exempt = false;
    world.first().limits.per_set = Some(Limit::hourly(1, 30 * 24));
    let identifiers = world.identifiers.clone();
    let subject = explain::Subject {
        name: "web".into(),
        policy: Policy { issuers: vec!["first".into()], ..world.policy.clone() },
        seed: 7,
        memory: Memory::default(),
        current: Some(explain::Held {
            generation: 1,
            issuer: "first".into(),
            identifiers,
            not_before: at(0),
            not_after: at(90 * DAY),
        }),
        changed: None,
        damaged: false,
        quarantined: false,
    };
    let plan = explain::plan(at(0), at(365 * DAY), &[subject], &world.issuers, 1000);
    assert!((7..=9).contains(&plan.len()), "{}", plan.len());
    for pair in plan.windows(2) {
        assert!(pair[1].at.duration_since(pair[0].at) >= SignedDuration::from_hours(30 * 24), "{pair:?}");
    }
    assert!(plan.iter().all(|order| order.survives.unwrap() > SignedDuration::from_hours(24 * 40)));
}

#[test]
fn reasons_read_well() {
    let mut world = world();
    world.current = None;
    world.policy.issuers = vec!["first".into()];
    world.fail(0, "first", ErrorClass::Ca);
    assert_eq!(
        world.decide(0).why(),
        "there is no generation yet; back-off after 1 failure(s), the last one the CA's"
    );
    assert_eq!(self::world().decide(0).why(), "50 % of the lifetime that ends 1970-01-05T04:00:00Z");
}

proptest! {
    /// Whatever the lifetime, the ratio and the failures: a renewal is tried before the end, again and
    /// again, and never in a tight loop.
    #[test]
    fn every_lifetime_gets_several_attempts_before_its_end(
        lifetime in 120_i64..400 * DAY,
        renew_at in 0.01_f64..0.95,
        seed in any::<u64>(),
    ) {
        let mut world = world();
        world.current = Some((0, lifetime));
        (world.policy.renew_at, world.seed) = (renew_at, seed);
        world.policy.issuers = vec!["first".into()];
        let mut now = world.decide(0).at;
        prop_assert!(now < at(lifetime));
        let mut attempts = 0;
        while now < at(lifetime) && attempts < 1000 {
            let decision = decide(now, &world.facts(), &world.policy, &world.issuers, seed);
            prop_assert!(obtains(&decision).is_some());
            attempts += 1;
            world.memory.failed(now, Some("first"), &IssueError::new(ErrorClass::Transient, "no"));
            let next = decide(now, &world.facts(), &world.policy, &world.issuers, seed);
            prop_assert!(next.at.duration_since(now) >= SHORTEST_SEEN);
            now = next.at;
        }
        // With 6 s left (120 s at 0.95) one attempt is all that fits.
        let room = lifetime as f64 * (1.0 - renew_at);
        prop_assert!(attempts >= if room >= 60.0 { 3 } else { 1 }, "{attempts} attempts in {room} s");
        // One a day while there is margin, and then a number that grows with the logarithm of what is left.
        prop_assert!(attempts < 60 + lifetime / DAY, "{attempts}");
    }

    /// The decision depends on nothing but its arguments, and a wait ends where it says.
    #[test]
    fn a_wait_ends_in_an_action(
        failures in proptest::collection::vec((0_i64..1_000_000, any::<bool>()), 0..8),
        window in proptest::option::of((-1_000_000_i64..1_000_000, 1_i64..1_000_000)),
        seed in any::<u64>(),
    ) {
        let mut world = world();
        world.seed = seed;
        world.changed = (seed % 2 == 0).then_some(Change::Profile);
        let mut now = 0;
        for (at, second) in failures {
            now = now.max(at);
            world.fail(now, if second { "second" } else { "first" }, ErrorClass::Ours);
        }
        if let Some((start, width)) = window {
            world.window(now, start, start + width);
        }
        let mut decision = world.decide(now);
        prop_assert_eq!(&decision, &world.decide(now));
        for _ in 0..20 {
            if decision.action != Action::Wait {
                return Ok(());
            }
            let wake = decision.wake;
            prop_assert!(wake > at(now));
            decision = decide(wake, &world.facts(), &world.policy, &world.issuers, seed);
            now = seconds(wake);
        }
        prop_assert!(false, "it only ever waits: {decision:?}");
    }
}
