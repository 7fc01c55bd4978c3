//! What holds for every certificate.

use proptest::prelude::*;

use super::*;

const SHORTEST_SEEN: SignedDuration = SignedDuration::from_secs(10);

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
