#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;
use rustls_pki_types::CertificateDer;

use super::*;
use crate::revocation::subject::subjects;
use crate::revocation::test_ca::{CRL, CrlSays, TestCa, anchors};

fn now() -> Timestamp {
    Timestamp::now()
}

fn subject_of(chain: &[CertificateDer<'static>], ca: &TestCa) -> Arc<Subject> {
    Arc::new(subjects(chain, &anchors(&[ca])).remove(0))
}

#[test]
fn revoked_and_good_are_told_apart_with_time_and_reason() {
    let ca = TestCa::root("ca");
    // One serial with a high bit: DER puts a zero before it.
    let [good, bad] = [7, 0xff00].map(|serial| subject_of(&[ca.leaf(serial, None, &[CRL])], &ca));
    let says = CrlSays::at(now(), &[1, 0xff00, 9]);
    let der = ca.crl(&says);
    let crl = Crl::parse(&der).unwrap();
    crl.verify(&good.issuer).unwrap();
    crl.check_time(now()).unwrap();
    let words = crl.words(&[Arc::clone(&good), Arc::clone(&bad)]).unwrap();
    assert_eq!(words[&good.id], Word::Good);
    let Word::Revoked { at, reason } = words[&bad.id] else { unreachable!() };
    assert_eq!((at.as_second(), reason), (says.this_update.as_second(), Some(1)));
    assert_eq!(crl.entries().count(), 3);
}

#[test]
fn only_its_issuer_and_only_one_that_may_signs_it() {
    let ca = TestCa::root("ca");
    let der = ca.crl(&CrlSays::at(now(), &[]));
    let crl = Crl::parse(&der).unwrap();
    let issuer = |ca: &TestCa| Issuer { id: [0; 32], der: ca.der.clone() };
    crl.verify(&issuer(&ca)).unwrap();
    // Another key under the same name.
    assert_eq!(crl.verify(&issuer(&TestCa::root("ca"))), Err(CrlError::Signature));
    assert_eq!(crl.verify(&issuer(&TestCa::root("other"))), Err(CrlError::OtherIssuer("CN=ca".into())));
    // rcgen refuses to sign with such a CA, so its name and key come from elsewhere: the usage is what is looked at.
    let weak = TestCa::without_crl_sign("ca");
    assert_eq!(crl.verify(&issuer(&weak)), Err(CrlError::MayNotSign));
    // One bit of a revoked serial, or of anything else that is signed.
    let mut forged = der.clone();
    let middle = der.len() / 3;
    forged[middle] ^= 1;
    assert!(Crl::parse(&forged).and_then(|crl| crl.verify(&issuer(&ca))).is_err());
}

#[test]
fn a_shard_says_nothing_of_certificates_of_another() {
    let ca = TestCa::root("ca");
    let subject = subject_of(&[ca.leaf(7, None, &[CRL])], &ca);
    let word = |shard| {
        let der = ca.crl(&CrlSays { shard, ..CrlSays::at(now(), &[7]) });
        Crl::parse(&der).unwrap().words(std::slice::from_ref(&subject)).unwrap().remove(&subject.id).unwrap()
    };
    assert!(matches!(word(None), Word::Revoked { .. }));
    assert!(matches!(word(Some(CRL)), Word::Revoked { .. }));
    // Not revoked, and above all not good.
    assert!(matches!(word(Some("http://crl.test/2.crl")), Word::OutOfScope(_)));
}

#[test]
fn what_is_about_leaves_says_nothing_of_cas_and_the_other_way_round() {
    let root = TestCa::root("root");
    let between = root.intermediate("between", 7, None, &[CRL]);
    let authority = Arc::new(
        subjects(&[between.leaf(1, None, &[]), between.der.clone(), root.der.clone()], &anchors(&[]))
            .remove(1),
    );
    let leaf = subject_of(&[root.leaf(8, None, &[CRL])], &root);
    let der = root.crl(&CrlSays::at(now(), &[]));
    let mut crl = Crl::parse(&der).unwrap();
    let words = |crl: &Crl<'_>| {
        let words = crl.words(&[Arc::clone(&authority), Arc::clone(&leaf)]).unwrap();
        [&authority, &leaf].map(|subject| words[&subject.id] == Word::Good)
    };
    assert_eq!(words(&crl), [true, true]);
    crl.scope.users_only = true;
    assert_eq!(words(&crl), [false, true]);
    (crl.scope.users_only, crl.scope.authorities_only) = (false, true);
    assert_eq!(words(&crl), [true, false]);
}

#[test]
fn it_holds_from_this_to_next_update_give_or_take_the_clocks() {
    let ca = TestCa::root("ca");
    let der = ca.crl(&CrlSays::at(now(), &[]));
    let crl = Crl::parse(&der).unwrap();
    crl.check_time(crl.next_update).unwrap();
    let second = SignedDuration::from_secs(1);
    assert_eq!(crl.check_time(crl.next_update + second), Err(CrlError::Stale(crl.next_update)));
    crl.check_time(crl.this_update - CLOCK_SKEW).unwrap();
    let early = crl.check_time(crl.this_update - CLOCK_SKEW - second);
    assert_eq!(early, Err(CrlError::NotYetValid(crl.this_update)));
}

#[test]
fn numbers_and_dates_never_go_back() {
    let ca = TestCa::root("ca");
    let at = now();
    let crl = |number, minutes| {
        let base = CrlSays::at(at, &[]);
        let this_update = base.this_update + SignedDuration::from_mins(minutes);
        ca.crl(&CrlSays { number, this_update, ..base })
    };
    let follows =
        |old: &[u8], new: &[u8]| Crl::parse(new).unwrap().check_follows(&Crl::parse(old).unwrap(), "f");
    follows(&crl(9, 0), &crl(10, 1)).unwrap();
    follows(&crl(255, 0), &crl(256, 1)).unwrap();
    follows(&crl(9, 0), &crl(9, 0)).unwrap();
    for (old, new) in [((10, 0), (9, 1)), ((256, 0), (255, 1)), ((9, 1), (9, 0))] {
        let back = follows(&crl(old.0, old.1), &crl(new.0, new.1));
        assert!(matches!(back, Err(CrlError::GoesBack(..))), "{old:?} {new:?} {back:?}");
    }
}
