//! A year of certificates against modelled CAs, through the very functions that the agent decides by. It is
//! deterministic: a seed that fails is printed, and fails again (`SEALWIRE_SEED=n`). `make simulate` runs a
//! thousand seeds (`SEALWIRE_SEEDS`).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

mod ca;
mod world;

use world::{Settings, World};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn run(seed: u64, settings: &Settings) {
    let mut world = World::new(seed, settings);
    world.run();
    let report = world.report();
    assert!(
        report.violations.is_empty(),
        "seed {seed} with {} certificates (again: SEALWIRE_SEED={seed}):\n{}",
        settings.certificates,
        report.violations.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
    );
    println!("seed {seed}: {report}");
}

/// The full size: one year, ten thousand certificates of all profiles.
#[test]
fn ten_thousand_certificates_for_a_year() {
    run(number("SEALWIRE_SEED").unwrap_or(1), &Settings { certificates: 10_000, days: 365 });
}

/// Many worlds of a smaller size.
#[test]
fn many_seeds() {
    let settings = Settings { certificates: 200, days: 365 };
    if let Some(seed) = number("SEALWIRE_SEED") {
        return run(seed, &settings);
    }
    let seeds = number("SEALWIRE_SEEDS").unwrap_or(12);
    for seed in 100..100 + seeds {
        run(seed, &settings);
    }
}

/// The judge must be able to say no: an agent that asks for nothing expires, one that asks all the time
/// runs into limits.
#[test]
fn the_simulation_can_fail() {
    let settings = Settings { certificates: 30, days: 200 };
    let mut idle = World::new(7, &settings);
    idle.asleep = true;
    idle.run();
    assert!(idle.report().violations.iter().any(|violation| violation.contains("expired")));

    let settings = Settings { certificates: 30, days: 15 };
    let mut greedy = World::new(7, &settings);
    greedy.greedy = true;
    greedy.run();
    assert!(greedy.report().violations.iter().any(|violation| violation.contains("limit")));
}
