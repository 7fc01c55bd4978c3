//! When a renewal is due.

use super::*;

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
fn a_ca_that_revokes_what_it_issues_is_not_asked_in_a_tight_loop() {
    let mut world = world();
    let due_after = |world: &World| seconds(world.decide(HOUR).at) - HOUR;
    world.memory.revoke(3, at(HOUR));
    assert!(obtains(&world.decide(HOUR)).is_some(), "the first at once");
    let mut waits = Vec::new();
    for earlier in 4..9 {
        world.memory.revoke(earlier, at(HOUR - 100 * earlier as i64));
        waits.push(due_after(&world));
    }
    assert_eq!(waits, [60, 600, 6000, DAY, DAY]);
    world.request = Some(Request { force: true });
    assert!(obtains(&world.decide(HOUR)).is_some(), "an operator does not wait");
    // What was revoked days ago is another story.
    let mut calm = super::world();
    calm.memory.revoke(1, at(-2 * DAY));
    calm.memory.revoke(3, at(HOUR));
    assert!(obtains(&calm.decide(HOUR)).is_some());
}
