#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use rcgen::KeyPair;

use super::*;
use crate::issuer::Issuer;
use crate::issuer::acme::script_ca::{Heard, ScriptCa, request};

fn of(url: Option<&str>, pkcs8: &[u8]) -> ForeignAccount {
    let pem = crate::adopt::key::pem_of(pkcs8);
    ForeignAccount::new(url.map(str::to_owned), pkcs8, pem).unwrap()
}

fn rsa(url: &str) -> ForeignAccount {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    of(Some(url), der.as_ref())
}

fn p256(url: Option<&str>) -> ForeignAccount {
    of(url, KeyPair::generate().unwrap().serialized_der())
}

#[tokio::test]
async fn orders_go_out_under_an_rsa_account_until_its_key_is_rolled_over() {
    let ca = ScriptCa::start(|_, _| None).await;
    let dir = tempfile::tempdir().unwrap();
    let account = rsa(&ca.url("/account"));
    assert_eq!(take_over(dir.path(), &ca.url("/dir"), &account, true).unwrap(), TakenOver::Stored);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a dry run writes nothing");
    assert_eq!(take_over(dir.path(), &ca.url("/dir"), &account, false).unwrap(), TakenOver::Stored);
    assert_eq!(take_over(dir.path(), &ca.url("/dir"), &account, false).unwrap(), TakenOver::Same);
    for file in [KEY_FILE, CREDENTIALS_FILE] {
        assert_eq!(std::fs::metadata(dir.path().join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
    }

    let issuer = ca.issuer(dir.path());
    issuer.obtain(&request(), &Heard::default()).await.unwrap();
    assert_eq!(issuer.account().await.unwrap().thumbprint, account.thumbprint());
    assert_eq!(ca.asked("/new-account").len(), 0, "nothing is registered");
    let signed = |path: &str| {
        let asked = ca.asked(path).pop().unwrap();
        assert_eq!(asked.header["kid"], ca.url("/account"), "{path}");
        asked.header["alg"].as_str().unwrap().to_owned()
    };
    // The first two by way of instant-acme, the last by ourselves.
    assert_eq!(["/new-order", "/finalize", "/account"].map(signed), ["RS256", "RS256", "RS256"]);

    // The script's CA knows every key, so it has the new one.
    issuer.roll_over_account().await.unwrap();
    assert_eq!(signed("/key-change"), "RS256", "by the key that it ends");
    issuer.obtain(&request(), &Heard::default()).await.unwrap();
    assert_eq!(signed("/new-order"), "ES256");
}

#[tokio::test]
async fn without_its_url_it_is_found_by_its_key() {
    let ca = ScriptCa::start(|_, _| None).await;
    let dir = tempfile::tempdir().unwrap();
    let account = p256(None);
    assert_eq!(take_over(dir.path(), &ca.url("/dir"), &account, false).unwrap(), TakenOver::Stored);
    assert_eq!(take_over(dir.path(), &ca.url("/dir"), &account, false).unwrap(), TakenOver::Same);
    let shown = ca.issuer(dir.path()).account().await.unwrap();
    assert_eq!((shown.thumbprint, shown.url), (account.thumbprint(), ca.url("/account")));
    assert_eq!(take_over(dir.path(), &ca.url("/dir"), &account, false).unwrap(), TakenOver::Same);
}

#[test]
fn what_the_issuer_has_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (p256(Some("https://ca.example/1")), p256(Some("https://ca.example/2")));
    let take = |account| take_over(dir.path(), "https://ca.example/dir", account, false);
    take(&ours).unwrap();
    let files = || [KEY_FILE, CREDENTIALS_FILE].map(|file| std::fs::read(dir.path().join(file)).ok());
    let before = files();
    assert_eq!(take(&theirs).unwrap(), TakenOver::Kept("https://ca.example/1".into()));
    assert_eq!(files(), before);

    // A crash between the two files: the key alone. Its own account goes on, another does not take its place.
    std::fs::remove_file(dir.path().join(CREDENTIALS_FILE)).unwrap();
    let TakenOver::Kept(what) = take(&theirs).unwrap() else { panic!("overwritten") };
    assert!(what.ends_with("account.key.pem"), "{what}");
    assert_eq!(take(&ours).unwrap(), TakenOver::Stored);
    assert_eq!(files(), before);

    for file in [DEACTIVATED_FILE, NEXT_KEY_FILE] {
        std::fs::write(dir.path().join(file), "").unwrap();
        assert!(matches!(take(&ours).unwrap(), TakenOver::Kept(_)), "{file}");
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    let credentials = dir.path().join(CREDENTIALS_FILE);
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(take(&ours).unwrap_err().to_string().contains("chmod 0600"));
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&credentials, "{").unwrap();
    assert!(take(&ours).unwrap_err().to_string().contains("account.json is damaged"));
    assert_eq!(std::fs::read(&credentials).unwrap(), b"{");
}

#[test]
fn only_what_can_sign_and_has_a_url_is_an_account() {
    let der = KeyPair::generate().unwrap().serialized_der().to_vec();
    for url in ["", "acct/1", "file:///etc/passwd"] {
        let made = ForeignAccount::new(Some(url.to_owned()), &der, Zeroizing::default());
        assert!(made.is_err_and(|error| error.contains("not the URL")), "{url}");
    }
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let made = ForeignAccount::new(None, ed25519.serialized_der(), Zeroizing::default());
    assert!(made.is_err_and(|error| error.contains("P-256 or P-384, or RSA")));
}
