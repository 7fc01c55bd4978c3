#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SigningKey};
use sealwire_proto::ocsp::Status;
use sealwire_proto::ocsp::testing::Answer;
use time::{Duration, OffsetDateTime};

use super::*;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A CA of its own.
pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A sound bundle, valid from an hour ago for an hour.
pub(crate) fn bundle_of(authority: &Authority, certificate: &str, generation: u64, names: &[&str]) -> Bundle {
    let now = OffsetDateTime::now_utc();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (now - Duration::HOUR, now + Duration::HOUR);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, authority).unwrap();
    Bundle {
        certificate: certificate.to_owned(),
        generation,
        chain: vec![leaf.der().to_vec()],
        key: key.serialize_der(),
        trust_anchors: vec![authority.der().to_vec()],
        staple: Vec::new(),
        staple_policy: 0,
        staple_grace_s: 0,
        r#use: 0,
    }
}

/// The same with a CA of its own.
pub(crate) fn bundle_for(certificate: &str, generation: u64, names: &[&str]) -> Bundle {
    bundle_of(&authority(), certificate, generation, names)
}

/// A response about a bundle's leaf, from its issuer, changed as is said.
pub(crate) fn response(
    authority: &Authority,
    bundle: &Bundle,
    change: impl FnOnce(&mut Answer<'_>),
) -> Vec<u8> {
    let leaf = CertificateDer::from(bundle.chain[0].as_slice());
    let mut answer = Answer::good(&leaf, authority.der(), seconds(UnixTime::now()));
    change(&mut answer);
    answer.signed(|bytes| authority.key().sign(bytes).unwrap())
}

pub(crate) fn checked(bundle: &Bundle) -> Served {
    let leaf = validate::LeafFacts::parse(&CertificateDer::from(bundle.chain[0].as_slice())).unwrap();
    let first = leaf.names.iter().map(|name| name.replace('*', "x")).collect();
    Validator::new(first, None).unwrap().check(bundle.clone(), UnixTime::now()).unwrap()
}

fn validator() -> Validator {
    Validator::new(vec!["a.example".into()], None).unwrap()
}

fn reason(bundle: &Bundle) -> Option<NackReason> {
    validator().check(bundle.clone(), UnixTime::now()).err().map(|rejection| rejection.reason)
}

#[test]
fn stale_generations_are_refused() {
    let (old, new) = (bundle_for("web", 1, &["a.example"]), bundle_for("web", 2, &["a.example"]));
    let served = checked(&new);
    assert_eq!(not_stale(&checked(&new), &served), Ok(()), "the same again is fine");
    assert_eq!(not_stale(&served, &checked(&old)), Ok(()));
    let other = bundle_for("web", 2, &["a.example"]);
    for stale in [old, other] {
        assert_eq!(not_stale(&checked(&stale), &served).unwrap_err().reason, NackReason::StaleGeneration);
    }
}

#[test]
fn faults_have_their_reasons() {
    let good = bundle_for("web", 1, &["a.example"]);
    assert_eq!(reason(&good), None);
    assert_eq!(reason(&bundle_for("web", 1, &["b.example"])), Some(NackReason::NameMismatch));
    let mut bundle = good.clone();
    bundle.trust_anchors.clear();
    assert_eq!(reason(&bundle), Some(NackReason::UntrustedChain), "not a root of the system's");
    let mut bundle = good.clone();
    bundle.trust_anchors = vec![vec![1, 2, 3]];
    assert_eq!(reason(&bundle), Some(NackReason::Malformed));
    let mut bundle = good;
    bundle.key.clear();
    assert_eq!(reason(&bundle), Some(NackReason::Malformed));
}

#[test]
fn a_staple_in_a_bundle_must_hold() {
    let (authority, stranger) = (authority(), authority());
    let mut bundle = bundle_of(&authority, "web", 1, &["a.example"]);
    bundle.staple_policy = StaplePolicy::Prefer.into();
    let now = seconds(UnixTime::now());
    type Change = fn(&mut Answer<'_>);
    let faults: [(Change, NackReason); 4] = [
        (|answer| answer.status = Status::Unknown, NackReason::BadStaple),
        (|answer| answer.status = Status::Revoked { at: 1, reason: Some(1) }, NackReason::Revoked),
        (|answer| answer.next_update = Some(answer.this_update + 1), NackReason::BadStaple),
        (|answer| answer.next_update = None, NackReason::BadStaple),
    ];
    for (change, expected) in faults {
        bundle.staple = response(&authority, &bundle, change);
        assert_eq!(reason(&bundle), Some(expected));
    }
    bundle.staple = response(&stranger, &bundle, |_| {});
    assert_eq!(reason(&bundle), Some(NackReason::BadStaple), "about the leaf of another issuer");
    bundle.staple = b"nonsense".to_vec();
    assert_eq!(reason(&bundle), Some(NackReason::BadStaple));
    bundle.staple_policy = StaplePolicy::Unspecified.into();
    assert_eq!(reason(&bundle), None, "it is not served");

    bundle.staple_policy = StaplePolicy::Require.into();
    bundle.staple_grace_s = 7;
    bundle.staple = response(&authority, &bundle, |_| {});
    let served = validator().check(bundle.clone(), UnixTime::now()).unwrap();
    assert_eq!(served.key(now).ocsp, Some(bundle.staple.clone()));
    let expected = Stapling {
        policy: StaplePolicy::Require,
        grace_s: 7,
        covered_until: served.stapled_until().unwrap(),
    };
    assert_eq!(served.stapling, expected);
}

#[test]
fn peer_defect_6_a_staple_is_never_presented_past_its_end() {
    let authority = authority();
    let mut bundle = bundle_of(&authority, "web", 1, &["a.example"]);
    bundle.staple_policy = StaplePolicy::Require.into();
    bundle.staple = response(&authority, &bundle, |_| {});
    let served = checked(&bundle);
    let end = served.stapled_until().unwrap();
    assert_eq!(served.key(end - 1).ocsp, Some(bundle.staple.clone()));
    assert!(served.staple_sha256(end - 1).is_some() && !served.held(end - 1).staple_sha256.is_empty());
    for now in [end, end + 1, i64::MAX] {
        assert_eq!(served.key(now).ocsp, None, "the responder may stay down for as long as it likes");
        assert_eq!(served.staple_sha256(now), None);
        assert!(served.held(now).staple_sha256.is_empty());
    }
    assert_eq!(served.key(end).cert, served.key(end - 1).cert, "the leaf is served still");
}

#[test]
fn the_same_leaf_keeps_its_staple_when_it_is_sent_again_without_one() {
    let authority = authority();
    let mut bundle = bundle_of(&authority, "web", 1, &["a.example"]);
    bundle.staple_policy = StaplePolicy::Prefer.into();
    let bare = checked(&bundle);
    bundle.staple = response(&authority, &bundle, |_| {});
    let stapled = checked(&bundle);
    let now = seconds(UnixTime::now());
    let again = bare.clone().keeping_staple_of(&stapled);
    assert!(again.is_same(&stapled) && again.staple_sha256(now).is_some());
    assert!(!bare.is_same(&stapled));
    let off = bare.with_staple(None, StaplePolicy::Unspecified, 0).keeping_staple_of(&stapled);
    assert_eq!(off.staple_sha256(now), None, "switched off");
    let mut other = bundle_of(&authority, "web", 2, &["a.example"]);
    other.staple_policy = StaplePolicy::Prefer.into();
    assert_eq!(checked(&other).keeping_staple_of(&stapled).staple_sha256(now), None, "another leaf");
}

#[test]
fn configured_roots_win_over_those_in_a_bundle_and_announced_ones_add_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roots.pem");
    std::fs::write(&path, authority().pem()).unwrap();
    let bundle = bundle_for("web", 1, &["a.example"]);
    let strict = Validator::new(vec!["a.example".into()], Some(&path)).unwrap();
    let rejection = strict.check(bundle.clone(), UnixTime::now()).unwrap_err();
    assert_eq!(rejection.reason, NackReason::UntrustedChain);

    // Issued from the new root, while the bundle still names the old one.
    let mut early = bundle.clone();
    early.trust_anchors = vec![authority().der().to_vec()];
    let mut validator = validator();
    assert_eq!(
        validator.check(early.clone(), UnixTime::now()).unwrap_err().reason,
        NackReason::UntrustedChain
    );
    validator.trust(v1::Trust { issuer: "pki".into(), roots: bundle.trust_anchors.clone() }).unwrap();
    assert!(validator.check(early, UnixTime::now()).is_ok());
}

#[test]
fn only_names_the_node_must_serve_are_covered() {
    let names = ["a.example".to_owned(), "c.example".to_owned()];
    let validator = Validator::new(names.to_vec(), None).unwrap();
    let served = checked(&bundle_for("web", 1, &["a.example", "b.example"]));
    assert_eq!(validator.covered(&served), ["a.example"]);
}
