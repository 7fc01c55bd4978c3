//! What people read.

use super::*;

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
