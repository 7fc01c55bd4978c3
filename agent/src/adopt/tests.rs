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
        let store = Store::open(&self.config.state_dir).unwrap();
        adopt(&self.config, Some(&store), found, None, dry_run, Timestamp::now())
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
        let found = find(client, fixture.dir.path()).unwrap();
        assert_eq!(found.len(), 1, "{client:?}");
        assert!(found[0].origin.is(DIRECTORY) && !found[0].origin.is("https://other.example/directory"));
        assert_eq!(fixture.adopt(&found[0], true).unwrap(), Adopted::Stored("web".into()));
        assert_eq!(fixture.current(), None, "a dry run stores nothing");
        assert_eq!(fixture.adopt(&found[0], false).unwrap(), Adopted::Stored("web".into()));
        assert_eq!(fixture.current(), Some(1));
        assert_eq!(fixture.adopt(&found[0], false).unwrap(), Adopted::Kept("web".into()));
    }
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
