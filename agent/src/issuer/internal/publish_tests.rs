//! What is published of what was issued and revoked.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::tests::{Fixture, fixture, issue};
use super::*;
use crate::config::PublishConfig;
use crate::store::faults;

const INTERMEDIATE: AuthorityId = AuthorityId::Intermediate(1);

pub(super) fn publishing() -> Fixture {
    let mut fixture = fixture();
    fixture.config.publish = Some(PublishConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        url: "http://pki.example:8089/".into(),
        crl_lifetime: Duration::from_hours(24),
        ocsp_lifetime: Duration::from_hours(1),
    });
    fixture
}

fn crl(issuer: &InternalIssuer, id: AuthorityId) -> Crl {
    Crl::clone(&issuer.view().crls[&id])
}

/// The serial numbers on a list, after its signature was checked.
fn revoked(issuer: &InternalIssuer, id: AuthorityId) -> Vec<Vec<u8>> {
    let crl = crl(issuer, id);
    let (_, list) = CertificateRevocationList::from_der(&crl.der).unwrap();
    let view = issuer.view();
    let (_, signer) = X509Certificate::from_der(view.authorities[&id].authority.certificate()).unwrap();
    list.verify_signature(signer.public_key()).unwrap();
    list.iter_revoked_certificates().map(|revoked| revoked.raw_serial().to_vec()).collect()
}

fn serial(certificate: &CertificateDer<'_>) -> Vec<u8> {
    X509Certificate::from_der(certificate).unwrap().1.raw_serial().to_vec()
}

#[tokio::test]
async fn certificates_tell_where_to_ask() {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    let issued = issue(&issuer, &["a.example"]).await.unwrap();
    fixture.check(&issuer, &issued).unwrap();
    for (certificate, above) in issued.chain.iter().zip(["intermediate-1", "root-1"]) {
        let crl = format!("http://pki.example:8089/pki/{above}.crl");
        assert_eq!(endpoints::crl_url(certificate), Some(crl));
        let text = String::from_utf8_lossy(certificate).into_owned();
        for url in [
            "http://pki.example:8089/pki/ocsp".to_owned(),
            format!("http://pki.example:8089/pki/{above}.cer"),
        ] {
            assert!(text.contains(&url), "{url}");
        }
    }
    // Without it there are none; the intermediate is of the new configuration, too.
    let mut silent = fixture;
    silent.config.publish = None;
    let issued = issue(&silent.open().unwrap(), &["a.example"]).await.unwrap();
    assert!(issued.chain.iter().all(|certificate| endpoints::crl_url(certificate).is_none()));
}

#[tokio::test]
async fn a_revocation_is_published_at_once_and_survives_a_restart() {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    let (one, two) =
        (issue(&issuer, &["a.example"]).await.unwrap(), issue(&issuer, &["b.example"]).await.unwrap());
    assert!(revoked(&issuer, INTERMEDIATE).is_empty());
    let before = crl(&issuer, INTERMEDIATE);
    issuer.revoke(&one.chain[0], RevocationReason::KeyCompromise).await.unwrap();
    let after = crl(&issuer, INTERMEDIATE);
    assert!(after.number > before.number);
    issuer.revoke(&one.chain[0], RevocationReason::Superseded).await.unwrap();
    assert_eq!(crl(&issuer, INTERMEDIATE), after);
    let again = fixture.open().unwrap();
    assert_eq!(crl(&again, INTERMEDIATE), after, "what is good still is not signed anew");
    for issuer in [issuer, again] {
        assert_eq!(revoked(&issuer, INTERMEDIATE), [serial(&one.chain[0])]);
        assert!(revoked(&issuer, AuthorityId::Root(1)).is_empty());
        let entry = issuer.shared.record.find(&serial(&one.chain[0])).unwrap();
        assert_eq!(entry.revoked.unwrap().reason, 1);
        assert_eq!(issuer.shared.record.find(&serial(&two.chain[0])).unwrap().revoked, None);
    }
}

#[tokio::test]
async fn what_was_not_issued_here_or_has_ended_is_not_revoked() {
    let (fixture, stranger) = (publishing(), publishing());
    let (issuer, other) = (fixture.open().unwrap(), stranger.open().unwrap());
    let foreign = issue(&other, &["a.example"]).await.unwrap();
    let reason = RevocationReason::Unspecified;
    let error = issuer.revoke(&foreign.chain[0], reason).await.unwrap_err();
    assert!(error.message.contains("was not issued by any of its intermediates"), "{error}");
    // Not an intermediate either: that has a command of its own.
    let own = issue(&issuer, &["a.example"]).await.unwrap();
    assert!(issuer.revoke(&own.chain[1], reason).await.is_err());
    fixture.clock.forward(25);
    let error = issuer.revoke(&own.chain[0], reason).await.unwrap_err();
    assert!(error.message.contains("there is nothing to revoke"), "{error}");
    assert_eq!(issuer.shared.record.revoked(), 0);
}

#[tokio::test]
async fn lists_are_renewed_at_half_of_their_life_and_their_numbers_never_go_back() {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    let mut last = crl(&issuer, INTERMEDIATE);
    fixture.clock.forward(11);
    issuer.tend();
    assert_eq!(crl(&issuer, INTERMEDIATE), last);
    fixture.clock.forward(1);
    issuer.tend();
    let renewed = crl(&issuer, INTERMEDIATE);
    assert!(renewed.number > last.number && renewed.next_update > last.next_update);
    last = renewed;
    // The clock is set back, and the list on disk is lost, damaged or of another address.
    fixture.clock.forward(-30);
    let issuer = fixture.open().unwrap();
    let renewed = crl(&issuer, INTERMEDIATE);
    assert!(renewed.number > last.number && renewed.next_update < last.next_update);
    fixture.clock.forward(40);
    for damage in [None, Some("garbage")] {
        last = crl(&fixture.open().unwrap(), INTERMEDIATE);
        let file = fixture.ca_dir().join("intermediate-1.crl");
        match damage {
            None => std::fs::remove_file(&file).unwrap(),
            Some(text) => std::fs::write(&file, text).unwrap(),
        }
        fixture.clock.forward(1);
        assert!(crl(&fixture.open().unwrap(), INTERMEDIATE).number > last.number);
    }
}

#[tokio::test]
async fn each_intermediate_has_a_list_of_its_own_until_it_ends() {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    let old = issue(&issuer, &["a.example"]).await.unwrap();
    issuer.rotate_intermediate().unwrap();
    let new = issue(&issuer, &["a.example"]).await.unwrap();
    assert_ne!(old.chain[1], new.chain[1]);
    issuer.revoke(&old.chain[0], RevocationReason::Superseded).await.unwrap();
    assert_eq!(revoked(&issuer, INTERMEDIATE), [serial(&old.chain[0])]);
    assert!(revoked(&issuer, AuthorityId::Intermediate(2)).is_empty());
    fixture.clock.forward(24 * 91);
    issuer.tend();
    assert!(!issuer.view().crls.contains_key(&INTERMEDIATE));
}

#[tokio::test]
async fn a_revoked_intermediate_is_on_the_list_of_its_root_and_signs_no_more() {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    let old = issue(&issuer, &["a.example"]).await.unwrap();
    let der = issuer.revoke_intermediate(0, RevocationReason::KeyCompromise).unwrap();
    assert_eq!(der, old.chain[1].as_ref());
    assert_eq!(revoked(&issuer, AuthorityId::Root(1)), [serial(&old.chain[1])]);
    for issuer in [issuer, fixture.open().unwrap()] {
        let new = issue(&issuer, &["a.example"]).await.unwrap();
        assert_ne!(new.chain[1], old.chain[1]);
        fixture.check(&issuer, &new).unwrap();
    }
    let error = fixture.open().unwrap().revoke_intermediate(9, RevocationReason::Superseded).unwrap_err();
    assert!(error.message.contains("no valid intermediate-9"), "{error}");
}

#[tokio::test]
async fn a_crash_at_any_effect_takes_no_revocation_and_no_number_back() {
    for crash in 0.. {
        let fixture = publishing();
        let issuer = fixture.open().unwrap();
        let one = issue(&issuer, &["a.example"]).await.unwrap();
        let before = crl(&issuer, INTERMEDIATE).number;
        let script = faults::crash_at(crash);
        let issued = issue(&issuer, &["b.example"]).await.ok();
        let answered = issuer.revoke(&one.chain[0], RevocationReason::KeyCompromise).await.is_ok();
        let shown = crl(&issuer, INTERMEDIATE).number;
        let effects = script.end();
        drop(issuer);

        let issuer = fixture.open().unwrap();
        if let Some(issued) = issued {
            let entry = issuer.shared.record.find(&serial(&issued.chain[0]));
            assert!(entry.is_some(), "crash at {crash} of {effects:?}: a leaf that left is not on record");
        }
        if answered {
            assert_eq!(revoked(&issuer, INTERMEDIATE), [serial(&one.chain[0])], "crash at {crash}");
        }
        assert!(crl(&issuer, INTERMEDIATE).number >= shown.max(before), "crash at {crash} of {effects:?}");
        issuer.revoke(&one.chain[0], RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(revoked(&issuer, INTERMEDIATE), [serial(&one.chain[0])]);
        if effects.len() <= crash {
            assert!(answered && crash > 8, "{effects:?}");
            return;
        }
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_written_is_told_and_tried_again() {
    let fixture = publishing();
    let issuer = fixture.open().unwrap();
    let one = issue(&issuer, &["a.example"]).await.unwrap();
    // A directory where the temporary goes.
    let obstacle = fixture.ca_dir().join("intermediate-1.crl.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    issuer.revoke(&one.chain[0], RevocationReason::KeyCompromise).await.unwrap();
    let fault = issuer.fault().unwrap();
    assert!(fault.contains("the revocation list of intermediate-1 is not renewed"), "{fault}");
    assert!(revoked(&issuer, INTERMEDIATE).is_empty());
    std::fs::remove_dir(&obstacle).unwrap();
    issuer.tend();
    assert_eq!(issuer.fault(), None);
    assert_eq!(revoked(&issuer, INTERMEDIATE), [serial(&one.chain[0])]);
}

async fn fetch(address: std::net::SocketAddr, request: String) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(reply[..end].to_vec()).unwrap(), reply[end..].to_vec())
}

#[tokio::test]
async fn http_serves_what_is_published_and_nothing_else() {
    let fixture = publishing();
    let issuer = Arc::new(fixture.open().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(Publication::new([Arc::clone(&issuer)]).serve(listener, shutdown.clone()));
    let get = |path: &str, more: &str| {
        fetch(address, format!("GET {path} HTTP/1.1\r\nHost: pki.example\r\n{more}\r\n"))
    };

    let (head, body) = get("/pki/intermediate-1.crl", "").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, crl(&issuer, INTERMEDIATE).der);
    for line in [
        "content-type: application/pkix-crl\r\n",
        "cache-control: public, no-transform, must-revalidate, max-age=43049\r\n",
        "last-modified: Mon, 23 Nov 2026 09:55:00 GMT\r\n",
        "expires: Tue, 24 Nov 2026 10:00:00 GMT\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (head, body) = get("/pki/intermediate-1.crl", &format!("If-None-Match: {tag}\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{head}");

    let (head, body) = get("/pki/root-1.cer", "").await;
    assert!(head.contains("content-type: application/pkix-cert\r\n"), "{head}");
    assert_eq!(body, issuer.trust_anchors()[0].as_ref());
    let (head, body) = get("/pki/roots.pem", "").await;
    assert!(head.contains("content-type: application/pem-certificate-chain\r\n"), "{head}");
    assert_eq!(body, issuer.root_pem().unwrap().into_bytes());
    for path in [
        "/",
        "/pki",
        "/other/root-1.crl",
        "/pki/root-2.crl",
        "/pki/root.key.pem",
        "/pki/../root.pem",
        "/pki/root-1.pem",
    ] {
        assert!(get(path, "").await.0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(get("/pki/ocsp", "").await.0.starts_with("HTTP/1.1 405 "));
    let (head, body) = get("/pki/ocsp/!!!", "").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("cache-control: no-store\r\n"), "{head}");
    assert_eq!(body, [0x30, 3, 10, 1, 1], "malformedRequest");

    let post = |kind: &str, length: usize| {
        let body = "x".repeat(length);
        fetch(
            address,
            format!(
                "POST /pki/ocsp HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    };
    let (head, body) = post("application/ocsp-request", 10).await;
    assert!(head.contains("content-type: application/ocsp-response\r\n"), "{head}");
    assert_eq!(body, [0x30, 3, 10, 1, 1]);
    assert!(post("text/plain", 10).await.0.starts_with("HTTP/1.1 415 "));
    assert!(post("application/ocsp-request", 9000).await.0.starts_with("HTTP/1.1 413 "));
    shutdown.cancel();
    server.await.unwrap();
}
