#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::revocation::test_ca::{CrlSays, TestCa};

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..=0x7f) => der.push(short),
        Ok(middle) => der.extend([0x81, middle]),
        Err(_) => {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            der.extend([0x82, length[0], length[1]]);
        }
    }
    der.extend(content);
    der
}

/// An extension by the last part of its OID (2.5.29.N).
fn extension(last: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut content = tlv(OBJECT_IDENTIFIER, &[0x55, 0x1d, last]);
    if critical {
        content.extend(tlv(BOOLEAN, &[0xff]));
    }
    content.extend(tlv(0x04, value));
    tlv(SEQUENCE, &content)
}

/// A CRL as rcgen makes it, with other extensions and entries; its signature does not matter here.
fn crl(extensions: &[Vec<u8>], entries: &[Vec<u8>]) -> Vec<u8> {
    let sound = TestCa::root("ca").crl(&CrlSays::at(Timestamp::now(), &[]));
    let mut outer = Tlvs(Tlvs(&sound).next().unwrap().value);
    let (body, algorithm, signature) = (outer.next().unwrap(), outer.next().unwrap(), outer.next().unwrap());
    let mut parts = Tlvs(body.value);
    // Version, algorithm, issuer, thisUpdate, nextUpdate.
    let mut new: Vec<u8> = (0..5).flat_map(|_| parts.next().unwrap().whole.to_vec()).collect();
    if !entries.is_empty() {
        new.extend(tlv(SEQUENCE, &entries.concat()));
    }
    new.extend(tlv(CONTEXT_0, &tlv(SEQUENCE, &extensions.concat())));
    tlv(SEQUENCE, &[&tlv(SEQUENCE, &new), algorithm.whole, signature.whole].concat())
}

fn error(extensions: &[Vec<u8>]) -> CrlError {
    Crl::parse(&crl(extensions, &[])).unwrap_err()
}

#[test]
fn delta_indirect_and_partial_crls_are_refused_by_name() {
    let number = tlv(INTEGER, &[5]);
    assert_eq!(error(&[extension(27, true, &number)]), CrlError::Delta);
    // IssuingDistributionPoint: onlySomeReasons [3], indirectCRL [4], onlyContainsAttributeCerts [5].
    assert_eq!(error(&[extension(28, true, &tlv(SEQUENCE, &tlv(0x83, &[1, 0x40])))]), CrlError::Partial);
    assert_eq!(error(&[extension(28, true, &tlv(SEQUENCE, &tlv(0x84, &[0xff])))]), CrlError::Indirect);
    assert_eq!(error(&[extension(28, true, &tlv(SEQUENCE, &tlv(0x85, &[0xff])))]), CrlError::Partial);
    assert_eq!(error(&[extension(99, true, &number)]), CrlError::Critical);
    Crl::parse(&crl(&[extension(99, false, &number)], &[])).unwrap();
}

#[test]
fn a_distribution_point_without_a_name_is_a_scope() {
    // As the roots of public CAs publish: onlyContainsCACerts [2] and nothing else.
    let der = crl(&[extension(28, true, &tlv(SEQUENCE, &tlv(0x82, &[0xff])))], &[]);
    let scope = Crl::parse(&der).unwrap().scope;
    assert_eq!(scope, Scope { names: None, users_only: false, authorities_only: true });
}

#[test]
fn numbers_have_up_to_twenty_bytes_and_are_not_negative() {
    let with = |number: &[u8]| {
        let der = crl(&[extension(20, false, &tlv(INTEGER, number))], &[]);
        Crl::parse(&der).map(|crl| crl.number.unwrap().to_string())
    };
    assert_eq!(with(&[0, 0xff]).unwrap(), "0xff");
    assert_eq!(with(&[0x7f; 20]).unwrap().len(), 42);
    assert!(with(&[0x7f; 21]).is_err());
    assert!(with(&[0x80]).is_err());
}

#[test]
fn an_entry_that_must_be_understood_spoils_the_whole() {
    let entry = |extensions: &[Vec<u8>]| {
        let mut content = tlv(INTEGER, &[9]);
        content.extend(tlv(UTC_TIME, b"260101000000Z"));
        if !extensions.is_empty() {
            content.extend(tlv(SEQUENCE, &extensions.concat()));
        }
        tlv(SEQUENCE, &content)
    };
    let errors = |extension: Vec<u8>| {
        let der = crl(&[], &[entry(&[]), entry(&[extension]), entry(&[])]);
        let read: Vec<_> = Crl::parse(&der).unwrap().entries().collect();
        (read.len(), read.into_iter().find_map(Result::err))
    };
    assert_eq!(errors(extension(21, false, &tlv(0x0a, &[1]))), (3, None));
    assert_eq!(errors(extension(99, false, &[5, 0])), (3, None));
    assert_eq!(errors(extension(99, true, &[5, 0])), (2, Some(CrlError::Critical)));
    assert_eq!(errors(extension(29, true, &[0x30, 0])), (2, Some(CrlError::Indirect)));
    let der = crl(&[], &[entry(&[extension(21, false, &tlv(0x0a, &[4]))])]);
    let only = Crl::parse(&der).unwrap().entries().next().unwrap().unwrap();
    assert_eq!((only.serial, only.reason()), (&[9][..], Some(4)));
    assert_eq!(only.at().unwrap().to_string(), "2026-01-01T00:00:00Z");
}

#[test]
fn pem_is_named_as_what_it_is() {
    let error = Crl::parse(b"-----BEGIN X509 CRL-----\n").unwrap_err();
    assert!(error.to_string().contains("it is PEM"), "{error}");
}

proptest! {
    #[test]
    fn damage_is_an_error_or_leaves_a_crl_but_never_a_panic(
        at in 0_usize..400,
        byte: u8,
        cut in 0_usize..400,
    ) {
        let mut der = TestCa::root("ca").crl(&CrlSays::at(Timestamp::now(), &[1, 2, 3]));
        let at = at % der.len();
        der[at] = byte;
        for bytes in [&der[..], &der[..cut.min(der.len())]] {
            if let Ok(crl) = Crl::parse(bytes) {
                for entry in crl.entries().flatten() {
                    let _ = (entry.at(), entry.reason());
                }
            }
        }
    }
}
