#![allow(clippy::unwrap_used)]

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use x509_cert::der::asn1::OctetString;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{BasicOcspResponse, OcspResponseStatus, Request, TbsRequest};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::publish_tests::publishing;
use super::super::tests::{Fixture, issue};
use super::*;
use crate::issuer::{Issuer, RevocationReason};

fn question(issuer: &CertificateDer<'_>, serial: &[u8], algorithm: ObjectIdentifier) -> CertId {
    let (_, parsed) = X509Certificate::from_der(issuer).unwrap();
    let hash = |bytes: &[u8]| match algorithm {
        SHA1 => digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes),
        _ => digest(&aws_lc_rs::digest::SHA256, bytes),
    };
    let octets = |bytes: &[u8]| OctetString::new(hash(bytes).as_ref()).unwrap();
    CertId {
        hash_algorithm: AlgorithmIdentifierOwned { oid: algorithm, parameters: None },
        issuer_name_hash: octets(parsed.subject().as_raw()),
        issuer_key_hash: octets(&parsed.public_key().subject_public_key.data),
        serial_number: SerialNumber::new(serial).unwrap(),
    }
}

fn about(chain: &[CertificateDer<'_>], algorithm: ObjectIdentifier) -> CertId {
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    question(&chain[1], leaf.raw_serial(), algorithm)
}

fn request(questions: Vec<CertId>, nonce: Option<&[u8]>) -> Vec<u8> {
    let list = questions.into_iter().map(|req_cert| Request { req_cert, single_request_extensions: None });
    let extension = |bytes: &[u8]| {
        let inner = OctetString::new(bytes).unwrap().to_der().unwrap();
        vec![Extension { extn_id: NONCE, critical: false, extn_value: OctetString::new(inner).unwrap() }]
    };
    let tbs_request = TbsRequest {
        version: Version::V1,
        requestor_name: None,
        request_list: list.collect(),
        request_extensions: nonce.map(extension),
    };
    OcspRequest { tbs_request, optional_signature: None }.to_der().unwrap()
}

/// What an answer says, after the signature and the delegation were checked.
fn read(answer: &Answer, issuer: &CertificateDer<'_>) -> ResponseData {
    let response = OcspResponse::from_der(&answer.der).unwrap();
    assert_eq!(response.response_status, OcspResponseStatus::Successful);
    let basic = BasicOcspResponse::from_der(response.response_bytes.unwrap().response.as_bytes()).unwrap();
    let signer = basic.certs.unwrap()[0].to_der().unwrap();
    let (_, parsed) = X509Certificate::from_der(&signer).unwrap();
    let (_, above) = X509Certificate::from_der(issuer).unwrap();
    parsed.verify_signature(Some(above.public_key())).unwrap();
    assert!(parsed.extended_key_usage().unwrap().unwrap().value.ocsp_signing);
    let oids: Vec<_> = parsed.extensions().iter().map(|extension| extension.oid.to_id_string()).collect();
    assert!(oids.contains(&"1.3.6.1.5.5.7.48.1.5".to_owned()), "{oids:?}");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &parsed.public_key().subject_public_key.data);
    let signed = basic.tbs_response_data.to_der().unwrap();
    key.verify(&signed, basic.signature.raw_bytes()).unwrap();
    basic.tbs_response_data
}

fn refusal(answer: &Answer) -> OcspResponseStatus {
    assert!(answer.good.is_none());
    OcspResponse::from_der(&answer.der).unwrap().response_status
}

fn open() -> (Fixture, InternalIssuer) {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    (fixture, issuer)
}

#[tokio::test]
async fn good_only_for_what_was_issued_and_revoked_at_once() {
    let (_fixture, ca) = open();
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    for algorithm in [SHA1, SHA256] {
        let asked = request(vec![about(&issued.chain, algorithm)], None);
        let answer = ca.answer_ocsp(&asked);
        let data = read(&answer, &issued.chain[1]);
        assert_eq!(data.responses[0].cert_status, CertStatus::good());
        assert_eq!(data.responses[0].cert_id, about(&issued.chain, algorithm));
        assert_eq!(ca.answer_ocsp(&asked).der, answer.der, "the same question, the same answer");
    }
    let never = request(vec![question(&issued.chain[1], &[0x41; 16], SHA1)], None);
    let data = read(&ca.answer_ocsp(&never), &issued.chain[1]);
    assert_eq!(data.responses[0].cert_status, CertStatus::unknown());

    ca.revoke(&issued.chain[0], RevocationReason::KeyCompromise).await.unwrap();
    let asked = request(vec![about(&issued.chain, SHA1)], None);
    let data = read(&ca.answer_ocsp(&asked), &issued.chain[1]);
    let CertStatus::Revoked(info) = data.responses[0].cert_status else {
        unreachable!("{:?}", data.responses[0].cert_status)
    };
    assert_eq!(info.revocation_reason, Some(CrlReason::KeyCompromise));
}

#[tokio::test]
async fn intermediates_are_answered_for_by_their_root() {
    let (_fixture, ca) = open();
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    let root = ca.trust_anchors().remove(0);
    let chain = [issued.chain[1].clone(), root.clone()];
    let asked = request(vec![about(&chain, SHA256)], None);
    assert_eq!(read(&ca.answer_ocsp(&asked), &root).responses[0].cert_status, CertStatus::good());
    ca.revoke_intermediate(1, RevocationReason::Unspecified).unwrap();
    let CertStatus::Revoked(info) = read(&ca.answer_ocsp(&asked), &root).responses[0].cert_status else {
        unreachable!("not revoked")
    };
    assert_eq!(info.revocation_reason, None);
    // The serial number of a leaf is nothing to the root.
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    let asked = request(vec![question(&root, leaf.raw_serial(), SHA1)], None);
    assert_eq!(read(&ca.answer_ocsp(&asked), &root).responses[0].cert_status, CertStatus::unknown());
}

#[tokio::test]
async fn a_nonce_comes_back_and_such_answers_are_not_kept() {
    let (_fixture, ca) = open();
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    let asked = |nonce: &[u8]| request(vec![about(&issued.chain, SHA1)], Some(nonce));
    for length in [1, 32] {
        let answer = ca.answer_ocsp(&asked(&vec![7; length]));
        let nonce = read(&answer, &issued.chain[1]).nonce().unwrap();
        assert_eq!(nonce.0.as_bytes(), vec![7; length]);
        assert!(answer.good.is_none());
    }
    let answer = ca.answer_ocsp(&asked(&[7; 33]));
    assert!(read(&answer, &issued.chain[1]).nonce().is_none());
    for length in [0, 129] {
        assert_eq!(refusal(&ca.answer_ocsp(&asked(&vec![7; length]))), OcspResponseStatus::MalformedRequest);
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused() {
    let (_fixture, ca) = open();
    let (_other_fixture, other) = open();
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    let foreign = issue(&other, &["a.example"]).await.unwrap();
    let own = || about(&issued.chain, SHA1);
    let root = ca.trust_anchors().remove(0);
    let above = about(&[issued.chain[1].clone(), root], SHA1);
    let cases = [
        (b"".to_vec(), OcspResponseStatus::MalformedRequest),
        (vec![0x30; 5000], OcspResponseStatus::MalformedRequest),
        (request(vec![], None), OcspResponseStatus::MalformedRequest),
        (request(vec![own(); MAX_QUESTIONS + 1], None), OcspResponseStatus::MalformedRequest),
        (request(vec![about(&foreign.chain, SHA1)], None), OcspResponseStatus::Unauthorized),
        (request(vec![own(), about(&foreign.chain, SHA1)], None), OcspResponseStatus::Unauthorized),
        (request(vec![own(), above], None), OcspResponseStatus::Unauthorized),
    ];
    for (number, (asked, expected)) in cases.into_iter().enumerate() {
        assert_eq!(refusal(&ca.answer_ocsp(&asked)), expected, "case {number}");
    }
    let all = read(&ca.answer_ocsp(&request(vec![own(); MAX_QUESTIONS], None)), &issued.chain[1]);
    assert_eq!(all.responses.len(), MAX_QUESTIONS);
}

#[tokio::test]
async fn answers_and_signers_are_renewed_at_half_of_their_life() {
    let (fixture, ca) = open();
    let issued = issue(&ca, &["a.example"]).await.unwrap();
    let asked = request(vec![about(&issued.chain, SHA1)], None);
    let first = ca.answer_ocsp(&asked);
    let (since, until) = first.good.unwrap();
    assert_eq!(until.duration_since(since), jiff::SignedDuration::from_mins(65));
    let signer = |answer: &Answer| read(answer, &issued.chain[1]).responder_id;
    fixture.clock.forward(1);
    let second = ca.answer_ocsp(&asked);
    assert!(second.der != first.der && second.good.unwrap().1 > until);
    assert_eq!(signer(&second), signer(&first));
    fixture.clock.forward(12);
    assert_ne!(signer(&ca.answer_ocsp(&asked)), signer(&first));
    // No answer outlives its authority, and after it there is none.
    fixture.clock.forward(24 * 90 - 14);
    let last = ca.answer_ocsp(&asked);
    let end = ca.view().authorities[&AuthorityId::Intermediate(1)].authority.not_after();
    assert_eq!(last.good.unwrap().1, end);
    fixture.clock.forward(2);
    assert_eq!(refusal(&ca.answer_ocsp(&asked)), OcspResponseStatus::TryLater);
    ca.tend();
    assert_eq!(refusal(&ca.answer_ocsp(&asked)), OcspResponseStatus::Unauthorized);
}

proptest::proptest! {
    /// Whatever is sent, there is an answer that can be read.
    #[test]
    fn there_is_always_an_answer(
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        changes in proptest::collection::vec((0..200_usize, proptest::prelude::any::<u8>()), 0..8),
    ) {
        thread_local! {
            static CA: (Fixture, InternalIssuer) = open();
        }
        CA.with(|(_, ca)| {
            let root = ca.trust_anchors().remove(0);
            let mut asked = request(vec![question(&root, &[0x41; 16], SHA1)], Some(&[7; 16]));
            for (place, value) in &changes {
                if let Some(byte) = asked.get_mut(*place) {
                    *byte = *value;
                }
            }
            for request in [asked, noise.clone()] {
                OcspResponse::from_der(&ca.answer_ocsp(&request).der).unwrap();
            }
        });
    }
}
