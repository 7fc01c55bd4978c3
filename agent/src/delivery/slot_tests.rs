#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sealwire_proto::v1::NackReason;

use super::*;

const LIMITS: Limits = Limits {
    ack: Duration::from_secs(10),
    proof: Duration::from_secs(10),
    proof_by: ProofBy::Agent,
    node_looks: true,
};

fn leaf(generation: u64) -> Leaf {
    Leaf { generation, sha256: [generation as u8; 32] }
}

fn ack(generation: u64) -> Input {
    Input::Acked { generation, validate_micros: 1, swap_micros: 2 }
}

/// Serve this, and nothing else.
fn desire(leaf: Leaf) -> Input {
    Input::Want(Wanted { serve: leaf, staple: None, prepare: None })
}

/// Serve this, and hold the next one.
fn desire_and_hold(serve: u64, hold: u64) -> Input {
    let prepare = Some(Prepare { leaf: leaf(hold), staple: None });
    Input::Want(Wanted { serve: leaf(serve), staple: None, prepare })
}

fn desire_stapled(generation: u64, staple: Digest) -> Input {
    Input::Want(Wanted { serve: leaf(generation), staple: Some(staple), prepare: None })
}

fn held(leaf: Leaf) -> Option<Held> {
    Some(Held { leaf, staple: None })
}

fn saw(generation: u64, staple: Option<Digest>) -> Saw {
    Saw { leaf: leaf(generation).sha256, staple, took: Duration::from_millis(2) }
}

fn node_saw(generation: u64) -> Input {
    Input::NodeSaw { generation, seen: Ok(saw(generation, None)) }
}

fn agent_saw(generation: u64) -> Input {
    Input::AgentSaw { generation, seen: Ok(saw(generation, None)) }
}

fn agent_saw_staple(generation: u64, staple: Digest) -> Input {
    Input::AgentSaw { generation, seen: Ok(saw(generation, Some(staple))) }
}

fn nack(generation: u64) -> Input {
    Input::Nacked { generation, reason: NackReason::Expired, detail: "x".into() }
}

fn pushes(effects: &[Effect]) -> Option<(u64, bool)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Push { generation, rollback, .. } => Some((*generation, *rollback)),
        _ => None,
    })
}

fn proven(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Report { outcome: Outcome::Proven { .. }, .. }))
}

#[test]
fn push_ack_both_handshakes_proven() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    assert_eq!(pushes(&slot.on(desire(leaf(1)), now)), Some((1, false)));
    assert_eq!(slot.on(ack(1), now).len(), 1);
    assert_eq!(slot.on(node_saw(1), now), [Effect::Probe { generation: 1 }]);
    assert!(proven(&slot.on(agent_saw(1), now)));
    assert_eq!(slot.deadline(), None);
    assert_eq!(slot.on(desire(leaf(1)), now), []);
}

#[test]
fn what_a_node_holds_is_only_looked_at() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, held(leaf(4)));
    assert_eq!(slot.on(desire(leaf(4)), now), [Effect::Probe { generation: 4 }]);
    assert!(proven(&slot.on(agent_saw(4), now)));

    // The same number with another leaf is not the same generation.
    let mut slot = Slot::new(LIMITS, held(Leaf { generation: 4, sha256: [9; 32] }));
    assert_eq!(pushes(&slot.on(desire(leaf(4)), now)), Some((4, true)));
}

#[test]
fn after_a_nack_the_last_good_one_is_looked_at_and_not_sent_again() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, held(leaf(1)));
    slot.on(desire(leaf(2)), now);
    let effects = slot.on(nack(2), now);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Nacked { .. }, .. }]));
    assert_eq!(slot.on(desire(leaf(1)), now), [Effect::Probe { generation: 1 }]);
}

#[test]
fn an_unproven_generation_is_rolled_back_by_number() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, held(leaf(1)));
    slot.on(desire(leaf(2)), now);
    slot.on(ack(2), now);
    let late = now + LIMITS.proof;
    let effects = slot.on(Input::Tick, late);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Unproven { .. }, .. }]));
    assert_eq!(pushes(&slot.on(desire(leaf(1)), late)), Some((1, true)));
}

#[test]
fn peer_defect_10_a_failed_handshake_is_repeated_until_the_limit_and_then_now_and_again() {
    let mut now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(desire(leaf(1)), now);
    slot.on(ack(1), now);
    slot.on(node_saw(1), now);
    let mut probes = 1;
    let failed = || Input::AgentSaw { generation: 1, seen: Err("refused".into()) };
    slot.on(failed(), now);
    let error = loop {
        now = slot.deadline().unwrap();
        match &slot.on(Input::Tick, now)[..] {
            [Effect::Probe { .. }] => {
                probes += 1;
                slot.on(failed(), now);
            }
            [Effect::Report { outcome: Outcome::Unproven { error }, .. }] => break error.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error, "refused");
    assert!((30..=41).contains(&probes), "{probes}");
    now = slot.deadline().unwrap();
    assert_eq!(slot.on(Input::Tick, now), [Effect::Probe { generation: 1 }]);
    assert!(proven(&slot.on(agent_saw(1), now)), "a late proof is a proof");
}

#[test]
fn the_agent_looks_at_once_at_nodes_that_do_not_look_themselves() {
    let now = Instant::now();
    let mut slot = Slot::new(Limits { node_looks: false, ..LIMITS }, None);
    slot.on(desire(leaf(1)), now);
    assert_eq!(slot.on(ack(1), now).last(), Some(&Effect::Probe { generation: 1 }));
    assert!(proven(&slot.on(agent_saw(1), now)));
    let by_word = Limits { node_looks: false, proof_by: ProofBy::Node, ..LIMITS };
    let mut slot = Slot::new(by_word, None);
    slot.on(desire(leaf(1)), now);
    assert!(proven(&slot.on(ack(1), now)));
}

#[test]
fn a_silent_node_is_disconnected() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(desire(leaf(1)), now);
    let effects = slot.on(Input::Tick, now + LIMITS.ack);
    assert_eq!(effects.last(), Some(&Effect::Disconnect));
}

#[test]
fn newest_wins_and_late_answers_to_older_pushes_change_nothing() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(desire(leaf(1)), now);
    assert_eq!(pushes(&slot.on(desire(leaf(2)), now)), Some((2, false)));
    for late in [ack(1), nack(1), node_saw(1), agent_saw(1)] {
        assert_eq!(slot.on(late, now), []);
    }
    slot.on(ack(2), now);
    slot.on(node_saw(2), now);
    assert!(proven(&slot.on(agent_saw(2), now)));
}

#[test]
fn the_node_alone_proves_where_so_configured() {
    let now = Instant::now();
    let mut slot = Slot::new(Limits { proof_by: ProofBy::Node, ..LIMITS }, None);
    slot.on(desire(leaf(1)), now);
    slot.on(ack(1), now);
    assert!(proven(&slot.on(node_saw(1), now)));
}

#[test]
fn a_silent_node_is_disconnected_once_whatever_it_owes() {
    let mut now = Instant::now();
    let mut slot = Slot::new(LIMITS, held(leaf(1)));
    slot.on(desire_stapled(2, [2; 32]), now);
    now += Duration::from_secs(4);
    slot.on(desire_and_hold(2, 3), now);
    now += LIMITS.ack;
    assert_eq!(slot.on(Input::Tick, now).last(), Some(&Effect::Disconnect));
    // The answer about what was to be held is owed, too: it is not waited for any more.
    assert_eq!(slot.deadline(), None);
}

/// A slot that serves generation 1, proven.
fn proven_slot(limits: Limits) -> Slot {
    let now = Instant::now();
    let mut slot = Slot::new(limits, held(leaf(1)));
    slot.on(desire(leaf(1)), now);
    slot.on(agent_saw(1), now);
    slot
}

#[test]
fn what_is_held_is_swapped_in_by_a_word() {
    let now = Instant::now();
    let mut slot = proven_slot(LIMITS);
    let effects = slot.on(desire_and_hold(1, 2), now);
    assert_eq!(effects[0], Effect::Prepare { generation: 2, rollback: false, with_staple: false });
    assert_eq!(pushes(&effects), None, "what is served is not touched");
    let effects = slot.on(Input::Prepared { generation: 2, validate_micros: 7 }, now);
    let outcome = Outcome::Prepared { validate_micros: 7 };
    assert_eq!(effects, [Effect::Report { generation: 2, outcome }]);
    assert_eq!(slot.deadline(), None, "it is held for as long as it takes");
    assert_eq!(slot.on(desire(leaf(2)), now), [Effect::Commit { generation: 2 }]);
    slot.on(ack(2), now);
    slot.on(node_saw(2), now);
    assert!(proven(&slot.on(agent_saw(2), now)));
}

#[test]
fn a_commit_that_finds_nothing_held_becomes_a_push() {
    let now = Instant::now();
    let mut slot = proven_slot(LIMITS);
    slot.on(desire_and_hold(1, 2), now);
    slot.on(Input::Prepared { generation: 2, validate_micros: 0 }, now);
    slot.on(desire(leaf(2)), now);
    let not_prepared = Input::Nacked { generation: 2, reason: NackReason::NotPrepared, detail: "x".into() };
    assert_eq!(pushes(&slot.on(not_prepared, now)), Some((2, false)));
}

#[test]
fn what_is_no_longer_wanted_is_discarded_and_what_was_refused_is_not() {
    let now = Instant::now();
    let mut slot = proven_slot(LIMITS);
    slot.on(desire_and_hold(1, 2), now);
    slot.on(Input::Prepared { generation: 2, validate_micros: 0 }, now);
    assert_eq!(slot.on(desire(leaf(1)), now), [Effect::Discard { generation: 2 }]);
    slot.on(desire_and_hold(1, 3), now);
    let effects = slot.on(nack(3), now);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Nacked { .. }, .. }]));
    assert_eq!(slot.on(desire(leaf(1)), now), []);
}

#[test]
fn a_node_that_does_not_say_whether_it_holds_it_is_disconnected() {
    let now = Instant::now();
    let mut slot = proven_slot(LIMITS);
    slot.on(desire_and_hold(1, 2), now);
    assert_eq!(slot.deadline(), Some(now + LIMITS.ack));
    assert_eq!(slot.on(Input::Tick, now + LIMITS.ack).last(), Some(&Effect::Disconnect));
}

#[test]
fn a_staple_goes_out_without_a_generation_and_is_seen() {
    let now = Instant::now();
    let mut slot = proven_slot(LIMITS);
    assert_eq!(slot.on(desire_stapled(1, [7; 32]), now), [Effect::Staple { generation: 1 }]);
    let stapled = Input::Stapled { generation: 1, staple: [7; 32] };
    assert_eq!(slot.on(stapled, now), [Effect::Probe { generation: 1 }]);
    assert_eq!(slot.on(agent_saw(1), now), [], "a handshake without it: looked for again");
    let again = slot.deadline().unwrap();
    assert_eq!(again, now + PROBE_AGAIN);
    assert_eq!(slot.on(Input::Tick, again), [Effect::Probe { generation: 1 }]);
    let effects = slot.on(agent_saw_staple(1, [7; 32]), again);
    assert_eq!(effects, [Effect::Report { generation: 1, outcome: Outcome::Stapled }]);
    assert_eq!(slot.deadline(), None);
    assert_eq!(slot.on(desire_stapled(1, [7; 32]), again), [], "it is there already");
    assert_eq!(slot.on(desire_stapled(1, [8; 32]), again), [Effect::Staple { generation: 1 }]);
}

#[test]
fn a_staple_that_nobody_sees_is_told_and_the_generation_stays() {
    let now = Instant::now();
    let mut slot = proven_slot(LIMITS);
    slot.on(desire_stapled(1, [7; 32]), now);
    slot.on(Input::Stapled { generation: 1, staple: [7; 32] }, now);
    let effects = slot.on(Input::Tick, now + LIMITS.proof);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::StapleRefused { .. }, .. }]));
    assert_eq!(slot.deadline(), None);
}

#[test]
fn a_bundle_goes_without_a_staple_that_the_node_will_not_have() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    let effects = slot.on(desire_stapled(1, [7; 32]), now);
    assert_eq!(effects[0], Effect::Push { generation: 1, rollback: false, with_staple: true });
    let bad = || Input::Nacked { generation: 1, reason: NackReason::BadStaple, detail: "old".into() };
    let effects = slot.on(bad(), now);
    assert!(matches!(&effects[0], Effect::Report { outcome: Outcome::StapleRefused { .. }, .. }));
    assert_eq!(effects[1], Effect::Push { generation: 1, rollback: false, with_staple: false });
    // Refused for a staple that was not sent: a fault of the node's, and no loop.
    let effects = slot.on(bad(), now);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Nacked { .. }, .. }]));
}

#[test]
fn a_leaf_without_the_staple_that_was_acknowledged_is_not_proven() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(desire_stapled(1, [7; 32]), now);
    slot.on(ack(1), now);
    slot.on(node_saw(1), now);
    assert!(!proven(&slot.on(agent_saw(1), now)));
    let effects = slot.on(agent_saw_staple(1, [7; 32]), now);
    assert!(proven(&effects));
    assert_eq!(effects[1], Effect::Report { generation: 1, outcome: Outcome::Stapled });
}

#[test]
fn peer_defect_11_a_nack_after_the_commit_is_reported_and_nothing_is_sent_in_a_loop() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(desire(leaf(1)), now);
    let effects = slot.on(nack(1), now);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Nacked { .. }, .. }]));
    assert_eq!(slot.on(desire(leaf(1)), now), []);
    assert_eq!(slot.deadline(), None);
}

proptest! {
    /// Whatever arrives in whatever order: proven is said only of the desired generation, after an ack (or
    /// a Hello that named it) and after a handshake that saw exactly its leaf.
    #[test]
    fn never_proven_without_a_handshake_that_saw_it(script in prop::collection::vec((0_u8..14, 1_u64..4), 1..60)) {
        let mut now = Instant::now();
        let mut slot = Slot::new(LIMITS, held(leaf(1)));
        let mut desired = None;
        for (kind, generation) in script {
            let input = match kind {
                0 => { desired = Some(generation); desire(leaf(generation)) }
                8 => { desired = Some(generation); desire_and_hold(generation, generation + 1) }
                9 => { desired = Some(generation); desire_stapled(generation, [generation as u8; 32]) }
                10 => Input::Prepared { generation, validate_micros: 0 },
                11 => Input::Stapled { generation, staple: [generation as u8; 32] },
                12 => agent_saw_staple(generation, [generation as u8; 32]),
                13 => Input::StapleNacked { generation, detail: "x".into() },
                1 => ack(generation),
                2 => nack(generation),
                3 => node_saw(generation),
                4 => agent_saw(generation),
                5 => Input::AgentSaw { generation, seen: Ok(Saw { leaf: [0; 32], ..saw(generation, None) }) },
                6 => Input::AgentSaw { generation, seen: Err("no".into()) },
                _ => { now += Duration::from_secs(4); Input::Tick }
            };
            let seen = [agent_saw(generation), agent_saw_staple(generation, [generation as u8; 32])];
            let saw = seen.contains(&input);
            let effects = slot.on(input, now);
            if proven(&effects) {
                prop_assert!(saw && desired == Some(generation));
            }
            // A deadline that has come is dealt with once: the task that waits for it never spins.
            for _ in 0..4 {
                if slot.deadline().is_some_and(|deadline| deadline <= now) {
                    slot.on(Input::Tick, now);
                }
            }
            prop_assert!(slot.deadline().is_none_or(|deadline| deadline > now));
        }
    }
}
