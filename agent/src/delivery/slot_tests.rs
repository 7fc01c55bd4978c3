#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sealwire_proto::v1::NackReason;

use super::*;

const LIMITS: Limits =
    Limits { ack: Duration::from_secs(10), proof: Duration::from_secs(10), proof_by: ProofBy::Agent };

fn leaf(generation: u64) -> Leaf {
    Leaf { generation, sha256: [generation as u8; 32] }
}

fn ack(generation: u64) -> Input {
    Input::Acked { generation, validate_micros: 1, swap_micros: 2 }
}

fn node_saw(generation: u64) -> Input {
    Input::NodeSaw { generation, seen: Ok(leaf(generation).sha256) }
}

fn agent_saw(generation: u64) -> Input {
    Input::AgentSaw { generation, seen: Ok((leaf(generation).sha256, Duration::from_millis(2))) }
}

fn nack(generation: u64) -> Input {
    Input::Nacked { generation, reason: NackReason::Expired, detail: "x".into() }
}

fn pushes(effects: &[Effect]) -> Option<(u64, bool)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Push { generation, rollback } => Some((*generation, *rollback)),
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
    assert_eq!(pushes(&slot.on(Input::Desire(leaf(1)), now)), Some((1, false)));
    assert_eq!(slot.on(ack(1), now).len(), 1);
    assert_eq!(slot.on(node_saw(1), now), [Effect::Probe { generation: 1 }]);
    assert!(proven(&slot.on(agent_saw(1), now)));
    assert_eq!(slot.deadline(), None);
    assert_eq!(slot.on(Input::Desire(leaf(1)), now), []);
}

#[test]
fn what_a_node_holds_is_only_looked_at() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, Some(leaf(4)));
    assert_eq!(slot.on(Input::Desire(leaf(4)), now), [Effect::Probe { generation: 4 }]);
    assert!(proven(&slot.on(agent_saw(4), now)));

    // The same number with another leaf is not the same generation.
    let mut slot = Slot::new(LIMITS, Some(Leaf { generation: 4, sha256: [9; 32] }));
    assert_eq!(pushes(&slot.on(Input::Desire(leaf(4)), now)), Some((4, true)));
}

#[test]
fn after_a_nack_the_last_good_one_is_looked_at_and_not_sent_again() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, Some(leaf(1)));
    slot.on(Input::Desire(leaf(2)), now);
    let effects = slot.on(nack(2), now);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Nacked { .. }, .. }]));
    assert_eq!(slot.on(Input::Desire(leaf(1)), now), [Effect::Probe { generation: 1 }]);
}

#[test]
fn an_unproven_generation_is_rolled_back_by_number() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, Some(leaf(1)));
    slot.on(Input::Desire(leaf(2)), now);
    slot.on(ack(2), now);
    let late = now + LIMITS.proof;
    let effects = slot.on(Input::Tick, late);
    assert!(matches!(&effects[..], [Effect::Report { outcome: Outcome::Unproven { .. }, .. }]));
    assert_eq!(pushes(&slot.on(Input::Desire(leaf(1)), late)), Some((1, true)));
}

#[test]
fn peer_defect_10_a_failed_handshake_is_repeated_until_the_limit_and_then_now_and_again() {
    let mut now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(Input::Desire(leaf(1)), now);
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
fn a_silent_node_is_disconnected() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(Input::Desire(leaf(1)), now);
    let effects = slot.on(Input::Tick, now + LIMITS.ack);
    assert_eq!(effects.last(), Some(&Effect::Disconnect));
}

#[test]
fn newest_wins_and_late_answers_to_older_pushes_change_nothing() {
    let now = Instant::now();
    let mut slot = Slot::new(LIMITS, None);
    slot.on(Input::Desire(leaf(1)), now);
    assert_eq!(pushes(&slot.on(Input::Desire(leaf(2)), now)), Some((2, false)));
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
    slot.on(Input::Desire(leaf(1)), now);
    slot.on(ack(1), now);
    assert!(proven(&slot.on(node_saw(1), now)));
}

proptest! {
    /// Whatever arrives in whatever order: proven is said only of the desired generation, after an ack (or
    /// a Hello that named it) and after a handshake that saw exactly its leaf.
    #[test]
    fn never_proven_without_a_handshake_that_saw_it(script in prop::collection::vec((0_u8..8, 1_u64..4), 1..60)) {
        let mut now = Instant::now();
        let mut slot = Slot::new(LIMITS, Some(leaf(1)));
        let mut desired = None;
        for (kind, generation) in script {
            let input = match kind {
                0 => { desired = Some(generation); Input::Desire(leaf(generation)) }
                1 => ack(generation),
                2 => nack(generation),
                3 => node_saw(generation),
                4 => agent_saw(generation),
                5 => Input::AgentSaw { generation, seen: Ok(([0; 32], Duration::ZERO)) },
                6 => Input::AgentSaw { generation, seen: Err("no".into()) },
                _ => { now += Duration::from_secs(4); Input::Tick }
            };
            let saw = input == agent_saw(generation);
            let effects = slot.on(input, now);
            if proven(&effects) {
                prop_assert!(saw && desired == Some(generation));
            }
        }
    }
}
