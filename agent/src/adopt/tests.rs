#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::store::Memory;

const DIRECTORY: &str = "https://ca.example/acme/directory";

struct Fixture {
    dir: tempfile::TempDir,
    config: Config,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let roots = dir.path().join("roots.pem");
        std::fs::write(&roots, ca.pem()).unwrap();
        let text = format!(
            "state_dir = {:?}\n[acme.le]\ndirectory = \"{DIRECTORY}\"\nterms_of_service_agreed = true\n\
             trust_roots = {roots:?}\n[[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\"]\n",
            dir.path().join("state")
        );
        let config = Config::from_text(Path::new("test.toml"), &text).unwrap();
        Self { dir, config, ca }
    }

    /// Writes chain and key, valid for `days` from yesterday on.
    fn write(&self, chain: &Path, key: &Path, name: &str, days: i64) {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
        params.not_after = params.not_before + time::Duration::days(days);
        let leaf = params.signed_by(&pair, &self.ca).unwrap();
        for file in [chain, key] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        std::fs::write(chain, leaf.pem()).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn adopt(&self, found: &Found, dry_run: bool) -> Result<Adopted, AdoptError> {
        let store = (!dry_run).then(|| Store::open(&self.config.state_dir).unwrap());
        adopt(&self.config, store.as_ref(), found, None, Timestamp::now())
    }

    fn current(&self) -> Option<u64> {
        let store = Store::open(&self.config.state_dir).unwrap();
        let loaded = store.certificate("web").unwrap().load(&Memory::default()).unwrap();
        loaded.generation.map(|generation| generation.number)
    }
}

#[test]
fn each_layout_is_found_with_its_ca_and_stored() {
    for (client, chain, key, extra) in [
        (
            Client::Certbot,
            "live/a.example/fullchain.pem",
            "live/a.example/privkey.pem",
            Some(("renewal/a.example.conf", format!("[renewalparams]\nserver = {DIRECTORY}\n"))),
        ),
        (
            Client::Lego,
            "certificates/a.example.crt",
            "certificates/a.example.key",
            Some(("certificates/a.example.json", r#"{"certUrl":"https://ca.example/cert/1"}"#.to_owned())),
        ),
        (
            Client::Caddy,
            "certificates/ca.example-acme-directory/a.example/a.example.crt",
            "certificates/ca.example-acme-directory/a.example/a.example.key",
            None,
        ),
    ] {
        let fixture = Fixture::new();
        fixture.write(&fixture.path(chain), &fixture.path(key), "a.example", 90);
        if let Some((path, text)) = extra {
            std::fs::create_dir_all(fixture.path(path).parent().unwrap()).unwrap();
            std::fs::write(fixture.path(path), text).unwrap();
        }
        let found = all(find(client, fixture.dir.path()));
        assert_eq!(found.len(), 1, "{client:?}");
        assert!(found[0].origin.is(DIRECTORY) && !found[0].origin.is("https://other.example/directory"));
        assert_eq!(fixture.adopt(&found[0], true).unwrap(), Adopted::Stored("web".into()));
        assert!(!fixture.path("state").exists(), "a dry run writes nothing");
        assert_eq!(fixture.adopt(&found[0], false).unwrap(), Adopted::Stored("web".into()));
        assert_eq!(fixture.current(), Some(1));
        assert_eq!(fixture.adopt(&found[0], false).unwrap(), Adopted::Kept("web".into()));
        assert_eq!(fixture.adopt(&found[0], true).unwrap(), Adopted::Kept("web".into()));
    }
}

fn all<T>(found: Vec<Result<T, AdoptError>>) -> Vec<T> {
    found.into_iter().map(Result::unwrap).collect()
}

#[test]
fn wildcards_are_found_under_the_names_that_clients_give_them() {
    for (client, chain, key) in [
        (Client::Lego, "certificates/_.a.example.crt", "certificates/_.a.example.key"),
        (
            Client::Caddy,
            "certificates/ca.example-acme-directory/wildcard_.a.example/wildcard_.a.example.crt",
            "certificates/ca.example-acme-directory/wildcard_.a.example/wildcard_.a.example.key",
        ),
    ] {
        let mut fixture = Fixture::new();
        fixture.write(&fixture.path(chain), &fixture.path(key), "*.a.example", 90);
        if client == Client::Lego {
            let json = r#"{"certUrl":"https://ca.example/cert/1"}"#;
            std::fs::write(fixture.path("certificates/_.a.example.json"), json).unwrap();
            std::fs::write(fixture.path("certificates/_.a.example.issuer.crt"), fixture.ca.pem()).unwrap();
        }
        let found = all(find(client, fixture.dir.path()));
        assert_eq!(found.len(), 1, "{client:?}");
        // What is suggested is a table that the configuration takes, and that takes the certificate.
        let Adopted::NotConfigured(snippet) = fixture.adopt(&found[0], true).unwrap() else {
            panic!("taken")
        };
        let roots = fixture.path("roots.pem");
        let text = format!(
            "state_dir = {:?}\n[acme.le]\ndirectory = \"{DIRECTORY}\"\nterms_of_service_agreed = true\n\
             challenges = [\"dns-01\"]\ndns = \"zone\"\ntrust_roots = {roots:?}\n\
             [dns.zone]\ntype = \"rfc2136\"\nserver = \"127.0.0.1:53\"\ntsig_name = \"key\"\n\
             tsig_key_file = \"/key\"\n{snippet}",
            fixture.path("state")
        );
        fixture.config = Config::from_text(Path::new("test.toml"), &text).unwrap();
        let name = "wildcard.a.example";
        assert_eq!(fixture.adopt(&found[0], false).unwrap(), Adopted::Stored(name.into()), "{client:?}");
    }
}

#[test]
fn links_are_followed_and_one_that_leads_nowhere_is_one_finding() {
    let fixture = Fixture::new();
    let archive = fixture.path("archive/a.example");
    fixture.write(&archive.join("fullchain1.pem"), &archive.join("privkey1.pem"), "a.example", 90);
    for name in ["a.example", "gone.example"] {
        let live = fixture.path("live").join(name);
        std::fs::create_dir_all(&live).unwrap();
        for file in ["fullchain", "privkey"] {
            let target = format!("../../archive/{name}/{file}1.pem");
            std::os::unix::fs::symlink(target, live.join(format!("{file}.pem"))).unwrap();
        }
        let conf = fixture.path("renewal").join(format!("{name}.conf"));
        std::fs::create_dir_all(conf.parent().unwrap()).unwrap();
        std::fs::write(conf, format!("[renewalparams]\naccount = 12\nserver = {DIRECTORY}\n")).unwrap();
    }
    std::fs::write(fixture.path("live/README"), "certbot's").unwrap();
    let found = all(find(Client::Certbot, fixture.dir.path()));
    assert_eq!(found.len(), 2);
    assert_eq!(fixture.adopt(&found[0], false).unwrap(), Adopted::Stored("web".into()));
    let error = fixture.adopt(&found[1], false).unwrap_err().to_string();
    assert!(error.contains("live/gone.example/fullchain.pem"), "{error}");
}

#[test]
fn one_that_cannot_be_read_keeps_no_other_from_being_found() {
    let fixture = Fixture::new();
    for name in ["a.example", "b.example"] {
        let file = |end: &str| fixture.path(&format!("certificates/{name}.{end}"));
        fixture.write(&file("crt"), &file("key"), name, 90);
        let json = if name == "a.example" { r#"{"certUrl":"https://ca.ex"# } else { "{}" };
        std::fs::write(file("json"), json).unwrap();
    }
    let found = find(Client::Lego, fixture.dir.path());
    let [Err(error), Ok(good)] = &found[..] else { panic!("{found:?}") };
    assert!(error.to_string().contains("a.example.json is not JSON"), "{error}");
    assert_eq!((good.name.as_str(), &good.origin), ("b.example", &Origin::Unknown));
    // And where there is nothing, nothing is found.
    assert_eq!(find(Client::Caddy, &fixture.path("nowhere")).len(), 0);
}

#[test]
fn of_two_tables_for_one_ca_the_one_that_the_certificate_names_is_taken() {
    let origin = Origin::Authority("ca.example".into());
    let config = |second: &str, issuers: &str| {
        let text = format!(
            "[acme.le]\ndirectory = \"{DIRECTORY}\"\nterms_of_service_agreed = true\n\
             [acme.zz]\ndirectory = \"{second}\"\nterms_of_service_agreed = true\n\
             [[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\"]\nissuers = {issuers}\n"
        );
        Config::from_text(Path::new("test.toml"), &text).unwrap()
    };
    let issuers = |second: &str, listed: &str| {
        let config = config(second, listed);
        let issuers = origin.issuers(&config, &config.certificates[0].issuers);
        issuers.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(issuers(DIRECTORY, "[\"zz\"]").unwrap(), ["zz"]);
    assert_eq!(issuers(DIRECTORY, "[\"le\", \"zz\"]").unwrap(), ["le", "zz"]);
    assert_eq!(issuers("https://ca.example/other", "[\"zz\"]").unwrap(), ["zz"]);
    let error = issuers("https://ca.example/other", "[\"le\", \"zz\"]").unwrap_err();
    assert!(error.to_string().contains("le, zz: give --issuer"), "{error}");
}

#[test]
fn only_what_is_sound_and_longer_valid_replaces_the_current() {
    let fixture = Fixture::new();
    let (chain, key) = (fixture.path("x.crt"), fixture.path("x.key"));
    let origin = Origin::Directory(DIRECTORY.into());
    let found = Found { name: "x".into(), chain: chain.clone(), key: key.clone(), origin };
    fixture.write(&chain, &key, "a.example", 60);
    fixture.adopt(&found, false).unwrap();
    fixture.write(&chain, &key, "a.example", 30);
    assert_eq!(fixture.adopt(&found, false).unwrap(), Adopted::Kept("web".into()));
    fixture.write(&chain, &key, "a.example", 90);
    fixture.adopt(&found, false).unwrap();
    assert_eq!(fixture.current(), Some(2));

    // Another key.
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fixture.adopt(&found, false).unwrap_err();
    let unknown = Found { origin: Origin::Unknown, ..found.clone() };
    assert!(fixture.adopt(&unknown, false).unwrap_err().to_string().contains("--issuer"));
    fixture.write(&chain, &key, "b.example", 90);
    let Adopted::NotConfigured(snippet) = fixture.adopt(&found, false).unwrap() else { panic!("adopted") };
    assert!(snippet.contains("identifiers = [\"b.example\"]"), "{snippet}");
    assert_eq!(fixture.current(), Some(2));
}

#[test]
fn sec1_keys_become_pkcs8() {
    let pair =
        aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING)
            .unwrap();
    let sec1: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(&pair.private_key()).unwrap();
    let der = Zeroizing::new(sec1.as_ref().to_vec());
    let pem = key::pem_of(&der).replace("PRIVATE KEY", "EC PRIVATE KEY");
    let pkcs8 = key::to_pkcs8(pem.as_bytes()).unwrap();
    let again = key::to_pkcs8(key::pem_of(&pkcs8).as_bytes()).unwrap();
    assert_eq!(*again, *pkcs8);
    assert!(KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8.as_slice())).is_ok());
}
