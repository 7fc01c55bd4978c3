//! The judge of channels finds nothing in what a sound node would do, and finds whatever is planted. `SEALWIRE_SEEDS`
//! says how many histories are made up.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use sealwire_tests::judge::judge;

#[path = "judge/model.rs"]
mod model;
#[path = "judge/plant.rs"]
mod plant;

fn seeds() -> std::ops::Range<u64> {
    let wanted = std::env::var("SEALWIRE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let first = fastrand::u64(..u64::MAX / 2);
    // For whoever wants to see a failure again.
    eprintln!("seeds from {first}");
    first..first + wanted.unwrap_or(400)
}

#[test]
fn what_a_sound_node_does_is_without_fault() {
    let (mut lost, mut recovered, mut caught_up) = (0, 0, 0);
    for seed in seeds() {
        let record = model::record(seed);
        let verdict = judge(&record);
        assert_eq!(verdict.faults, [], "seed {seed}");
        assert_eq!(verdict.acknowledged, record.acknowledged().count());
        (lost, recovered) = (lost + verdict.lost, recovered + verdict.recovered);
        caught_up += verdict.caught_up;
    }
    // A model in which nothing happens would prove nothing.
    assert!(lost > 0 && recovered > 0 && caught_up > 0, "{lost} {recovered} {caught_up}");
}

#[test]
fn whatever_is_planted_is_found_for_what_it_is() {
    let mut planted = BTreeMap::<&str, usize>::new();
    for seed in seeds() {
        for (name, plant) in plant::ALL {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut record = model::record(seed);
            // Not every history has what this one needs.
            let Some(is_expected) = plant(&mut record, &mut random) else { continue };
            let faults = judge(&record).faults;
            assert!(faults.iter().any(is_expected), "{name}, seed {seed}: {faults:?}\n{record:?}");
            *planted.entry(name).or_default() += 1;
        }
    }
    for (name, _) in plant::ALL {
        assert!(
            planted.get(name).is_some_and(|times| *times >= 10),
            "{name} was hardly ever planted: {planted:?}"
        );
    }
}
