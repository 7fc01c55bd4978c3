#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use x509_parser::der_parser::parse_der;

use super::super::{Client, find_accounts, key};
use super::*;

const DIRECTORY: &str = "https://ca.example:14000/acme/dir";
const URL: &str = "https://ca.example:14000/acct/7";

/// RSA 2048 as a private JWK, as certbot writes it. One for all: it takes long to make.
fn rsa_jwk() -> &'static str {
    static JWK: LazyLock<String> = LazyLock::new(|| {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // PrivateKeyInfo holds RSAPrivateKey: version, n, e, d, p, q, dp, dq, qi (RFC 8017 appendix A.1.2).
        let (_, info) = parse_der(pkcs8.as_ref()).unwrap();
        let (_, key) = parse_der(info[2].as_slice().unwrap()).unwrap();
        let number = |index: usize| {
            let bytes = key[index].as_slice().unwrap();
            BASE64_URL_SAFE_NO_PAD.encode(bytes.strip_prefix(&[0]).unwrap_or(bytes))
        };
        let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
        let members =
            names.iter().enumerate().map(|(index, name)| format!(r#""{name}": "{}""#, number(index + 1)));
        format!("{{{}, \"kty\": \"RSA\"}}", members.collect::<Vec<_>>().join(", "))
    });
    &JWK
}

fn config(dir: &Path, more: &str) -> Config {
    let text = format!(
        "state_dir = {:?}\n[acme.le]\ndirectory = \"{DIRECTORY}\"\nterms_of_service_agreed = true\n{more}\
         [[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\"]\n\
         issuers = [\"le\"]\n",
        dir.join("state")
    );
    Config::from_text(Path::new("test.toml"), &text).unwrap()
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// As lego and Caddy write keys.
fn sec1() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
    key::pem_of(der.as_ref()).replace("PRIVATE KEY", "EC PRIVATE KEY")
}

fn certbot(dir: &Path, id: &str, url: &str) {
    let account = dir.join("accounts/ca.example:14000/acme/dir").join(id);
    write(&account.join("private_key.json"), rsa_jwk());
    write(&account.join("regr.json"), &format!(r#"{{"body": {{}}, "uri": "{url}"}}"#));
    write(&account.join("meta.json"), r#"{"creation_dt": "2026-11-23T22:00:00Z"}"#);
}

fn lego(dir: &Path, email: &str, url: &str) {
    let account = dir.join("accounts/ca.example_14000").join(email);
    write(&account.join(format!("keys/{email}.key")), &sec1());
    let json = format!(r#"{{"email": "{email}", "registration": {{"body": {{}}, "uri": "{url}"}}}}"#);
    write(&account.join("account.json"), &json);
}

/// Version 5.
fn lego5(dir: &Path, id: &str, url: &str) {
    let account = dir.join("accounts/ca.example_14000").join(id);
    write(&account.join(format!("{id}.key")), &sec1());
    let registration = format!(r#"{{"status": "valid", "accountURL": "{url}"}}"#);
    let json = format!(r#"{{"id": "{id}", "server": "{DIRECTORY}", "registration": {registration}}}"#);
    write(&account.join("account.json"), &json);
}

fn caddy(dir: &Path, user: &str, local: &str, url: &str) {
    let account = dir.join("acme/ca.example-14000-acme-dir/users").join(user);
    write(&account.join(format!("{local}.key")), &sec1());
    write(&account.join(format!("{local}.json")), &format!(r#"{{"status": "valid", "location": "{url}"}}"#));
}

fn found(client: Client, dir: &Path) -> Vec<FoundAccount> {
    find_accounts(client, dir).into_iter().map(Result::unwrap).collect()
}

fn adopted(
    config: &Config,
    client: Client,
    dir: &Path,
    choice: Choice<'_>,
) -> Vec<Result<AdoptedAccount, String>> {
    let results = adopt_accounts(config, &found(client, dir), choice, false);
    results.into_iter().map(|result| result.map_err(|error| error.to_string())).collect()
}

fn stored() -> AdoptedAccount {
    AdoptedAccount::Stored { issuer: "le".into(), url: Some(URL.into()) }
}

#[test]
fn the_account_of_each_client_becomes_the_issuers() {
    type Make = fn(&Path);
    let clients: [(Client, &str, Make); 5] = [
        (Client::Certbot, "0123", |dir| certbot(dir, "0123", URL)),
        (Client::Lego, "ops@a.example", |dir| lego(dir, "ops@a.example", URL)),
        (Client::Lego, "main", |dir| lego5(dir, "main", URL)),
        (Client::Caddy, "ops@a.example", |dir| caddy(dir, "ops@a.example", "ops", URL)),
        (Client::Caddy, "default", |dir| caddy(dir, "default", "default", URL)),
    ];
    for (client, name, make) in clients {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), "");
        make(dir.path());
        let accounts = found(client, dir.path());
        assert_eq!(accounts.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [name]);
        // Whoever may read the client's file: ours is for its owner alone.
        std::fs::set_permissions(&accounts[0].key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let dry = adopt_accounts(&config, &accounts, Choice::default(), true);
        assert_eq!(dry[0].as_ref().unwrap(), &stored());
        assert!(!dir.path().join("state").exists(), "a dry run writes nothing");
        assert_eq!(adopted(&config, client, dir.path(), Choice::default()), [Ok(stored())], "{client:?}");
        let file = dir.path().join("state/accounts/le/account.json");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let text: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!((&text["id"], &text["directory"]), (&URL.into(), &DIRECTORY.into()));
        let again = adopted(&config, client, dir.path(), Choice::default());
        assert_eq!(again, [Ok(AdoptedAccount::Same("le".into()))]);
    }
}

#[test]
fn a_damaged_account_is_one_finding_and_the_others_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "");
    for email in
        ["cut-key@a.example", "cut-json@a.example", "no-key@a.example", "odd-url@a.example", "z@a.example"]
    {
        lego(dir.path(), email, if email.starts_with("odd") { "acct/7" } else { URL });
    }
    let at = |path: &str| dir.path().join("accounts/ca.example_14000").join(path);
    let pem = std::fs::read_to_string(at("cut-key@a.example/keys/cut-key@a.example.key")).unwrap();
    write(&at("cut-key@a.example/keys/cut-key@a.example.key"), &pem[..pem.len() / 2]);
    write(&at("cut-json@a.example/account.json"), r#"{"registration": {"ur"#);
    std::fs::remove_file(at("no-key@a.example/keys/no-key@a.example.key")).unwrap();
    let results = adopted(&config, Client::Lego, dir.path(), Choice::default());
    let [Err(cut_json), Err(cut_key), Err(no_key), Err(odd_url), Ok(good)] = &results[..] else {
        panic!("{results:?}")
    };
    assert!(cut_json.contains("cut-json@a.example/account.json is not JSON"), "{cut_json}");
    assert!(cut_key.contains("cut-key@a.example.key: no private key"), "{cut_key}");
    assert!(no_key.contains("cannot read") && no_key.contains("no-key@a.example.key"), "{no_key}");
    assert!(odd_url.contains("account.json: \"acct/7\" is not the URL"), "{odd_url}");
    assert_eq!(good, &stored());
}

#[test]
fn certbots_keys_are_read_or_refused_without_a_word_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "");
    certbot(dir.path(), "0123", URL);
    let file = dir.path().join("accounts/ca.example:14000/acme/dir/0123/private_key.json");
    let jwk: serde_json::Value = serde_json::from_str(rsa_jwk()).unwrap();
    let secret = jwk["d"].as_str().unwrap();
    let without_d = {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove("d");
        jwk.to_string()
    };
    // Of another key: the numbers do not belong together.
    let mixed = {
        let mut jwk = jwk.clone();
        jwk["p"] = jwk["q"].clone();
        jwk.to_string()
    };
    for (text, expected) in [
        (rsa_jwk()[..rsa_jwk().len() / 2].to_owned(), "no private JWK (line 1"),
        (without_d, "no \"d\""),
        (mixed, "the RSA key cannot be used"),
        (format!(r#"{{"kty": "oct", "d": "{secret}"}}"#), "neither RSA nor EC"),
        (format!(r#"{{"kty": "RSA", "n": "!{secret}"}}"#), "not base64url"),
        (format!(r#"{{"kty": "RSA", "n": ["{secret}"]}}"#), "no private JWK"),
    ] {
        write(&file, &text);
        let error = adopted(&config, Client::Certbot, dir.path(), Choice::default()).remove(0).unwrap_err();
        assert!(error.contains("0123/private_key.json: ") && error.contains(expected), "{error}");
        assert!(!error.contains(&secret[..12]), "{error}");
        assert!(!dir.path().join("state").exists());
    }

    // A curve, with a number whose zeros in front were left out.
    let (pair, x) = loop {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let x = pair.public_key().as_ref()[1..33].to_vec();
        if x[0] == 0 {
            break (pair, x);
        }
    };
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let d: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    let json = serde_json::json!({
        "kty": "EC", "crv": "P-256", "x": encode(&x[1..]), "y": encode(&pair.public_key().as_ref()[33..]),
        "d": encode(d.as_ref()),
    });
    let der = key::jwk_to_pkcs8(json.to_string().as_bytes()).unwrap();
    let again = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).unwrap();
    assert_eq!(again.public_key().as_ref(), pair.public_key().as_ref());
    again.sign(&SystemRandom::new(), b"").unwrap();
}

#[test]
fn without_its_registration_an_account_is_taken_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "");
    certbot(dir.path(), "0123", URL);
    std::fs::remove_file(dir.path().join("accounts/ca.example:14000/acme/dir/0123/regr.json")).unwrap();
    let results = adopted(&config, Client::Certbot, dir.path(), Choice::default());
    assert_eq!(results, [Ok(AdoptedAccount::Stored { issuer: "le".into(), url: None })]);
    assert!(dir.path().join("state/accounts/le/account.key.pem").exists());
    assert!(!dir.path().join("state/accounts/le/account.json").exists());
}

#[test]
fn of_several_accounts_the_used_or_the_named_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    for (id, number) in [("aaaa", 6), ("bbbb", 7), ("cccc", 8)] {
        certbot(dir.path(), id, &format!("https://ca.example:14000/acct/{number}"));
    }
    let with = |state: &str| {
        let mut config = config(dir.path(), "");
        config.state_dir = dir.path().join(state);
        config
    };
    let results = adopted(&with("one"), Client::Certbot, dir.path(), Choice::default());
    for result in &results {
        assert!(result.as_ref().unwrap_err().contains("--account (aaaa, bbbb, cccc)"), "{results:?}");
    }
    let choice = Choice { account: Some("bbbb"), ..Choice::default() };
    let named = adopted(&with("two"), Client::Certbot, dir.path(), choice);
    let passed = || Ok(AdoptedAccount::PassedOver { other: "bbbb".into() });
    assert_eq!(named, [passed(), Ok(stored()), passed()]);
    write(
        &dir.path().join("renewal/a.example.conf"),
        &format!("[renewalparams]\naccount = bbbb\nserver = {DIRECTORY}\n"),
    );
    assert_eq!(adopted(&with("three"), Client::Certbot, dir.path(), Choice::default()), named);
    // The issuer has one by now: nothing is left to choose.
    let kept =
        adopted(&with("three"), Client::Certbot, dir.path(), Choice { account: Some("cccc"), ..choice });
    assert_eq!(kept[1], Ok(AdoptedAccount::Same("le".into())));
    assert_eq!(kept[2], Ok(AdoptedAccount::Kept { issuer: "le".into(), what: URL.into() }));
}

#[test]
fn an_account_goes_to_the_issuer_of_its_ca_only() {
    let dir = tempfile::tempdir().unwrap();
    let staging = "[acme.staging]\ndirectory = \"https://staging.example/dir\"\nterms_of_service_agreed = true\n\
                   [acme.second]\ndirectory = \"https://ca.example:14000/acme/dir\"\nterms_of_service_agreed = true\n";
    let config = config(dir.path(), staging);
    caddy(dir.path(), "default", "default", URL);
    let taken = |issuer| {
        let choice = Choice { issuer, ..Choice::default() };
        let mut results = adopt_accounts(&config, &found(Client::Caddy, dir.path()), choice, true);
        results.remove(0).unwrap()
    };
    assert_eq!(taken(Some("staging")), AdoptedAccount::NotConfigured);
    let second = AdoptedAccount::Stored { issuer: "second".into(), url: Some(URL.into()) };
    assert_eq!(taken(Some("second")), second);
    assert_eq!(taken(None), stored());
}

#[test]
fn links_are_followed_and_a_circle_of_them_ends() {
    let dir = tempfile::tempdir().unwrap();
    certbot(dir.path(), "0123", URL);
    let accounts = dir.path().join("accounts");
    // As certbot links the directory of a CA's next version to that of the one before.
    std::fs::create_dir_all(accounts.join("v2.example")).unwrap();
    std::os::unix::fs::symlink(accounts.join("ca.example:14000/acme/dir"), accounts.join("v2.example/dir"))
        .unwrap();
    let servers: Vec<_> =
        found(Client::Certbot, dir.path()).into_iter().map(|one| one.origin.text().to_owned()).collect();
    assert_eq!(servers, ["ca.example:14000/acme/dir", "v2.example/dir"]);
    std::os::unix::fs::symlink("/nonexistent", accounts.join("gone.example")).unwrap();
    std::os::unix::fs::symlink(&accounts, accounts.join("loop.example")).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) =
        find_accounts(Client::Certbot, dir.path()).into_iter().partition(Result::is_ok);
    assert_eq!(good.len(), 2, "each account once");
    let told: Vec<String> = bad.into_iter().map(|error| error.unwrap_err().to_string()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("gone.example: ") && told[1].contains("loop.example: a link in a circle"),
        "{told:?}"
    );
}
