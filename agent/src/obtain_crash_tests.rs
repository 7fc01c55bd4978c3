//! An attempt that dies at any of its effects on the disk.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateSigningRequestParams, CertifiedIssuer, IsCa};
use rustls_pki_types::CertificateDer;

use super::*;
use crate::clock::SystemClock;
use crate::store::{Store, faults};

/// A CA that remembers its orders, as a real one does while the agent is dead.
struct Ca {
    ca: CertifiedIssuer<'static, KeyPair>,
    orders: Mutex<Vec<Option<CertificateDer<'static>>>>,
    /// Effects between the CA's taking the order and the agent's having written down its URL.
    unknown: Mutex<Range<usize>>,
}

impl Ca {
    fn new() -> Arc<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Arc::new(Self { ca, orders: Mutex::default(), unknown: Mutex::default() })
    }

    fn placed(&self) -> usize {
        self.orders.lock().unwrap().len()
    }

    fn finalized(&self) -> usize {
        self.orders.lock().unwrap().iter().flatten().count()
    }
}

#[async_trait]
impl Issuer for Ca {
    fn name(&self) -> &str {
        "ca"
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let number = match &request.resume {
            Some(url) => url.rsplit('/').next().unwrap().parse().unwrap(),
            None => {
                self.orders.lock().unwrap().push(None);
                let (number, before) = (self.placed() - 1, faults::seen());
                let url = format!("https://ca.example/order/{number}");
                progress.order_placed(&Placed { url, replaces: false }).await?;
                *self.unknown.lock().unwrap() = before..faults::seen();
                number
            }
        };
        let csr = CertificateSigningRequestParams::from_der(&request.csr_der.as_slice().into()).unwrap();
        let mut params = CertificateParams::new(request.identifiers.clone()).unwrap();
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - time::Duration::MINUTE, now + time::Duration::HOUR);
        let leaf = || params.signed_by(&csr.public_key, &self.ca).unwrap().der().clone();
        Ok(vec![self.orders.lock().unwrap()[number].get_or_insert_with(leaf).clone()])
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        vec![self.ca.der().clone()]
    }
}

fn attempt(store: &Store, ca: &Arc<Ca>) -> Attempt {
    Attempt {
        certificate: "web".into(),
        identifiers: vec!["a.example".into()],
        profile: None,
        key_type: KeyType::P256,
        reuse: None,
        replaces: None,
        replicas: None,
        placed: Arc::default(),
        revocation: None,
        anchors: Arc::new(Anchors::from_der(ca.trust_anchors()).unwrap()),
        issuer: Arc::clone(ca) as Arc<dyn Issuer>,
        store: store.certificate("web").unwrap(),
        steps: Arc::default(),
        clock: Arc::new(SystemClock),
    }
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
        found.push(entry.path().display().to_string());
    }
    found
}

#[tokio::test]
async fn peer_defect_04_a_crash_at_any_effect_uses_one_order_and_keeps_the_last_good() {
    let mut effects = usize::MAX;
    let mut unknown = 0..0;
    // The first pass crashes nowhere and counts.
    for pass in 0_usize.. {
        let crash = pass.checked_sub(1);
        if crash.is_some_and(|crash| crash >= effects) {
            break;
        }
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let ca = Ca::new();
        let store = Store::open(&state).unwrap();
        let first = attempt(&store, &ca).run().await.unwrap();
        let dying = attempt(&store, &ca);
        let traced = faults::crash_at(crash.unwrap_or(usize::MAX));
        let result = dying.run().await;
        let trace = traced.end();
        drop(store);
        let Some(crash) = crash else {
            result.unwrap();
            effects = trace.len();
            unknown = ca.unknown.lock().unwrap().clone();
            assert!(effects > 30 && !unknown.is_empty(), "{trace:?}");
            continue;
        };
        let at = format!("effect {crash}: {:?}", trace[crash]);
        assert!(result.is_err(), "{at}");

        // As a restart does.
        let store = Store::open(&state).unwrap();
        let again = attempt(&store, &ca);
        let loaded = again.store.load(&Default::default()).unwrap();
        assert_eq!(loaded.damage, None, "{at}");
        let loaded = loaded.generation.unwrap();
        assert_eq!(again.store.generation(first.number).unwrap().leaf, first.leaf, "{at}");
        assert!(state.join("live/web/privkey.pem").exists(), "{at}");
        if again.store.journal().unwrap().is_some() || loaded.number == first.number {
            again.run().await.unwrap();
        }
        // Loading checks that the pair matches.
        let last = again.store.load(&Default::default()).unwrap().generation.unwrap();
        assert!(last.number > first.number && last.leaf != first.leaf, "{at}");
        assert_eq!(ca.finalized(), 2, "{at}");
        // Nobody can resume an order whose URL was never written; it is abandoned before it is finalized.
        let abandoned = ca.placed() - 2;
        assert!(abandoned == 0 || (abandoned == 1 && unknown.contains(&crash)), "{at}: {abandoned}");
        assert_eq!(again.store.generation(first.number).unwrap().leaf, first.leaf, "{at}");
        let left: Vec<_> = files(&state)
            .into_iter()
            .filter(|file| file.ends_with(".tmp") || file.ends_with(".new") || file.contains("order."))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{at}");
    }
}

#[tokio::test]
async fn peer_defect_07_each_rename_is_followed_by_an_fsync_of_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    let attempt = attempt(&store, &Ca::new());
    let traced = faults::crash_at(usize::MAX);
    attempt.run().await.unwrap();
    let trace = traced.end();
    let mut renames = 0;
    for (index, (kind, path)) in trace.iter().enumerate().filter(|(_, (kind, _))| *kind == "rename") {
        let (next, synced) = &trace[index + 1];
        assert_eq!((*next, synced.as_path()), ("fsync directory", path.parent().unwrap()), "{kind} {path:?}");
        renames += 1;
    }
    // Journal twice two, three files of the generation, itself, current, live.
    assert_eq!(renames, 10);
    // And no file is renamed into place whose bytes may still be in memory only.
    for (index, (_, path)) in trace.iter().enumerate().filter(|(_, (kind, _))| *kind == "write") {
        assert_eq!(trace[index + 1], ("fsync", path.clone()));
    }
}
