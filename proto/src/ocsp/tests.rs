#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SerialNumber, SigningKey,
};
use time::OffsetDateTime;

use super::testing::Answer;
use super::*;

const NOW: i64 = 1_800_000_000;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn valid(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (at(NOW - 86_400), at(NOW + 86_400));
    params
}

fn authority(name: &str) -> Authority {
    let mut params = valid(CertificateParams::default(), name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(issuer: &Authority, serial: &[u8]) -> CertificateDer<'static> {
    let mut params = valid(CertificateParams::new(["a.example".to_owned()]).unwrap(), "leaf");
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
}

/// A signer made by `issuer`, perhaps with the right to sign responses.
fn delegate(
    issuer: &Authority,
    purposes: Vec<ExtendedKeyUsagePurpose>,
) -> (CertificateDer<'static>, KeyPair) {
    let mut params = valid(CertificateParams::default(), "delegate");
    params.extended_key_usages = purposes;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), key)
}

fn with(key: &KeyPair) -> impl FnOnce(&[u8]) -> Vec<u8> {
    move |bytes| key.sign(bytes).unwrap()
}

fn verify_at(
    response: &[u8],
    leaf: &CertificateDer<'_>,
    issuer: &Authority,
    now: i64,
) -> Result<Verified, OcspError> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap()));
    verify(response, leaf, issuer.der(), now)
}

fn judge(answer: &Answer<'_>, issuer: &Authority) -> Result<Verified, OcspError> {
    verify_at(&answer.signed(with(issuer.key())), answer.leaf, issuer, NOW)
}

#[test]
fn what_it_says_is_told_for_either_digest_and_either_name_of_the_signer() {
    let issuer = authority("ca");
    // A serial number with the high bit set gets a sign byte in DER.
    for serial in [&[0x01, 0x02][..], &[0x8f, 0x02], &[0x7f; 20]] {
        let leaf = leaf(&issuer, serial);
        for (sha256, by_name) in [(false, false), (false, true), (true, false), (true, true)] {
            let answer = Answer { sha256, by_name, ..Answer::good(&leaf, issuer.der(), NOW) };
            let verified = judge(&answer, &issuer).unwrap();
            assert_eq!(verified.status, Status::Good);
            assert_eq!((verified.this_update, verified.next_update), (NOW - 60, Some(NOW + 3600)));
            assert!(!verified.delegated && verified.nonce.is_none());
        }
    }
}

#[test]
fn revoked_and_unknown_are_answers_and_the_reason_is_told() {
    let issuer = authority("ca");
    let leaf = leaf(&issuer, &[1]);
    for status in [
        Status::Unknown,
        Status::Revoked { at: NOW - 1000, reason: Some(1) },
        Status::Revoked { at: NOW - 1000, reason: None },
    ] {
        let answer = Answer { status, ..Answer::good(&leaf, issuer.der(), NOW) };
        assert_eq!(judge(&answer, &issuer).unwrap().status, status);
    }
    let answer = Answer { nonce: Some(b"0123456789"), ..Answer::good(&leaf, issuer.der(), NOW) };
    assert_eq!(judge(&answer, &issuer).unwrap().nonce.as_deref(), Some(b"0123456789".as_slice()));
}

#[test]
fn a_delegate_needs_the_purpose_and_the_same_issuer() {
    let (issuer, other) = (authority("ca"), authority("ca"));
    let leaf = leaf(&issuer, &[1]);
    let signed_by = |certificate: &CertificateDer<'_>, key: &KeyPair| {
        let answer = Answer { delegate: Some(certificate), ..Answer::good(&leaf, issuer.der(), NOW) };
        verify_at(&answer.signed(with(key)), &leaf, &issuer, NOW)
    };
    let (certificate, key) = delegate(&issuer, vec![ExtendedKeyUsagePurpose::OcspSigning]);
    assert!(signed_by(&certificate, &key).unwrap().delegated);
    // Another key than that of the certificate it names.
    assert_eq!(signed_by(&certificate, &KeyPair::generate().unwrap()), Err(OcspError::Signature));

    for purposes in [vec![], vec![ExtendedKeyUsagePurpose::ServerAuth]] {
        let (certificate, key) = delegate(&issuer, purposes);
        assert!(matches!(signed_by(&certificate, &key), Err(OcspError::Signer(_))));
    }
    // Of the same name as our issuer, but another key.
    let (certificate, key) = delegate(&other, vec![ExtendedKeyUsagePurpose::OcspSigning]);
    assert!(matches!(signed_by(&certificate, &key), Err(OcspError::Signer(_))));
}

#[test]
fn a_delegate_below_an_intermediate_or_past_its_time_may_not_sign() {
    let issuer = authority("ca");
    let leaf = leaf(&issuer, &[1]);
    let mut params = valid(CertificateParams::default(), "below");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let below = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &issuer).unwrap();
    let (certificate, key) = delegate(&below, vec![ExtendedKeyUsagePurpose::OcspSigning]);
    let answer = Answer { delegate: Some(&certificate), ..Answer::good(&leaf, issuer.der(), NOW) };
    let response = answer.signed(with(&key));
    assert!(matches!(verify_at(&response, &leaf, &issuer, NOW), Err(OcspError::Signer(_))));

    let (certificate, key) = delegate(&issuer, vec![ExtendedKeyUsagePurpose::OcspSigning]);
    let later = NOW + 90_000;
    let answer = Answer { delegate: Some(&certificate), ..Answer::good(&leaf, issuer.der(), later) };
    let response = answer.signed(with(&key));
    assert!(matches!(verify_at(&response, &leaf, &issuer, later), Err(OcspError::Signer(_))));
}

#[test]
fn others_answers_are_not_taken() {
    let (issuer, stranger) = (authority("ca"), authority("stranger"));
    let (ours, other) = (leaf(&issuer, &[1]), leaf(&issuer, &[2]));
    let about_other = Answer::good(&other, issuer.der(), NOW).signed(with(issuer.key()));
    assert_eq!(verify_at(&about_other, &ours, &issuer, NOW), Err(OcspError::OtherCertificate));
    // The same serial number at another issuer of the same name.
    let twin = authority("ca");
    let twins = leaf(&twin, &[1]);
    let about_twin = Answer::good(&twins, twin.der(), NOW).signed(with(twin.key()));
    assert_eq!(verify_at(&about_twin, &ours, &issuer, NOW), Err(OcspError::OtherCertificate));
    // Says that it is from the issuer, but is signed by another.
    let forged = Answer::good(&ours, issuer.der(), NOW).signed(with(stranger.key()));
    assert_eq!(verify_at(&forged, &ours, &issuer, NOW), Err(OcspError::Signature));
    // Names a signer that does not come along.
    let foreign = Answer { delegate: Some(stranger.der()), ..Answer::good(&ours, issuer.der(), NOW) };
    assert!(matches!(
        verify_at(&foreign.signed(with(stranger.key())), &ours, &issuer, NOW),
        Err(OcspError::Signer(_))
    ));
    assert!(matches!(verify_at(&forged, &ours, &stranger, NOW), Err(OcspError::Certificate(_))));
}

#[test]
fn no_byte_can_be_changed() {
    let issuer = authority("ca");
    let leaf = leaf(&issuer, &[1]);
    let response = Answer::good(&leaf, issuer.der(), NOW).signed(with(issuer.key()));
    let original = verify_at(&response, &leaf, &issuer, NOW).unwrap();
    for position in 0..response.len() {
        for flip in [0x01, 0x80] {
            let mut changed = response.clone();
            changed[position] ^= flip;
            let found = verify_at(&changed, &leaf, &issuer, NOW);
            assert!(found.is_err(), "byte {position}: {found:?} instead of {original:?}");
        }
    }
    for length in 0..response.len() {
        assert!(verify_at(&response[..length], &leaf, &issuer, NOW).is_err(), "cut to {length}");
    }
    let mut longer = response;
    longer.push(0);
    assert!(matches!(verify_at(&longer, &leaf, &issuer, NOW), Err(OcspError::Malformed(_))));
}

#[test]
fn time_is_checked_at_both_ends() {
    let issuer = authority("ca");
    let leaf = leaf(&issuer, &[1]);
    let response = Answer::good(&leaf, issuer.der(), NOW).signed(with(issuer.key()));
    let at = |now| verify_at(&response, &leaf, &issuer, now).map(|verified| verified.status);
    let begin = NOW - 60;
    assert_eq!(at(begin - CLOCK_SKEW_S), Ok(Status::Good));
    assert_eq!(at(begin - CLOCK_SKEW_S - 1), Err(OcspError::NotYetValid { ahead_s: CLOCK_SKEW_S + 1 }));
    assert_eq!(at(NOW + 3600), Ok(Status::Good));
    assert_eq!(at(NOW + 3601), Err(OcspError::Stale { since_s: 1 }));

    let endless = Answer { next_update: None, ..Answer::good(&leaf, issuer.der(), NOW) };
    let response = endless.signed(with(issuer.key()));
    let at = |now| verify_at(&response, &leaf, &issuer, now).map(|verified| verified.next_update);
    assert_eq!(at(begin + MAX_AGE_WITHOUT_END_S), Ok(None));
    assert_eq!(at(begin + MAX_AGE_WITHOUT_END_S + 1), Err(OcspError::Stale { since_s: 1 }));

    let inverted = Answer { next_update: Some(NOW - 100), ..Answer::good(&leaf, issuer.der(), NOW) };
    assert!(matches!(judge(&inverted, &issuer), Err(OcspError::Malformed(_))));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let issuer = authority("ca");
    let leaf = leaf(&issuer, &[1]);
    let of = |bytes: &[u8]| verify_at(bytes, &leaf, &issuer, NOW).unwrap_err();
    // OCSPResponse { responseStatus tryLater }
    assert_eq!(of(&[0x30, 3, 0x0a, 1, 3]), OcspError::Refused("tryLater"));
    assert_eq!(of(&[0x30, 3, 0x0a, 1, 6]), OcspError::Refused("unauthorized"));
    // Successful, but without contents; a status that does not exist; nothing; a web page.
    for bytes in [&[0x30, 3, 0x0a, 1, 0][..], &[0x30, 3, 0x0a, 1, 4], b"", b"<html></html>"] {
        assert!(matches!(of(bytes), OcspError::Malformed(_)), "{bytes:?}");
    }
    assert_eq!(of(&[0x30; MAX_RESPONSE_BYTES + 1]), OcspError::TooLong(MAX_RESPONSE_BYTES + 1));
    let critical = Answer { critical: true, ..Answer::good(&leaf, issuer.der(), NOW) };
    assert!(matches!(judge(&critical, &issuer), Err(OcspError::Malformed(_))));
}

/// RSA with its NULL parameters, responder certificates, several extensions: what another implementation writes.
#[test]
fn responses_of_openssl_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let mut command = Command::new("openssl");
        let ran = command.args(arguments.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(ran.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let extensions = dir.path().join("ocsp.ext");
    std::fs::write(&extensions, "extendedKeyUsage = OCSPSigning\nnoCheck = ignored\n").unwrap();
    for (kind, days) in [("rsa:2048", "-ndays 2"), ("ec -pkeyopt ec_paramgen_curve:P-384", "-nmin 30")] {
        run(&format!("req -x509 -newkey {kind} -noenc -keyout ca.key -out ca.pem -subj /CN=ca -days 3"));
        run(&format!("req -newkey {kind} -noenc -keyout leaf.key -out leaf.csr -subj /CN=leaf"));
        run("x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 0xabcdef -days 2 -out leaf.pem");
        run(&format!("req -newkey {kind} -noenc -keyout ocsp.key -out ocsp.csr -subj /CN=responder"));
        run(
            "x509 -req -in ocsp.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 2 -extfile ocsp.ext -out ocsp.pem",
        );
        run("x509 -in ca.pem -outform DER -out ca.der");
        run("x509 -in leaf.pem -outform DER -out leaf.der");
        let (issuer, leaf) = (CertificateDer::from(read("ca.der")), CertificateDer::from(read("leaf.der")));
        let cases = [
            ("V\t350101000000Z\t\tABCDEF\tunknown\t/CN=leaf\n", "ca", ""),
            (
                "R\t350101000000Z\t260101000000Z,keyCompromise\tABCDEF\tunknown\t/CN=leaf\n",
                "ocsp",
                " -sha256",
            ),
            ("", "ocsp", " -sha256"),
        ];
        for (index, signer, digest) in cases {
            std::fs::write(dir.path().join("index.txt"), index).unwrap();
            run(&format!("ocsp{digest} -issuer ca.pem -cert leaf.pem -reqout request.der"));
            run(&format!(
                "ocsp -index index.txt -CA ca.pem -rsigner {signer}.pem -rkey {signer}.key -reqin request.der \
                 -respout response.der {days}"
            ));
            let verified = verify(&read("response.der"), &leaf, &issuer, UnixTime::now()).unwrap();
            let expected = match index.as_bytes().first() {
                Some(b'V') => Status::Good,
                Some(_) => Status::Revoked { at: 1_767_225_600, reason: Some(1) },
                None => Status::Unknown,
            };
            assert_eq!(verified.status, expected);
            assert_eq!(verified.delegated, signer == "ocsp");
            assert!(verified.nonce.is_some_and(|nonce| nonce.len() >= 16));
        }
    }
}
