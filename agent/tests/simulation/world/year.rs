//! Who takes part, and what a bad year brings.

use super::*;

pub(super) fn cert(index: usize, rng: &mut fastrand::Rng) -> Cert {
    let lifetime = match index % 10 {
        0..5 => 90 * DAY,
        5..8 => 45 * DAY,
        _ => 160 * HOUR,
    };
    let domain = (index / 10) as u64;
    let identifiers = vec![format!("host-{index}.domain-{domain}.example")];
    let issuers = if index.is_multiple_of(2) { NAMES.to_vec() } else { vec![NAMES[0]] };
    let policy = Policy {
        issuers: issuers.into_iter().map(str::to_owned).collect(),
        renew_at: if lifetime < 10 * DAY { 0.5 } else { 2.0 / 3.0 },
        windows: None,
        charges: Charges::of(&identifiers),
    };
    Cert {
        policy,
        memory: Memory::default(),
        current: None,
        lifetime,
        domain,
        identifiers,
        seed: rng.u64(..),
        journal: None,
        busy: false,
        hurries: false,
        version: 0,
        due_since: None,
        expired: false,
        attempts_today: (0, 0),
        first_at: None,
    }
}

/// A bad year: outages of hours to five days, days of 429, and surprises.
pub(super) fn moods(ca: &mut Ca, rng: &mut fastrand::Rng, end: i64) {
    for _ in 0..rng.u32(3..10) {
        let (from, lasts) = (rng.i64(START..end), rng.i64(HOUR..5 * DAY));
        ca.moods.push((from, from + lasts, Mood::Down));
    }
    for _ in 0..rng.u32(2..8) {
        let (from, lasts) = (rng.i64(START..end), rng.i64(600..8 * HOUR));
        let after = [None, Some(0), Some(60), Some(3600), Some(86400), Some(10 * 365 * 86400)];
        ca.moods.push((from, from + lasts, Mood::Busy(after[rng.usize(0..after.len())])));
    }
    for _ in 0..rng.u32(1..5) {
        let (from, lasts) = (rng.i64(START..end), rng.i64(HOUR..20 * DAY));
        let mood = [Mood::NoInfo, Mood::Hurry, Mood::Absurd][rng.usize(0..3)];
        ca.moods.push((from, from + lasts, mood));
    }
}
