#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::issuer::Issuer;
use crate::issuer::acme::script_ca::{Answered, Heard, ScriptCa, answer, known_leaf, problem, request};

/// A CA that knows one key at a time, by its JWK.
#[derive(Default)]
struct Keys {
    known: Mutex<Value>,
    /// What happens to the next keyChange.
    fate: Mutex<Option<Fate>>,
}

#[derive(Clone, Copy)]
enum Fate {
    RefusedAs(u16),
    /// Done, but the answer is lost.
    DoneUnheard,
}

impl Keys {
    fn answer(&self, ca: &ScriptCa, path: &str, header: &Value, payload: &Value) -> Option<Answered> {
        let mut known = self.known.lock().unwrap();
        match path {
            "/new-account" if payload["onlyReturnExisting"] == true => {
                if header["jwk"] == *known {
                    return Some((200, vec![("Location", ca.url("/account"))], "{}".to_owned()));
                }
                problem(400, "accountDoesNotExist")
            }
            "/new-account" => {
                *known = header["jwk"].clone();
                None
            }
            "/key-change" => {
                let fate = self.fate.lock().unwrap().take();
                if let Some(Fate::RefusedAs(status)) = fate {
                    return problem(status, "serverInternal");
                }
                let inner: Value = {
                    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
                    let header =
                        BASE64_URL_SAFE_NO_PAD.decode(payload["protected"].as_str().unwrap()).unwrap();
                    let body = BASE64_URL_SAFE_NO_PAD.decode(payload["payload"].as_str().unwrap()).unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(body["oldKey"], *known);
                    assert_eq!(body["account"], ca.url("/account"));
                    serde_json::from_slice(&header).unwrap()
                };
                assert_eq!((&inner["url"], &inner["nonce"]), (&ca.url("/key-change").into(), &Value::Null));
                *known = inner["jwk"].clone();
                match fate {
                    Some(Fate::DoneUnheard) => Some((504, Vec::new(), "<html>".to_owned())),
                    _ => answer(200, &serde_json::json!({})),
                }
            }
            _ => None,
        }
    }
}

async fn ca() -> (ScriptCa, std::sync::Arc<Keys>) {
    let keys = std::sync::Arc::new(Keys::default());
    let script = std::sync::Arc::clone(&keys);
    let ca =
        ScriptCa::start(move |ca, asked| script.answer(ca, &asked.path, &asked.header, &asked.payload)).await;
    (ca, keys)
}

#[tokio::test]
async fn a_rollover_ends_with_the_key_that_the_ca_knows() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, keys) = ca().await;
    let issuer = ca.issuer(dir.path());
    let first = issuer.account().await.unwrap();
    assert_eq!((first.status.as_str(), &first.url), ("valid", &ca.url("/account")));
    let second = issuer.roll_over_account().await.unwrap();
    assert_ne!(first.thumbprint, second.thumbprint);

    // Refused: the old key stays, and nothing is left over.
    for status in [400, 500] {
        *keys.fate.lock().unwrap() = Some(Fate::RefusedAs(status));
        issuer.roll_over_account().await.unwrap_err();
        assert_eq!(issuer.account().await.unwrap().thumbprint, second.thumbprint, "{status}");
        assert!(!dir.path().join(NEXT_KEY_FILE).exists());
    }
    // Done although it looked like a failure: the new key is found out.
    *keys.fate.lock().unwrap() = Some(Fate::DoneUnheard);
    let third = issuer.roll_over_account().await.unwrap();
    assert_ne!(third.thumbprint, second.thumbprint);
    // And so it is after a restart.
    assert_eq!(ca.issuer(dir.path()).account().await.unwrap().thumbprint, third.thumbprint);
    issuer.obtain(&request(), &Heard::default()).await.unwrap();
    assert_eq!(ca.asked("/new-order").pop().unwrap().header["kid"], ca.url("/account"));
}

#[tokio::test]
async fn a_crash_at_any_point_of_a_rollover_is_mended_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, _) = ca().await;
    let files = [CREDENTIALS_FILE, KEY_FILE];
    let read = || files.map(|file| std::fs::read(dir.path().join(file)).unwrap());
    let restore = |contents: [&Vec<u8>; 2], next: &[u8]| {
        for (file, bytes) in files.iter().zip(contents) {
            durable::write(&dir.path().join(file), bytes, 0o600).unwrap();
        }
        durable::write(&dir.path().join(NEXT_KEY_FILE), next, 0o600).unwrap();
    };
    let before = ca.issuer(dir.path()).account().await.unwrap();
    let old = read();
    let after = ca.issuer(dir.path()).roll_over_account().await.unwrap();
    let new = read();
    assert_ne!(before.thumbprint, after.thumbprint);
    // After keyChange: before account.json, between the two files, and before the next key is removed.
    for contents in [[&old[0], &old[1]], [&new[0], &old[1]], [&new[0], &new[1]]] {
        restore(contents, &new[1]);
        let found = ca.issuer(dir.path()).account().await.unwrap();
        assert_eq!(found.thumbprint, after.thumbprint);
        assert_eq!(read(), new);
        assert!(!dir.path().join(NEXT_KEY_FILE).exists());
    }
    // Before keyChange: a next key that the CA has never seen.
    restore([&new[0], &new[1]], &old[1]);
    assert_eq!(ca.issuer(dir.path()).account().await.unwrap().thumbprint, after.thumbprint);
    assert_eq!(read(), new);
    assert!(!dir.path().join(NEXT_KEY_FILE).exists());
}

#[tokio::test]
async fn both_keys_are_kept_while_the_ca_cannot_say() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, _) = ca().await;
    plain.issuer(dir.path()).account().await.unwrap();
    let trouble =
        ScriptCa::start(|_, asked| (asked.path == "/new-account").then(|| problem(503, "serverInternal"))?)
            .await;
    let key = std::fs::read(dir.path().join(KEY_FILE)).unwrap();
    durable::write(&dir.path().join(NEXT_KEY_FILE), &key, 0o600).unwrap();
    // The same account at another address.
    let text = std::fs::read_to_string(dir.path().join(CREDENTIALS_FILE)).unwrap();
    let text = text.replace(&plain.url(""), &trouble.url(""));
    durable::write(&dir.path().join(CREDENTIALS_FILE), text.as_bytes(), 0o600).unwrap();
    let error = trouble.issuer(dir.path()).account().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("find out which account key is in use"), "{error}");
    assert!(dir.path().join(NEXT_KEY_FILE).exists() && dir.path().join(CREDENTIALS_FILE).exists());
}

#[tokio::test]
async fn a_deactivated_account_is_not_registered_again_behind_the_operators_back() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ScriptCa::start(|_, asked| {
        (asked.payload["status"] == "deactivated")
            .then(|| answer(200, &serde_json::json!({"status": "deactivated"})))?
    })
    .await;
    let issuer = ca.issuer(dir.path());
    let error = issuer.deactivate_account().await.unwrap_err();
    assert!(error.message.contains("no account to deactivate yet"), "{error}");
    issuer.account().await.unwrap();
    assert_eq!(issuer.deactivate_account().await.unwrap().status, "deactivated");
    for issuer in [&issuer, &ca.issuer(dir.path())] {
        let error = issuer.obtain(&request(), &Heard::default()).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Account);
        assert!(error.message.contains("was deactivated at"), "{error}");
    }
    assert_eq!(ca.asked("/new-account").len(), 1);
}

#[tokio::test]
async fn revocation_names_leaf_and_reason_and_may_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ScriptCa::start(|ca, asked| match asked.path.as_str() {
        "/revoke" if ca.asked("/revoke").len() == 1 => Some((200, Vec::new(), String::new())),
        "/revoke" if ca.asked("/revoke").len() == 2 => problem(400, "alreadyRevoked"),
        "/revoke" => problem(403, "unauthorized"),
        _ => None,
    })
    .await;
    let issuer = ca.issuer(dir.path());
    let leaf = known_leaf();
    for _ in 0..2 {
        issuer.revoke(&leaf, RevocationReason::KeyCompromise).await.unwrap();
    }
    let asked = ca.asked("/revoke").remove(0);
    assert_eq!(asked.payload, serde_json::json!({"certificate": encode(&leaf), "reason": 1}));
    let error = issuer.revoke(&leaf, RevocationReason::Superseded).await.unwrap_err();
    assert!(error.message.contains("cannot revoke the certificate: as scripted"), "{error}");
}

#[tokio::test]
async fn changed_terms_are_told_with_their_url() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ScriptCa::start(|_, asked| {
        (asked.path == "/new-order").then(|| {
            let body = r#"{"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "terms"}"#;
            let link = "<https://ca.example/tos-2>;rel=\"terms-of-service\"".to_owned();
            (403, vec![("Link", link)], body.to_owned())
        })
    })
    .await;
    let error = ca.issuer(dir.path()).obtain(&request(), &Heard::default()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Account);
    assert!(
        error.message.ends_with("agree to https://ca.example/tos-2, then it goes on by itself"),
        "{error}"
    );
}
