#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use time::OffsetDateTime;

use super::*;
use crate::lifecycle::limits::Charges;
use crate::lifecycle::{Action, Hold};
use crate::store::{Metadata, New, Store};

struct Fixture {
    managed: Managed,
    _store: Store,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    let config = CertificateConfig {
        issuers: vec!["pki".into()],
        renew_at: 0.5,
        ..CertificateConfig::new("web", &["a.example"])
    };
    let policy = Policy {
        issuers: config.issuers.clone(),
        renew_at: 0.5,
        windows: None,
        charges: Charges::of(&config.identifiers),
    };
    let managed = Managed::new(config, policy, store.certificate("web").unwrap(), Memory::default(), 1);
    Fixture { managed, _store: store, _dir: dir }
}

impl Fixture {
    /// Stores a generation that lives for an hour from now on.
    fn obtain(&mut self) -> u64 {
        let key = KeyPair::generate().unwrap();
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (now, now + time::Duration::HOUR);
        let leaf = params.self_signed(&key).unwrap();
        let metadata = Metadata {
            profile: None,
            key_type: Default::default(),
            issuer: "pki".into(),
            identifiers: vec!["a.example".into()],
            stored_at: Timestamp::now(),
        };
        let new = New { chain: &[leaf.der().clone()], key_pem: &key.serialize_pem(), metadata };
        let generation = self.managed.store.put(&new).unwrap();
        let number = generation.number;
        self.managed.begin();
        self.managed.obtained(generation, Instant::now() + Duration::from_secs(10));
        self.managed.serving = self.managed.current.clone();
        number
    }
}

#[test]
fn a_refusal_does_not_disturb_an_attempt_that_is_under_way() {
    let mut fixture = fixture();
    let first = fixture.obtain();
    let managed = &mut fixture.managed;
    managed.end_run(first);
    managed.begin();
    managed.quarantine(first, "refused".into(), Timestamp::now(), None);
    assert!(managed.obtaining, "a second attempt must not start beside it");
    assert!(!managed.end_run(first), "whoever follows the attempt is not told that it failed");
    assert!(managed.is_running());
}

#[test]
fn only_a_proof_ends_the_back_off_after_a_refusal() {
    let mut fixture = fixture();
    let first = fixture.obtain();
    let now = Timestamp::now();
    fixture.managed.quarantine(first, "refused".into(), now, None);
    assert_eq!(fixture.managed.memory.failures, 1);
    let decision = fixture.managed.decide(now, &Issuers::new());
    assert_eq!(decision.action, Action::Wait, "never in a tight loop");
    assert!(matches!(decision.hold, Some(Hold::BackOff { .. })));

    fixture.obtain();
    assert_eq!(fixture.managed.memory.failures, 1, "stored is not yet good");
    assert!(fixture.managed.refusal().is_none());
    assert!(fixture.managed.proven());
    assert_eq!(fixture.managed.memory.failures, 0);
}

#[test]
fn the_refused_and_the_expired_are_not_delivered() {
    let mut fixture = fixture();
    let first = fixture.obtain();
    let now = Timestamp::now();
    let managed = &mut fixture.managed;
    assert_eq!(managed.deliverable(|_| [].into(), now).unwrap().serve.generation.number, first);
    let later = now.checked_add(jiff::SignedDuration::from_hours(2)).unwrap();
    assert!(managed.deliverable(|_| [].into(), later).is_none());
    managed.quarantine(first, "refused".into(), now, None);
    assert!(managed.deliverable(|_| [].into(), now).is_none());
}

#[test]
fn numbers_that_start_again_are_not_taken_for_refused_ones() {
    let mut fixture = fixture();
    fixture.managed.memory.quarantine(Quarantine { generation: 1, reason: "x".into(), at: Timestamp::now() });
    assert_eq!(fixture.obtain(), 1);
    assert!(fixture.managed.deliverable(|_| [].into(), Timestamp::now()).is_some());
}
