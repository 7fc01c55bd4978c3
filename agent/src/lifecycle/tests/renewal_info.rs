//! What the CA says about the time (RFC 9773).

use super::*;

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
