//! A target with a script, and a real TLS server behind it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::super::testing::generation;
use super::*;
use crate::config::CertificateConfig;
use crate::delivery::{Bundle, Deliverable, Takes, Wishes};
use crate::store::Generation;

/// What the server presents, once it presents anything.
type Served = Arc<Mutex<Option<TlsAcceptor>>>;

/// Fails so often, then has the server take it.
struct Scripted {
    failures: usize,
    applied: AtomicUsize,
    served: Served,
}

#[async_trait]
impl Target for Scripted {
    fn holds(&self, _: &Generation) -> bool {
        false
    }

    async fn apply(&self, generation: &Generation) -> Result<(), String> {
        if self.applied.fetch_add(1, Ordering::Relaxed) < self.failures {
            return Err("the server is down".to_owned());
        }
        *self.served.lock().unwrap() = Some(acceptor(generation));
        Ok(())
    }
}

fn acceptor(generation: &Generation) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(generation.chain.to_vec(), PrivatePkcs8KeyDer::from(generation.key.to_vec()).into())
        .unwrap();
    Arc::new(config).into()
}

struct Scene {
    desired: watch::Sender<Desired>,
    events: mpsc::Receiver<Event>,
    target: Arc<Scripted>,
    end: CancellationToken,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn scene(failures: usize) -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = Served::default();
    let target = Arc::new(Scripted { failures, applied: AtomicUsize::new(0), served: Arc::clone(&served) });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = served.lock().unwrap().clone();
            if let Some(acceptor) = acceptor {
                tokio::spawn(acceptor.accept(stream));
            }
        }
    });
    let node = NodeInfo {
        id: "edge".to_owned(),
        version: String::new(),
        server_names: vec!["a.example".to_owned()],
        listeners: vec![address],
        proxied: Vec::new(),
        takes: Takes::Deployed("web".to_owned()),
    };
    let (desired, receiver) = watch::channel(Arc::default());
    let (sender, events) = mpsc::channel(64);
    let surroundings = Surroundings {
        desired: receiver,
        events: sender,
        steps: Arc::default(),
        proof_timeout: Duration::from_secs(20),
    };
    let deployment = Deployment::new("web".to_owned(), node, Arc::clone(&target) as _, &surroundings);
    let end = CancellationToken::new();
    tokio::spawn(deployment.run(end.clone()));
    let mut scene = Scene { desired, events, target, end };
    assert!(matches!(scene.events.recv().await.unwrap(), Event::Connected { .. }));
    scene
}

impl Scene {
    fn want(&self, serve: &Arc<Generation>, candidate: Option<&Arc<Generation>>) {
        let bundle = |generation: &Arc<Generation>| Bundle {
            generation: Arc::clone(generation),
            trust_anchors: Arc::default(),
            staple: None,
        };
        let config = Arc::new(CertificateConfig::new("web", &["a.example"]));
        let wish =
            Deliverable { config, serve: bundle(serve), candidate: candidate.map(bundle), distrust: None };
        let certificates = BTreeMap::from([("web".to_owned(), wish)]);
        self.desired.send_replace(Arc::new(Wishes { certificates, ..Wishes::default() }));
    }

    /// The next outcome that is not only on the way.
    async fn outcome(&mut self) -> (u64, Outcome) {
        loop {
            match self.events.recv().await.unwrap() {
                Event::Delivery { outcome: Outcome::Pushed, .. } => {}
                Event::Delivery { generation, outcome, .. } => return (generation, outcome),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_was_down_gets_it_once_it_is_up() {
    let mut scene = scene(1).await;
    scene.want(&Arc::new(generation(1)), None);
    let (generation, outcome) = scene.outcome().await;
    let Outcome::Nacked { reason: NackReason::Internal, detail } = outcome else { panic!("{outcome:?}") };
    assert_eq!((generation, detail.as_str()), (1, "the server is down; attempt 1, again in 1 s"));
    let (_, outcome) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::Acked { .. }), "{outcome:?}");
    let (_, outcome) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::Proven { .. }), "{outcome:?}");
    assert_eq!(scene.target.applied.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_agent_holds_a_candidate_for_it_and_a_commit_brings_it() {
    let mut scene = scene(0).await;
    let (one, two) = (Arc::new(generation(1)), Arc::new(generation(2)));
    scene.want(&one, None);
    for _ in 0..2 {
        assert_eq!(scene.outcome().await.0, 1);
    }
    scene.want(&one, Some(&two));
    let held = scene.outcome().await;
    assert_eq!(held, (2, Outcome::Prepared { validate_micros: 0 }));
    assert_eq!(scene.target.applied.load(Ordering::Relaxed), 1, "what is served is not touched");
    scene.want(&two, None);
    assert!(matches!(scene.outcome().await, (2, Outcome::Acked { .. })));
    assert!(matches!(scene.outcome().await, (2, Outcome::Proven { .. })));
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_not_tried_again() {
    let mut scene = scene(usize::MAX).await;
    scene.want(&Arc::new(generation(1)), None);
    assert!(matches!(scene.outcome().await, (1, Outcome::Nacked { .. })));
    scene.desired.send_replace(Arc::default());
    let more = tokio::time::timeout(Duration::from_secs(3), scene.events.recv()).await;
    assert!(more.is_err(), "{more:?}");
}
