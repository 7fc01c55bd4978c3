#![allow(clippy::unwrap_used)]

use rcgen::KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::issuer::acme::Http01;
use crate::store::durable;

/// A key for tests alone; its thumbprint was computed with openssl and Python.
const KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLZPF3GdpCi4w6aO3
86kq6W5NKwSGUvGS1IYAVZSvS2GhRANCAAS4ZS8wn3U2SL+8RkbhfKQjwDGRv4Rg
Ow7otcFWYRI3eup1YjhTeBwtJwIyVc7uyBsgnjmWbF5b3q8KIJfaOULi
-----END PRIVATE KEY-----
";
const THUMBPRINT: &str = "J94FBwiQH_io9O87R18upLSv3i3qyVfUSCCqXbrZi1s";

const TOKEN: &str = "abcdefghijklmnopqrstuv";

fn account(pem: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    durable::write(&dir.path().join(KEY_FILE), pem.as_bytes(), 0o600).unwrap();
    dir
}

fn map<V>(entries: Vec<(&str, V)>) -> BTreeMap<String, V> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn the_only_account_answers_for_every_host_and_known_tokens_come_first() {
    let dir = account(KEY_PEM);
    let stateless = Stateless::new(map(vec![("ca", dir.path().to_owned())]), BTreeMap::new());
    let http01 = Http01::stateless(stateless);
    assert!(http01.answers(TOKEN));
    assert!(!http01.answers("too-short") && !http01.answers("abcdefghijklmnopqrstu/"));
    let _known = http01.provision(TOKEN, "known").unwrap();
    let stateless = Stateless::new(map(vec![("ca", dir.path().to_owned())]), BTreeMap::new());
    assert_eq!(stateless.answer("t", None).unwrap(), format!("t.{THUMBPRINT}"));
}

#[test]
fn the_key_of_the_credentials_wins_over_the_one_to_register() {
    let dir = account("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let der = rustls_pki_types::pem::PemObject::from_pem_slice(KEY_PEM.as_bytes()).unwrap();
    let der: PrivatePkcs8KeyDer<'_> = der;
    let key = BASE64_URL_SAFE_NO_PAD.encode(der.secret_pkcs8_der());
    let text = format!("{{\"id\": \"https://ca.example/1\", \"key_pkcs8\": \"{key}\"}}");
    durable::write(&dir.path().join(CREDENTIALS_FILE), text.as_bytes(), 0o600).unwrap();
    let stateless = Stateless::new(map(vec![("ca", dir.path().to_owned())]), BTreeMap::new());
    assert_eq!(stateless.answer("t", None).unwrap(), format!("t.{THUMBPRINT}"));
}

#[test]
fn several_accounts_are_told_apart_by_the_host_alone() {
    let (one, two) = (account(KEY_PEM), account(&KeyPair::generate().unwrap().serialize_pem()));
    let stateless = Stateless::new(
        map(vec![("one", one.path().to_owned()), ("two", two.path().to_owned())]),
        map(vec![
            ("a.example", "one".to_owned()),
            ("b.example", "two".to_owned()),
            ("::1", "one".to_owned()),
        ]),
    );
    let ours = format!("t.{THUMBPRINT}");
    for host in ["a.example", "A.Example:80", "a.example.", "[::1]:80", "[::1]"] {
        assert_eq!(stateless.answer("t", Some(host)).as_deref(), Some(ours.as_str()), "{host}");
    }
    let other = stateless.answer("t", Some("b.example")).unwrap();
    assert_ne!(other, ours);
    for host in [None, Some("c.example"), Some("")] {
        assert_eq!(stateless.answer("t", host), None, "{host:?}");
    }
}

#[test]
fn without_an_account_nothing_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let stateless = Stateless::new(map(vec![("ca", dir.path().to_owned())]), BTreeMap::new());
    assert_eq!(stateless.answer("t", None), None);
}

#[test]
fn an_account_that_another_client_made_with_an_rsa_key_answers_too() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa;
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let dir = account(&crate::adopt::key::pem_of(der.as_ref()));
    let expected = AccountKey::from_pkcs8(der.as_ref()).unwrap().thumbprint();
    let stateless = Stateless::new(map(vec![("ca", dir.path().to_owned())]), BTreeMap::new());
    assert_eq!(stateless.answer("t", None).unwrap(), format!("t.{expected}"));
}
