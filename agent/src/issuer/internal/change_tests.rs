//! The change of the root, with its files.
#![allow(clippy::unwrap_used)]

use super::publish_tests::publishing;
use super::rotation::Rotation;
use super::tests::{Fixture, Issued, issue, strings};
use super::*;
use crate::store::faults;

fn nodes(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn rotation(issuer: &InternalIssuer) -> Rotation {
    issuer.lock().hierarchy.roots().rotation().clone()
}

fn named(clients: &[&str]) -> Fixture {
    let mut fixture = publishing();
    fixture.config.clients = Some(strings(clients));
    fixture
}

#[tokio::test]
async fn nodes_and_clients_confirm_then_the_new_root_issues_then_the_old_one_goes() {
    let fixture = named(&["monitoring"]);
    let ca = fixture.open().unwrap();
    let old = issue(&ca, &["a.example"]).await.unwrap();
    let (before, digest) = (ca.trust_anchors(), ca.roots_sha256());
    let changed = Arc::new(Notify::new());
    ca.notify(Arc::clone(&changed));
    ca.paired(nodes(&["n1"]));
    assert!(ca.confirm("monitoring").is_err() && ca.force().is_err() && ca.cancel().is_err());

    ca.rotate_root().unwrap();
    changed.notified().await;
    assert!(ca.rotate_root().unwrap_err().message.contains("is being changed already"));
    assert_eq!(ca.roots_version(), 2);
    let both = ca.trust_anchors();
    assert_eq!((both.len(), &both[..1]), (2, &before[..]));
    assert_eq!(ca.root_pem().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    let waits = ca.waiting_for().unwrap();
    assert!(waits.ends_with("waiting for client monitoring, node n1"), "{waits}");
    let during = issue(&ca, &["a.example"]).await.unwrap();
    assert_eq!(during.chain[1], old.chain[1], "the old root issues still");

    assert!(ca.confirm("laptops").unwrap_err().message.contains("named there: monitoring"));
    ca.confirm("").unwrap();
    // Of the roots before: it says nothing.
    ca.trusted("n1", &digest).unwrap();
    // Not paired: whoever it is, nobody waits for it.
    ca.trusted("n2", &ca.roots_sha256()).unwrap();
    ca.tend();
    let Rotation::Published { confirmed, .. } = rotation(&ca) else { unreachable!("{:?}", rotation(&ca)) };
    assert_eq!(confirmed.len(), 1);
    assert_eq!(ca.status().waiting_for, ["node n1"]);
    // A restart in the middle: nothing is forgotten, and without the nodes nothing goes on.
    let ca = fixture.open().unwrap();
    assert_eq!(ca.trust_anchors(), both);
    ca.tend();
    assert_eq!(rotation(&ca).issuing(), 1);
    ca.paired(nodes(&["n1"]));
    ca.trusted("n1", &ca.roots_sha256()).unwrap();
    ca.tend();
    assert!(matches!(rotation(&ca), Rotation::Replacing { root: 2, old: 1, .. }));
    assert_eq!((ca.waiting_for(), ca.trust_anchors()), (None, both.clone()));

    let new = issue(&ca, &["a.example"]).await.unwrap();
    assert_ne!(new.chain[1], old.chain[1]);
    fixture.check(&ca, &new).unwrap();
    fixture.check(&ca, &during).unwrap();
    assert!(ca.cancel().unwrap_err().message.contains("has issued already"));
    fixture.clock.forward(25);
    ca.tend();
    assert_eq!(rotation(&ca), Rotation::Settled { root: 2 });
    assert_eq!(ca.trust_anchors(), both[1..]);
    let last = fixture.open().unwrap();
    assert_eq!(last.trust_anchors(), both[1..]);
    fixture.check(&last, &issue(&last, &["a.example"]).await.unwrap()).unwrap();
}

#[tokio::test]
async fn clients_that_nobody_named_are_confirmed_at_once_and_an_empty_list_waits_for_nobody() {
    let fixture = publishing();
    let ca = fixture.open().unwrap();
    ca.paired(nodes(&[]));
    ca.rotate_root().unwrap();
    assert_eq!(ca.status().waiting_for, ["clients"]);
    assert!(ca.confirm("x").unwrap_err().message.contains("names no `clients`"));
    ca.confirm("").unwrap();
    assert_eq!(rotation(&ca).issuing(), 2);

    let alone = named(&[]);
    let ca = alone.open().unwrap();
    ca.rotate_root().unwrap();
    assert_eq!(rotation(&ca).issuing(), 1, "it is not known yet which nodes there are");
    ca.paired(nodes(&[]));
    ca.tend();
    assert_eq!(rotation(&ca).issuing(), 2);
}

#[tokio::test]
async fn a_change_can_be_called_off_before_the_first_issue_and_forced() {
    let fixture = named(&["monitoring"]);
    let ca = fixture.open().unwrap();
    ca.paired(nodes(&[]));
    let before = ca.trust_anchors();
    let old = issue(&ca, &["a.example"]).await.unwrap();
    ca.rotate_root().unwrap();
    ca.cancel().unwrap();
    assert_eq!(ca.trust_anchors(), before);
    ca.rotate_root().unwrap();
    assert_eq!(rotation(&ca).published(), [1, 3], "the number of the one before is not used again");
    ca.force().unwrap();
    ca.cancel().unwrap();
    assert_eq!(rotation(&ca), Rotation::Settled { root: 1 });
    ca.rotate_root().unwrap();
    ca.force().unwrap();
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    fixture.check(&ca, &issued).unwrap();
    fixture.check(&ca, &old).unwrap();
    assert!(ca.cancel().is_err());
    assert_eq!(ca.status().authorities.iter().filter(|authority| authority.role == "old root").count(), 1);
}

#[tokio::test]
async fn a_change_begins_by_itself_a_year_before_the_end() {
    let fixture = named(&["monitoring"]);
    let ca = fixture.open().unwrap();
    ca.paired(nodes(&[]));
    ca.tend();
    assert_eq!(rotation(&ca), Rotation::Settled { root: 1 });
    fixture.clock.forward(24 * (3652 - 364));
    ca.tend();
    assert_eq!(rotation(&ca).published(), [1, 2]);
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    fixture.check(&ca, &issued).unwrap();
    // Nobody answers until the old one has ended: then nothing is lost by going on.
    fixture.clock.forward(24 * 364);
    ca.tend();
    assert_eq!(rotation(&ca), Rotation::Settled { root: 2 });
    fixture.check(&ca, &issue(&ca, &["a.example"]).await.unwrap()).unwrap();
}

#[tokio::test]
async fn while_the_clock_is_in_doubt_nothing_is_retired_or_forgotten() {
    let fixture = named(&[]);
    let ca = fixture.open().unwrap();
    ca.paired(nodes(&[]));
    let old = issue(&ca, &["a.example"]).await.unwrap();
    ca.rotate_root().unwrap();
    issue(&ca, &["a.example"]).await.unwrap();
    ca.revoke(&old.chain[0], RevocationReason::KeyCompromise).await.unwrap();
    fixture.clock.forward(24 * 60);
    ca.doubt_clock(true);
    ca.tend();
    assert!(matches!(rotation(&ca), Rotation::Replacing { root: 2, old: 1, .. }));
    assert_eq!(ca.shared.record.revoked(), 1);
    ca.doubt_clock(false);
    ca.tend();
    assert_eq!((rotation(&ca), ca.shared.record.revoked()), (Rotation::Settled { root: 2 }, 0));
}

#[tokio::test]
async fn leaves_from_before_the_record_keep_the_old_root_until_their_intermediate_ends() {
    let fixture = named(&[]);
    issue(&fixture.open().unwrap(), &["a.example"]).await.unwrap();
    std::fs::remove_file(fixture.ca_dir().join(RECORD)).unwrap();
    let ca = fixture.open().unwrap();
    ca.paired(nodes(&[]));
    ca.rotate_root().unwrap();
    fixture.clock.forward(24 * 89);
    ca.tend();
    assert!(matches!(rotation(&ca), Rotation::Replacing { .. }), "a long leaf may be valid still");
    fixture.clock.forward(24 * 2);
    ca.tend();
    assert_eq!(rotation(&ca), Rotation::Settled { root: 2 });
}

#[tokio::test]
async fn a_lost_state_file_is_found_out_and_a_damaged_one_is_told() {
    let fixture = named(&[]);
    let ca = fixture.open().unwrap();
    ca.paired(nodes(&[]));
    let old = issue(&ca, &["a.example"]).await.unwrap();
    ca.rotate_root().unwrap();
    issue(&ca, &["a.example"]).await.unwrap();
    let file = fixture.ca_dir().join("rotation.json");
    std::fs::remove_file(&file).unwrap();
    let ca = fixture.open().unwrap();
    assert!(matches!(rotation(&ca), Rotation::Replacing { root: 2, old: 1, .. }));
    fixture.check(&ca, &old).unwrap();
    std::fs::write(&file, "{").unwrap();
    let error = fixture.open().err().unwrap();
    assert!(error.message.contains("rotation.json is damaged"), "{error}");
}

/// What the world holds: every leaf that left the CA, and the roots that were published then.
struct Seen {
    leaves: Vec<Issued>,
    answered: Vec<&'static str>,
}

/// One change of the root, with a restart where `crash` falls.
async fn change(fixture: &Fixture, ca: &InternalIssuer, seen: &mut Seen) {
    ca.paired(nodes(&["n1"]));
    if ca.rotate_root().is_ok() {
        seen.answered.push("rotate");
    }
    seen.leaves.extend(issue(ca, &["a.example"]).await.ok());
    if ca.trusted("n1", &ca.roots_sha256()).is_ok() && ca.trust_anchors().len() == 2 {
        seen.answered.push("trusted");
    }
    ca.tend();
    seen.leaves.extend(issue(ca, &["a.example"]).await.ok());
    fixture.clock.forward(1);
    ca.tend();
}

#[tokio::test]
async fn a_crash_at_any_effect_of_a_change_cuts_nobody_off() {
    for crash in 0.. {
        let fixture = named(&[]);
        let ca = fixture.open().unwrap();
        let mut seen = Seen { leaves: vec![issue(&ca, &["a.example"]).await.unwrap()], answered: Vec::new() };
        let script = faults::crash_at(crash);
        change(&fixture, &ca, &mut seen).await;
        let effects = script.end();
        drop(ca);

        let ca =
            fixture.open().unwrap_or_else(|error| unreachable!("crash at {crash} of {effects:?}: {error}"));
        for leaf in &seen.leaves {
            fixture.check(&ca, leaf).unwrap_or_else(|error| unreachable!("crash at {crash}: {error}"));
        }
        let numbers = rotation(&ca).published();
        if seen.answered.contains(&"rotate") {
            assert_eq!(numbers.len(), 2, "crash at {crash} of {effects:?}: what was answered is forgotten");
        }
        if let (true, Rotation::Published { confirmed, .. }) =
            (seen.answered.contains(&"trusted"), rotation(&ca))
        {
            assert_eq!(confirmed.len(), 1, "crash at {crash} of {effects:?}");
        }
        // It comes to its end from wherever it was.
        let mut rest = Seen { leaves: Vec::new(), answered: Vec::new() };
        change(&fixture, &ca, &mut rest).await;
        for leaf in seen.leaves.iter().chain(&rest.leaves) {
            fixture.check(&ca, leaf).unwrap();
        }
        fixture.clock.forward(24);
        ca.tend();
        assert!(matches!(rotation(&ca), Rotation::Settled { root: 2.. }), "{:?}", rotation(&ca));
        if effects.len() <= crash {
            assert!(crash > 30, "{effects:?}");
            return;
        }
    }
}
