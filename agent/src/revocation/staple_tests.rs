#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;

use super::*;
use crate::revocation::test_ca::{OCSP, TestCa};

#[test]
fn a_kept_response_comes_back_while_it_holds_and_only_for_its_leaf() {
    let dir = tempfile::tempdir().unwrap();
    let staples = Staples::new(dir.path());
    let ca = TestCa::root("ca");
    let (leaf, other) = (ca.leaf(1, Some(OCSP), &[]), ca.leaf(2, Some(OCSP), &[]));
    let issuer = Issuer { id: [0; 32], der: ca.der.clone() };
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let hour = SignedDuration::from_hours(1);
    assert_eq!(staples.load("web", 1, &leaf, &issuer, now), None);

    let staple = Staple::new(ca.ocsp(&leaf, now, |_| ()), now + hour);
    staples.save("web", 1, &staple).unwrap();
    let kept = staples.load("web", 1, &leaf, &issuer, now).unwrap();
    assert_eq!((&*kept.staple, kept.this_update), (&staple, now - SignedDuration::from_mins(1)));
    assert_eq!(staples.load("web", 2, &leaf, &issuer, now), None, "of another generation");
    assert_eq!(staples.load("web", 1, &other, &issuer, now), None, "of another leaf");
    assert_eq!(staples.load("web", 1, &leaf, &issuer, now + hour * 2), None, "over");

    staples.save("web", 1, &Staple::new(b"half a respon".to_vec(), now + hour)).unwrap();
    assert_eq!(staples.load("web", 1, &leaf, &issuer, now), None, "damaged");
    staples.remove("web", 1).unwrap();
    staples.remove("web", 1).unwrap();
}

#[test]
fn only_good_responses_with_an_end_become_staples() {
    let ca = TestCa::root("ca");
    let leaf = ca.leaf(1, Some(OCSP), &[]);
    let now = Timestamp::now();
    let kept = |change: fn(&mut sealwire_proto::ocsp::testing::Answer<'_>)| {
        let response = ca.ocsp(&leaf, now, change);
        let verified = verify(&response, &leaf, &ca.der, unix_time(now)).unwrap();
        Kept::of(&response, &verified).is_some()
    };
    assert!(kept(|_| ()));
    assert!(!kept(|answer| answer.status = Status::Unknown));
    assert!(!kept(|answer| answer.status = Status::Revoked { at: 1, reason: None }));
    assert!(!kept(|answer| answer.next_update = None));
}
