#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::time::Duration;

use rcgen::{BasicConstraints, CertifiedIssuer, IsCa};
use rustls_pki_types::CertificateDer;

use super::*;
use crate::clock::SystemClock;
use crate::store::Store;

/// An issuer that does what its script says.
struct Scripted {
    ca: CertifiedIssuer<'static, KeyPair>,
    script: Mutex<Vec<Play>>,
    asked: Mutex<Vec<OrderRequest>>,
}

enum Play {
    Issue,
    IssueFor(&'static str),
    PlaceThenFail(ErrorClass),
    Fail(ErrorClass),
}

#[async_trait]
impl Issuer for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        self.asked.lock().unwrap().push(request.clone());
        let play = self.script.lock().unwrap().remove(0);
        let name = match play {
            Play::Fail(class) => return Err(IssueError::new(class, "as scripted")),
            Play::PlaceThenFail(class) => {
                let url = "https://ca.example/order/1".to_owned();
                progress.order_placed(&Placed { url, replaces: false }).await?;
                return Err(IssueError::new(class, "as scripted"));
            }
            Play::Issue => request.identifiers[0].clone(),
            Play::IssueFor(name) => name.to_owned(),
        };
        let csr =
            rcgen::CertificateSigningRequestParams::from_der(&request.csr_der.as_slice().into()).unwrap();
        let mut params = CertificateParams::new([name]).unwrap();
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - time::Duration::MINUTE, now + time::Duration::HOUR);
        Ok(vec![params.signed_by(&csr.public_key, &self.ca).unwrap().der().clone()])
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        vec![self.ca.der().clone()]
    }

    fn promised_lifetime(&self, profile: &str) -> Option<Duration> {
        // What it issues lives for 61 minutes.
        (profile == "short").then_some(Duration::from_mins(50))
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    attempt: Attempt,
    issuer: Arc<Scripted>,
}

fn fixture(script: Vec<Play>) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issuer = Arc::new(Scripted { ca, script: Mutex::new(script), asked: Mutex::default() });
    let attempt = Attempt {
        certificate: "web".into(),
        identifiers: vec!["a.example".into()],
        profile: None,
        key_type: KeyType::P256,
        reuse: None,
        anchors: Arc::new(Anchors::from_der(issuer.trust_anchors()).unwrap()),
        issuer: Arc::clone(&issuer) as Arc<dyn Issuer>,
        store: store.certificate("web").unwrap(),
        steps: Arc::default(),
        clock: Arc::new(SystemClock),
        replaces: None,
        replicas: None,
        placed: Arc::default(),
        revocation: None,
    };
    Fixture { _dir: dir, attempt, issuer }
}

#[tokio::test]
async fn a_generation_is_stored_current_and_the_journal_gone() {
    let fixture = fixture(vec![Play::Issue, Play::Issue]);
    let first = fixture.attempt.run().await.unwrap();
    let second = fixture.attempt.run().await.unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_ne!(first.key, second.key, "a new key for each generation");
    let loaded = fixture.attempt.store.load(&Default::default()).unwrap();
    assert_eq!(loaded.generation.unwrap().leaf, second.leaf);
    assert!(fixture.attempt.store.journal().unwrap().is_none());
}

#[tokio::test]
async fn an_order_cut_short_is_resumed_with_its_key() {
    let fixture = fixture(vec![Play::PlaceThenFail(ErrorClass::Transient), Play::Issue]);
    fixture.attempt.run().await.unwrap_err();
    let journal = fixture.attempt.store.journal().unwrap().unwrap();
    let generation = fixture.attempt.run().await.unwrap();
    let asked = fixture.issuer.asked.lock().unwrap();
    assert_eq!(asked[1].resume.as_deref(), Some("https://ca.example/order/1"));
    let key = KeyPair::from_pem(&journal.key_pem).unwrap();
    assert_eq!(generation.key.as_slice(), key.serialize_der());
}

#[tokio::test]
async fn a_lost_order_is_replaced_at_once_by_one_with_a_new_key() {
    let fixture = fixture(vec![
        Play::PlaceThenFail(ErrorClass::Transient),
        Play::Fail(ErrorClass::OrderLost),
        Play::Issue,
    ]);
    fixture.attempt.run().await.unwrap_err();
    assert_eq!(fixture.attempt.run().await.unwrap().number, 1);
    let asked = fixture.issuer.asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2].resume, None);
    assert_ne!(asked[2].csr_der, asked[1].csr_der);
}

#[tokio::test]
async fn what_does_not_pass_the_gate_is_not_stored() {
    let fixture = fixture(vec![Play::IssueFor("b.example")]);
    let error = fixture.attempt.run().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ca);
    assert!(error.message.contains("NAME_MISMATCH"), "{error}");
    assert!(fixture.attempt.store.load(&Default::default()).unwrap().generation.is_none());
    assert!(fixture.attempt.store.journal().unwrap().is_none());
}

#[tokio::test]
async fn a_journal_for_other_identifiers_is_not_resumed() {
    let mut fixture = fixture(vec![Play::PlaceThenFail(ErrorClass::Transient), Play::Issue]);
    fixture.attempt.run().await.unwrap_err();
    fixture.attempt.identifiers = vec!["c.example".into()];
    fixture.attempt.run().await.unwrap();
    assert_eq!(fixture.issuer.asked.lock().unwrap()[1].resume, None);
}

#[tokio::test]
async fn an_order_that_cannot_succeed_is_forgotten() {
    let fixture = fixture(vec![Play::PlaceThenFail(ErrorClass::Identifier)]);
    fixture.attempt.run().await.unwrap_err();
    assert!(fixture.attempt.store.journal().unwrap().is_none());
}

#[tokio::test]
async fn a_leaf_that_outlives_its_profile_is_refused() {
    let mut fixture = fixture(vec![Play::Issue, Play::Issue]);
    fixture.attempt.profile = Some("short".into());
    let error = fixture.attempt.run().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ca);
    assert!(error.message.contains("lives for 1.0 h, its profile promises 0.8 h"), "{error}");
    assert!(fixture.attempt.store.journal().unwrap().is_none());
    assert_eq!(fixture.issuer.asked.lock().unwrap()[0].profile.as_deref(), Some("short"));

    fixture.attempt.profile = Some("unknown".into());
    let generation = fixture.attempt.run().await.unwrap();
    assert_eq!(generation.metadata.profile.as_deref(), Some("unknown"));
}

#[tokio::test]
async fn a_key_is_used_again_if_it_is_of_the_kind_that_is_wanted() {
    let mut fixture = fixture(vec![Play::Issue, Play::Issue, Play::Issue]);
    fixture.attempt.key_type = KeyType::Rsa2048;
    let first = fixture.attempt.run().await.unwrap();
    assert_eq!(first.metadata.key_type, KeyType::Rsa2048);
    let key = first.key.clone();
    fixture.attempt.reuse = Some(Arc::new(first));
    assert_eq!(fixture.attempt.run().await.unwrap().key, key);
    fixture.attempt.key_type = KeyType::P384;
    let third = fixture.attempt.run().await.unwrap();
    assert_ne!(third.key, key);
    assert_eq!(third.metadata.key_type, KeyType::P384);
}

#[tokio::test]
async fn an_order_whose_url_was_never_learnt_is_told_to_the_issuer() {
    let fixture = fixture(vec![Play::Fail(ErrorClass::Transient), Play::Issue]);
    fixture.attempt.run().await.unwrap_err();
    let generation = fixture.attempt.run().await.unwrap();
    let asked = fixture.issuer.asked.lock().unwrap();
    assert_eq!((asked[0].unsure, asked[1].unsure), (false, true));
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(generation.key.as_slice())).unwrap();
    let public = key.public_key_raw();
    for request in asked.iter() {
        assert!(request.csr_der.windows(public.len()).any(|part| part == public), "the same key");
    }
}

#[tokio::test]
async fn a_journal_for_another_profile_or_key_is_not_resumed() {
    for change in [
        |attempt: &mut Attempt| attempt.profile = Some("other".into()),
        |attempt: &mut Attempt| attempt.key_type = KeyType::P384,
    ] {
        let mut fixture = fixture(vec![Play::PlaceThenFail(ErrorClass::Transient), Play::Issue]);
        fixture.attempt.run().await.unwrap_err();
        change(&mut fixture.attempt);
        fixture.attempt.run().await.unwrap();
        assert_eq!(fixture.issuer.asked.lock().unwrap()[1].resume, None);
    }
}
