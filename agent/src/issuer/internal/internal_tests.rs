#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::NackReason;
use sealwire_proto::validate::{Checked, LeafFacts, Names, Rejection, validate};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::clock::unix_time;
use crate::issuer::Placed;
use crate::store::StoreError;

#[derive(Clone)]
pub(super) struct FakeClock(Arc<Mutex<Timestamp>>);

impl FakeClock {
    pub(super) fn forward(&self, hours: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_hours(hours);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<(StepKind, String)>>);

#[async_trait]
impl Progress for Heard {
    fn step(&self, kind: StepKind, detail: String) {
        self.0.lock().unwrap().push((kind, detail));
    }

    async fn order_placed(&self, _: &Placed) -> Result<(), StoreError> {
        panic!("an embedded CA has no orders");
    }
}

pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    pub(super) clock: FakeClock,
    pub(super) config: InternalConfig,
}

pub(super) struct Issued {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivatePkcs8KeyDer<'static>,
    pub(super) names: Vec<String>,
}

pub(super) fn fixture() -> Fixture {
    Fixture {
        dir: memory_dir(),
        clock: FakeClock(Arc::new(Mutex::new("2026-11-23T10:00:00.5Z".parse().unwrap()))),
        config: InternalConfig::default(),
    }
}

/// On a file system in memory, where there is one: these tests ask for thousands of fsyncs.
pub(super) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn request(
    identifiers: &[&str],
    csr_names: &[&str],
) -> (OrderRequest, PrivatePkcs8KeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(strings(csr_names)).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let csr_der = params.serialize_request(&key).unwrap().der().to_vec();
    let request = OrderRequest {
        certificate: "web".into(),
        identifiers: strings(identifiers),
        csr_der,
        ..OrderRequest::default()
    };
    (request, PrivatePkcs8KeyDer::from(key.serialize_der()))
}

impl Fixture {
    pub(super) fn ca_dir(&self) -> PathBuf {
        self.dir.path().join("ca/pki")
    }

    pub(super) fn open(&self) -> Result<InternalIssuer, IssueError> {
        InternalIssuer::open("pki".into(), self.ca_dir(), self.config.clone(), Arc::new(self.clock.clone()))
    }

    pub(super) fn check(&self, issuer: &InternalIssuer, issued: &Issued) -> Result<Checked, Rejection> {
        let anchors = Anchors::from_der(issuer.trust_anchors()).unwrap();
        let now = unix_time(self.clock.now());
        validate(&issued.chain, &issued.key, Names::All(&issued.names), &anchors, now)
    }

    pub(super) fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = std::fs::read_dir(self.ca_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }
}

pub(super) async fn issue(issuer: &InternalIssuer, names: &[&str]) -> Result<Issued, IssueError> {
    let (request, key) = request(names, names);
    let chain = issuer.obtain(&request, &Heard::default()).await?;
    Ok(Issued { chain, key, names: strings(names) })
}

#[tokio::test]
async fn chains_validate_against_the_root() {
    let fixture = fixture();
    let issuer = fixture.open().unwrap();
    let issued = issue(&issuer, &["a.example", "*.b.example", "127.0.0.1", "::1"]).await.unwrap();
    let checked = fixture.check(&issuer, &issued).unwrap();
    assert_eq!(checked.leaf.names, ["a.example", "*.b.example", "127.0.0.1", "::1"]);
    let now = fixture.clock.now().as_second();
    assert_eq!(checked.leaf.not_before, now - 60);
    assert_eq!(checked.leaf.not_after, now + 24 * 3600);
    assert_eq!(checked.leaf.serial.len(), 32);

    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(leaf.subject().to_string(), "CN=a.example");
    assert!(!leaf.is_ca());
    assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
    let (_, intermediate) = X509Certificate::from_der(&issued.chain[1]).unwrap();
    let constraints = intermediate.basic_constraints().unwrap().unwrap().value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
    assert_eq!(
        issuer.root_pem().unwrap().as_bytes(),
        std::fs::read(fixture.ca_dir().join("root.pem")).unwrap()
    );

    for file in ["root.key.pem", "intermediate-1.key.pem"] {
        assert_eq!(std::fs::metadata(fixture.ca_dir().join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(std::fs::metadata(fixture.ca_dir()).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn short_lives_give_little_away_and_addresses_have_no_common_name() {
    let mut fixture = fixture();
    fixture.config.leaf_lifetime = Duration::from_mins(2);
    let issuer = fixture.open().unwrap();
    let issued = issue(&issuer, &["127.0.0.1"]).await.unwrap();
    let leaf = fixture.check(&issuer, &issued).unwrap().leaf;
    assert_eq!(leaf.not_after - leaf.not_before, 132);
    let (_, parsed) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(parsed.subject().as_raw(), [0x30, 0]);
    assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
}

#[tokio::test]
async fn the_progress_is_told() {
    let fixture = fixture();
    let issuer = fixture.open().unwrap();
    let heard = Heard::default();
    let chain = issuer.obtain(&request(&["a.example"], &["a.example"]).0, &heard).await.unwrap();
    let serial = LeafFacts::parse(&chain[0]).unwrap().serial;
    let expected = format!("serial {serial}, valid until 2026-11-24T10:00:00Z");
    assert_eq!(*heard.0.lock().unwrap(), [(StepKind::Issued, expected)]);
}

#[tokio::test]
async fn the_intermediate_renews_itself_and_leaves_never_outlive_it() {
    let fixture = fixture();
    let issuer = fixture.open().unwrap();
    let first = issue(&issuer, &["a.example"]).await.unwrap();
    fixture.clock.forward(24 * 59);
    let second = issue(&issuer, &["a.example"]).await.unwrap();
    assert_eq!(first.chain[1], second.chain[1]);
    fixture.clock.forward(24 * 2);
    let third = issue(&issuer, &["a.example"]).await.unwrap();
    assert_ne!(first.chain[1], third.chain[1]);
    let key = |der| X509Certificate::from_der(der).unwrap().1.public_key().raw.to_vec();
    assert_ne!(key(&first.chain[1]), key(&third.chain[1]));
    fixture.check(&issuer, &third).unwrap();
    assert_eq!(
        fixture.files(),
        [
            "intermediate-1.key.pem",
            "intermediate-1.pem",
            "intermediate-2.key.pem",
            "intermediate-2.pem",
            "record.log",
            "root.key.pem",
            "root.pem"
        ]
    );
    // Reopened, it goes on with the newest.
    let again = issue(&fixture.open().unwrap(), &["a.example"]).await.unwrap();
    assert_eq!(again.chain[1], third.chain[1]);
}

#[tokio::test]
async fn long_leaves_fit_their_intermediate() {
    let mut fixture = fixture();
    fixture.config.leaf_lifetime = Duration::from_hours(24 * 398);
    let issuer = fixture.open().unwrap();
    let first = issue(&issuer, &["a.example"]).await.unwrap();
    let leaf = fixture.check(&issuer, &first).unwrap().leaf;
    assert_eq!(leaf.not_after, fixture.clock.now().as_second() + 398 * 24 * 3600);
    fixture.clock.forward(24 * 390);
    assert_eq!(issue(&issuer, &["a.example"]).await.unwrap().chain[1], first.chain[1]);
}

#[tokio::test]
async fn nothing_outlives_the_root() {
    let mut fixture = fixture();
    fixture.config.leaf_lifetime = Duration::from_hours(24 * 30);
    let issuer = fixture.open().unwrap();
    fixture.clock.forward(24 * 3640);
    let root_end = LeafFacts::parse(&issuer.trust_anchors()[0]).unwrap().not_after;
    let last = issue(&issuer, &["a.example"]).await.unwrap();
    for certificate in &last.chain {
        assert_eq!(LeafFacts::parse(certificate).unwrap().not_after, root_end);
    }
    fixture.check(&issuer, &last).unwrap();
    // No new intermediate for each leaf, for it could not live longer.
    assert_eq!(issue(&issuer, &["a.example"]).await.unwrap().chain[1], last.chain[1]);
    fixture.clock.forward(24 * 20);
    let error = issue(&issuer, &["a.example"]).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.contains("root.pem ended at"), "{error}");
    // It does not keep the agent from starting.
    fixture.open().unwrap();
}

#[tokio::test]
async fn names_outside_of_the_constraints_are_refused_by_us_and_by_clients() {
    let mut fixture = fixture();
    fixture.config.permitted = strings(&["svc.example", "10.0.0.0/8"]);
    let issuer = fixture.open().unwrap();
    let inside = issue(&issuer, &["a.svc.example", "*.svc.example", "10.1.2.3"]).await.unwrap();
    fixture.check(&issuer, &inside).unwrap();
    for outside in ["a.example", "192.0.2.1", "::1"] {
        let error = issue(&issuer, &["a.svc.example", outside]).await.err().unwrap();
        assert_eq!(error.class, ErrorClass::Identifier);
        assert!(error.message.contains(&format!("{outside} is outside of `permitted`")), "{error}");
        // The same, signed all the same with the intermediate's key, as a thief would.
        assert_eq!(forged(&fixture, &issuer, outside), NackReason::UntrustedChain, "{outside}");
    }
}

/// What becomes of a leaf that our own check did not see.
fn forged(fixture: &Fixture, issuer: &InternalIssuer, name: &str) -> NackReason {
    let (request, key) = request(&[name], &[name]);
    let subject = leaf::Subject::read(&request.csr_der, &request.identifiers).unwrap();
    let mut state = issuer.lock();
    let now = fixture.clock.now();
    let (id, intermediate) = state.hierarchy.intermediate(now).unwrap();
    let leaf = leaf::sign(&subject, (id, intermediate), None, Duration::from_hours(1), now).unwrap();
    let chain = vec![leaf.certificate, intermediate.certificate().clone()];
    fixture.check(issuer, &Issued { chain, key, names: strings(&[name]) }).unwrap_err().reason
}

#[tokio::test]
async fn constraints_of_one_kind_exclude_the_other() {
    for (permitted, inside, outside) in
        [("svc.example", "a.svc.example", "10.1.2.3"), ("10.0.0.0/8", "10.1.2.3", "svc.example")]
    {
        let mut fixture = fixture();
        fixture.config.permitted = strings(&[permitted]);
        let issuer = fixture.open().unwrap();
        let issued = issue(&issuer, &[inside]).await.unwrap();
        fixture.check(&issuer, &issued).unwrap();
        assert_eq!(forged(&fixture, &issuer, outside), NackReason::UntrustedChain, "{outside}");
    }
}

#[tokio::test]
async fn changed_constraints_take_a_new_intermediate_under_the_same_root() {
    let mut fixture = fixture();
    let root = fixture.open().unwrap().trust_anchors();
    fixture.config.permitted = strings(&["svc.example", "fd00::/8"]);
    let issuer = fixture.open().unwrap();
    assert_eq!(issuer.trust_anchors(), root);
    let constrained = issue(&issuer, &["a.svc.example", "fd00::1"]).await.unwrap();
    fixture.check(&issuer, &constrained).unwrap();
    let again = issue(&fixture.open().unwrap(), &["a.svc.example"]).await.unwrap();
    assert_eq!(again.chain[1], constrained.chain[1]);
    fixture.config.permitted.clear();
    let issuer = fixture.open().unwrap();
    let open = issue(&issuer, &["a.example"]).await.unwrap();
    fixture.check(&issuer, &open).unwrap();
}

#[tokio::test]
async fn a_csr_for_other_names_or_with_a_bad_signature_is_refused() {
    let fixture = fixture();
    let issuer = fixture.open().unwrap();
    let (other, _) = request(&["a.example"], &["b.example"]);
    let error = issuer.obtain(&other, &Heard::default()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.ends_with("the CSR is for b.example, not for a.example"), "{error}");

    let (mut forged, _) = request(&["a.example"], &["a.example"]);
    let last = forged.csr_der.len() - 1;
    forged.csr_der[last] ^= 1;
    assert!(issuer.obtain(&forged, &Heard::default()).await.is_err());
}

#[tokio::test]
async fn keys_that_others_may_read_are_refused() {
    let fixture = fixture();
    fixture.open().unwrap();
    for file in ["root.key.pem", "intermediate-1.key.pem"] {
        let path = fixture.ca_dir().join(file);
        set_mode(&path, 0o640);
        let error = fixture.open().err().unwrap();
        assert_eq!(error.class, ErrorClass::Ours);
        assert!(error.message.ends_with(&format!("chmod 0600 {}", path.display())), "{error}");
        set_mode(&path, 0o600);
    }
    fixture.open().unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn left_overs_of_a_crash_do_no_harm() {
    let fixture = fixture();
    let root = fixture.open().unwrap().trust_anchors();
    // A crash in the middle of a renewal.
    std::fs::write(fixture.ca_dir().join("intermediate-2.key.pem"), "half").unwrap();
    std::fs::write(fixture.ca_dir().join("intermediate-2.pem.tmp"), "half").unwrap();
    set_mode(&fixture.ca_dir().join("intermediate-2.key.pem"), 0o600);
    let issuer = fixture.open().unwrap();
    assert_eq!(issuer.trust_anchors(), root);
    fixture.clock.forward(24 * 80);
    let issued = issue(&issuer, &["a.example"]).await.unwrap();
    fixture.check(&issuer, &issued).unwrap();
    fixture.open().unwrap();

    // A crash in the middle of making the root: its key is taken up.
    let key = std::fs::read(fixture.ca_dir().join("root.key.pem")).unwrap();
    for file in fixture.files() {
        if file != "root.key.pem" {
            std::fs::remove_file(fixture.ca_dir().join(file)).unwrap();
        }
    }
    let issuer = fixture.open().unwrap();
    assert_eq!(std::fs::read(fixture.ca_dir().join("root.key.pem")).unwrap(), key);
    fixture.check(&issuer, &issue(&issuer, &["a.example"]).await.unwrap()).unwrap();
}

#[tokio::test]
async fn a_damaged_root_is_told_and_left_alone() {
    let fixture = fixture();
    fixture.open().unwrap();
    let other = self::fixture();
    other.open().unwrap();
    for (file, content) in [
        ("root.pem", b"garbage".to_vec()),
        ("root.key.pem", b"garbage".to_vec()),
        // Of another CA: the pair does not fit.
        ("root.pem", std::fs::read(other.ca_dir().join("root.pem")).unwrap()),
    ] {
        let path = fixture.ca_dir().join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content).unwrap();
        let error = fixture.open().err().unwrap();
        assert_eq!(error.class, ErrorClass::Ours);
        assert!(error.message.contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
        std::fs::write(&path, good).unwrap();
    }
    for file in ["root.pem", "root.key.pem"] {
        let path = fixture.ca_dir().join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = fixture.open().err().unwrap();
        assert!(error.message.contains(&path.display().to_string()), "{error}");
        assert!(!path.exists());
        crate::store::durable::write(&path, &good, 0o600).unwrap();
    }
    fixture.open().unwrap();
}

#[tokio::test]
async fn a_damaged_intermediate_is_replaced_but_kept() {
    let fixture = fixture();
    fixture.open().unwrap();
    let path = fixture.ca_dir().join("intermediate-1.pem");
    std::fs::write(&path, "garbage").unwrap();
    let issuer = fixture.open().unwrap();
    fixture.check(&issuer, &issue(&issuer, &["a.example"]).await.unwrap()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"garbage");
    assert!(fixture.files().contains(&"intermediate-2.pem".to_owned()));
}
