//! Our questions to `openssl ocsp` in all its moods, and to servers that are none.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use sealwire_agent::revocation::fetch::Http;
use sealwire_agent::revocation::ocsp::{Answer, Question, ask};
use sealwire_agent::revocation::subject::subjects;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::ocsp::Status;
use sealwire_tests::openssl_ocsp::{OpensslOcsp, Signer};
use sealwire_tests::publisher::{Page, Publisher};
use sealwire_tests::world::World;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// Of the leaf, in hexadecimal: with a high bit, which DER puts a zero before.
const SERIAL: &str = "F00D";

struct Case {
    world: World,
    ca: Ca,
    responder: OpensslOcsp,
}

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Case {
    fn new() -> Self {
        let world = World::new();
        let ca = authority("Test CA");
        let ca_pem = world.write("ca.pem", &ca.pem());
        let responder = OpensslOcsp::new(&world, &ca_pem);
        Self { world, ca, responder }
    }

    /// A leaf whose responder is at `url`.
    fn leaf(&self, url: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.serial_number = Some(0xf00d_u64.into());
        let length = u8::try_from(url.len()).unwrap();
        // SEQUENCE of one AccessDescription: id-ad-ocsp, uniformResourceIdentifier.
        let mut der =
            vec![0x30, length + 14, 0x30, length + 12, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 48, 1, 0x86, length];
        der.extend(url.bytes());
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, der));
        params.signed_by(&KeyPair::generate().unwrap(), &self.ca).unwrap().der().clone()
    }

    async fn ask(&self, url: &str) -> Result<Answer, String> {
        let anchors = Anchors::from_der([self.ca.der().clone()]).unwrap();
        let subject = Arc::new(subjects(&[self.leaf(url)], &anchors).remove(0));
        let question = Question { subject, nonce: [7; 32], timeout: Duration::from_secs(5) };
        ask(&question, &Http::new().unwrap(), Timestamp::now()).await
    }

    fn written(&self, name: &str, certificate: &str, key: &KeyPair) -> Signer {
        Signer {
            certificate: self.world.write(&format!("{name}.pem"), certificate),
            key: self.world.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// The CA itself.
    fn direct(&self) -> Signer {
        self.written("direct", &self.ca.pem(), self.ca.key())
    }

    /// A certificate of `ca` that may sign OCSP responses, or may not.
    fn delegate(&self, name: &str, ca: &Ca, may: bool) -> Signer {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![if may {
            ExtendedKeyUsagePurpose::OcspSigning
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, ca).unwrap().pem();
        self.written(name, &pem, &key)
    }
}

fn status(answer: Result<Answer, String>) -> Status {
    answer.unwrap_or_else(|error| panic!("{error}")).verified.status
}

#[tokio::test(flavor = "multi_thread")]
async fn good_revoked_and_unknown_signed_by_the_ca_or_its_delegate() {
    let case = Case::new();
    let url = case.responder.url.clone();
    for (signer, delegated) in [(case.direct(), false), (case.delegate("delegate", &case.ca, true), true)] {
        case.responder.good(SERIAL);
        let process = case.responder.start(&signer, &[]);
        let answer = case.ask(&url).await.unwrap();
        assert_eq!((answer.verified.status, answer.verified.delegated), (Status::Good, delegated));
        assert_eq!(answer.verified.nonce.as_deref(), Some(&[7; 32][..]), "it was made for our question");
        assert!(answer.verified.next_update.is_some());
        drop(process);

        case.responder.revoked(SERIAL);
        let process = case.responder.start(&signer, &[]);
        // 2026-01-01, keyCompromise.
        assert_eq!(status(case.ask(&url).await), Status::Revoked { at: 1_767_225_600, reason: Some(1) });
        drop(process);

        case.responder.good("BEEF");
        let _process = case.responder.start(&signer, &[]);
        assert_eq!(status(case.ask(&url).await), Status::Unknown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signers_that_may_not_are_not_believed() {
    let case = Case::new();
    case.responder.good(SERIAL);
    let stranger = authority("Test CA");
    for (signer, word) in [
        (case.delegate("plain", &case.ca, false), "one who may not"),
        (case.delegate("strange", &stranger, true), "one who may not"),
        // The same name with another key.
        (case.written("stranger", &stranger.pem(), stranger.key()), ""),
    ] {
        let _process = case.responder.start(&signer, &[]);
        let error = case.ask(&case.responder.url).await.unwrap_err();
        assert!(error.contains("gives no usable answer") && error.contains(word), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_is_none() {
    let case = Case::new();
    let library = PathBuf::from("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1");
    if !library.is_file() {
        // Installed by tests/tools/install wherever CI runs.
        return;
    }
    case.responder.good(SERIAL);
    // A responder whose clock is behind by an hour: its answers ended 55 minutes ago.
    let behind = [("LD_PRELOAD", library.to_str().unwrap()), ("FAKETIME", "-1h")];
    let _process = case.responder.start(&case.direct(), &behind);
    let error = case.ask(&case.responder.url).await.unwrap_err();
    assert!(error.contains("the OCSP response ended"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn down_slow_malformed_and_refusing_responders_are_told_apart() {
    let case = Case::new();
    let error = case.ask(&case.responder.url).await.unwrap_err();
    assert!(error.contains("cannot be reached") && error.contains("refused"), "{error}");

    let publisher = Publisher::start(case.world.address).await;
    let kind = "application/ocsp-response";
    for (path, page, word) in [
        ("/malformed", Page::Body(kind, b"\x30\x03\x0a\x01\x00".to_vec()), "gives no usable answer"),
        ("/later", Page::Body(kind, b"\x30\x03\x0a\x01\x03".to_vec()), "tryLater"),
        ("/html", Page::Body("text/html", b"<html>".to_vec()), "expected application/ocsp-response"),
        ("/long", Page::Body(kind, vec![0x30; 40_000]), "sends more than"),
        ("/gone", Page::Status(410), "answers 410"),
    ] {
        publisher.publish(path, page);
        let error = case.ask(&publisher.url(path)).await.unwrap_err();
        assert!(error.contains(word), "{path}: {error}");
        assert_eq!(publisher.asked(path), 2, "by GET and by POST");
    }
    publisher.publish("/stuck", Page::Stuck);
    let started = Instant::now();
    let error = case.ask(&publisher.url("/stuck")).await.unwrap_err();
    assert!(error.contains("cannot be reached") && started.elapsed() < Duration::from_secs(30), "{error}");
}
