#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;

use super::*;
use crate::clock::SystemClock;
use crate::revocation::fetch::{FetchError, Reply, Request};
use crate::revocation::test_ca::{CRL, CrlSays, OCSP, TestCa, TestNet, anchors};

const ROOT_CRL: &str = "http://crl.test/root.crl";

/// Never answers; counts who asked.
#[derive(Default)]
struct Stuck(AtomicUsize);

#[async_trait]
impl Fetch for Stuck {
    async fn fetch(&self, _: Request<'_>) -> Result<Reply, FetchError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

fn inquiry(fetch: Arc<dyn Fetch>, dir: &Path) -> Inquiry {
    let limits = Limits {
        timeout: Duration::from_secs(1),
        crl_timeout: Duration::from_secs(1),
        crl_max_bytes: 1 << 20,
    };
    let inquiry = Inquiry::new(fetch, dir, limits, Arc::new(SystemClock));
    assert_eq!(inquiry.fresh_timeout.as_secs(), 5);
    Inquiry { fresh_timeout: Duration::from_millis(300), ..inquiry }
}

struct Case {
    root: TestCa,
    between: TestCa,
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let root = TestCa::root("root");
        let between = root.intermediate("between", 500, None, &[ROOT_CRL]);
        Self { root, between, dir: tempfile::tempdir().unwrap() }
    }

    fn chain(&self, serial: u64) -> [CertificateDer<'static>; 2] {
        [self.between.leaf(serial, Some(OCSP), &[CRL]), self.between.der.clone()]
    }

    async fn fresh(&self, fetch: Arc<dyn Fetch>, ask_ocsp: bool) -> Result<Option<Kept>, Finding> {
        inquiry(fetch, self.dir.path()).fresh(&self.chain(7), &anchors(&[&self.root]), ask_ocsp).await
    }
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let case = Case::new();
    let stuck = Arc::<Stuck>::default();
    let before = std::time::Instant::now();
    assert_eq!(case.fresh(stuck.clone(), true).await, Ok(None));
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert_eq!(stuck.0.load(Ordering::Relaxed), 1, "no CRL is fetched for it");
    case.fresh(stuck.clone(), false).await.unwrap();
    assert_eq!(stuck.0.load(Ordering::Relaxed), 1, "and nobody is asked at all");
}

#[tokio::test]
async fn crls_on_disk_are_read_and_speak_for_the_whole_chain() {
    let case = Case::new();
    let revoked = case.root.crl(&CrlSays::at(Timestamp::now(), &[500]));
    let anchors = anchors(&[&case.root]);
    let [_, intermediate] = &subjects(&case.chain(7), &anchors)[..] else { unreachable!() };
    Cache::new(case.dir.path()).save(&crl_id(ROOT_CRL, &intermediate.issuer.id), &revoked).unwrap();
    let finding = case.fresh(Arc::<Stuck>::default(), false).await.unwrap_err();
    assert_eq!(
        (finding.which.to_string().as_str(), finding.source.as_str()),
        ("the intermediate CN=between", ROOT_CRL)
    );
}

#[tokio::test]
async fn a_good_answer_about_the_leaf_is_a_staple_to_begin_with() {
    let case = Case::new();
    let chain = case.chain(7);
    let net = Arc::<TestNet>::default();
    net.serve(OCSP, case.between.ocsp(&chain[0], Timestamp::now(), |_| ()));
    let inquiry = inquiry(net.clone(), case.dir.path());
    let kept = inquiry.fresh(&chain, &anchors(&[&case.root]), true).await.unwrap().unwrap();
    assert!(kept.staple.next_update > Timestamp::now());

    net.serve(
        OCSP,
        case.between.ocsp(&chain[0], Timestamp::now(), |answer| {
            answer.status = Status::Revoked { at: 1_700_000_000, reason: Some(4) };
        }),
    );
    let finding = inquiry.fresh(&chain, &anchors(&[&case.root]), true).await.unwrap_err();
    assert_eq!(
        finding.to_string(),
        format!("the leaf is revoked since 2023-11-14T22:13:20Z (superseded), says {OCSP}")
    );
    net.fail(OCSP);
    assert_eq!(inquiry.fresh(&chain, &anchors(&[&case.root]), true).await, Ok(None));
}
