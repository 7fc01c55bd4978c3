#![allow(clippy::unwrap_used)]

use super::*;
use crate::revocation::test_ca::{CRL, OCSP, TestCa, anchors};

#[test]
fn leaf_and_intermediates_name_whom_to_ask_and_roots_are_left_out() {
    let root = TestCa::root("root");
    let between = root.intermediate("between", 7, None, &["http://crl.test/root.crl"]);
    let leaf = between.leaf(0xff01, Some(OCSP), &[CRL, "http://crl.test/2.crl"]);
    let chain = [leaf.clone(), between.der.clone(), root.der.clone()];
    let found = subjects(&chain, &anchors(&[]));
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0].which, &found[0].serial[..]), (&Which::Leaf, &[0xff, 0x01][..]));
    assert_eq!(found[0].responders, [OCSP]);
    assert_eq!(found[0].crls().collect::<Vec<_>>(), [CRL, "http://crl.test/2.crl"]);
    assert_eq!(found[0].issuer.der, between.der);
    assert_eq!(found[0].der.as_ref(), Some(&leaf));
    assert_eq!(found[1].which.to_string(), "the intermediate CN=between");
    assert!(found[1].is_ca() && found[1].der.is_none(), "nobody asks OCSP about it");
    // The root that is not sent along is found among the anchors.
    assert_eq!(subjects(&chain[..2], &anchors(&[&root])).len(), 2);
    assert_eq!(
        subjects(&chain[..2], &anchors(&[])).len(),
        1,
        "nobody could be believed about the intermediate"
    );
}

#[test]
fn of_two_issuers_with_one_name_the_one_that_signed_counts() {
    let (old, new) = (TestCa::root("same"), TestCa::root("same"));
    let leaf = new.leaf(1, Some(OCSP), &[]);
    for both in [[&old, &new], [&new, &old]] {
        assert_eq!(subjects(std::slice::from_ref(&leaf), &anchors(&both))[0].issuer.der, new.der);
    }
}

#[test]
fn what_is_not_http_is_told_and_not_asked() {
    let ca = TestCa::root("root");
    let leaf = ca.leaf(1, Some("ldap://ocsp.test"), &["ldap://crl.test/cn=x", "HTTP://crl.test/1"]);
    let found = &subjects(&[leaf], &anchors(&[&ca]))[0];
    assert!(found.responders.is_empty());
    assert_eq!(found.crls().collect::<Vec<_>>(), ["HTTP://crl.test/1"]);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
}

#[test]
fn a_certificate_names_only_so_many() {
    let ca = TestCa::root("root");
    let urls: Vec<_> = (0..40).map(|n| format!("http://crl.test/{n}")).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let leaf = ca.leaf(1, None, &urls);
    assert_eq!(subjects(&[leaf], &anchors(&[&ca]))[0].crls().count(), MAX_SOURCES);
}
