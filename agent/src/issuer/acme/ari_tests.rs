#![allow(clippy::unwrap_used)]

use super::*;
use crate::issuer::Issuer;
use crate::issuer::acme::script_ca::{ScriptCa, answer, known_leaf, problem};
use serde_json::json;

const ID: &str = "AQI.AIc";
const GOOD: &str = r#"{"suggestedWindow": {"start": "2026-12-01T00:00:00Z", "end": "2026-12-03T00:00:00.5Z"},
    "explanationURL": "https://ca.example/why", "more": 1}"#;

#[test]
fn the_id_is_key_identifier_and_serial() {
    assert_eq!(certificate_id(&known_leaf()).unwrap().to_string(), ID);
    let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    let own = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    assert!(certificate_id(own.der()).unwrap_err().contains("AKI"));
    assert!(certificate_id(&b"nothing".as_slice().into()).is_err());
}

#[test]
fn answers_are_read_with_care() {
    let info = parse(GOOD.as_bytes(), None).unwrap();
    assert_eq!(info.end, "2026-12-03T00:00:00.5Z".parse().unwrap());
    assert_eq!(info.explanation_url.as_deref(), Some("https://ca.example/why"));
    assert_eq!(info.retry_after, None);
    for (bad, words) in [
        ("2026-12-03T00:00:00.5Z", "2026-12-01T00:00:00Z"),
        ("2026-12-03T00:00:00.5Z", "2026-11-01T00:00:00Z"),
    ] {
        let error = parse(GOOD.replace(bad, words).as_bytes(), None).unwrap_err();
        assert!(error.contains("not after its start"), "{error}");
    }
    for bad in ["", "[]", "{}", r#"{"suggestedWindow": {"start": "soon", "end": "later"}}"#] {
        assert!(parse(bad.as_bytes(), None).unwrap_err().contains("not readable"), "{bad}");
    }
    // No page to show people.
    let long = format!("https://ca.example/{}", "x".repeat(2000));
    assert_eq!(
        parse(GOOD.replace("https://ca.example/why", &long).as_bytes(), None).unwrap().explanation_url,
        None
    );
}

#[tokio::test]
async fn it_is_asked_for_without_an_account() {
    let ca = ScriptCa::start(|_, asked| {
        (asked.path == format!("/ari/{ID}"))
            .then(|| (200, vec![("Retry-After", "21600".to_owned())], GOOD.to_owned()))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let issuer = ca.issuer(dir.path());
    let info = issuer.renewal_info(&known_leaf()).await.unwrap().unwrap();
    assert_eq!(info.retry_after, Some(Duration::from_hours(6)));
    issuer.renewal_info(&known_leaf()).await.unwrap().unwrap();
    assert_eq!(ca.asked("/dir").len(), 1);
    assert!(ca.asked("/new-account").is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_ca_without_it_and_one_that_does_not_know_the_leaf_are_two_things() {
    let ca = ScriptCa::start(|ca, asked| {
        let mut directory = ca.directory();
        directory.as_object_mut().unwrap().remove("renewalInfo");
        (asked.path == "/dir").then(|| answer(200, &directory))?
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ca.issuer(dir.path()).renewal_info(&known_leaf()).await.unwrap(), None);

    let ca =
        ScriptCa::start(|_, asked| asked.path.starts_with("/ari").then(|| problem(404, "malformed"))?).await;
    ca.issuer(dir.path()).renewal_info(&known_leaf()).await.unwrap_err();

    let inverted =
        json!({"suggestedWindow": {"start": "2026-12-03T00:00:00Z", "end": "2026-12-01T00:00:00Z"}});
    let ca =
        ScriptCa::start(move |_, asked| asked.path.starts_with("/ari").then(|| answer(200, &inverted))?)
            .await;
    let error = ca.issuer(dir.path()).renewal_info(&known_leaf()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("not after its start"), "{error}");
}
