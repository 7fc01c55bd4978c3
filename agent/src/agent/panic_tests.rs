#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::{CertificateStatus, StatusReply};
use tokio::sync::oneshot;

use super::super::Command;
use super::*;
use crate::issuer::{OrderRequest, Progress};

/// Ahead of the machine's by so many minutes.
#[derive(Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_mins(self.0.load(Ordering::Relaxed))
    }
}

struct PanicsOnce(InternalIssuer, AtomicBool);

#[async_trait]
impl Issuer for PanicsOnce {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        assert!(self.1.swap(true, Ordering::Relaxed), "a bug");
        self.0.obtain(request, progress).await
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        self.0.trust_anchors()
    }
}

#[tokio::test]
async fn peer_defect_03_an_attempt_that_panics_is_counted_and_tried_again() {
    sealwire_proto::install_crypto_provider();
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "state_dir = \"{}\"\n[internal.pki]\n[[certificate]]\nname = \"web\"\n\
         identifiers = [\"a.example\"]\nnodes = []\n",
        dir.path().join("state").display()
    );
    let config = Config::from_text(std::path::Path::new("t.toml"), &text).unwrap();
    let ahead = Arc::<TestClock>::default();
    let clock: Arc<dyn Clock> = ahead.clone();
    let store = Store::open(&config.state_dir).unwrap();
    let internal = config.internal["pki"].clone();
    let issuer = InternalIssuer::open("pki".into(), dir.path().join("ca"), internal, clock.clone()).unwrap();
    let mut sources = BTreeMap::new();
    add(&mut sources, Arc::new(PanicsOnce(issuer, AtomicBool::new(false))), 1).unwrap();
    let (sender, commands) = mpsc::channel(1);
    let (_events, events) = mpsc::channel(1);
    let (_ticks, ticks) = mpsc::channel(1);
    let (desired, _nodes) = watch::channel(Arc::default());
    let agent = Agent::new(config, clock, store, sources, Arc::default(), desired).unwrap();
    tokio::spawn(agent.run(events, commands, ticks, CancellationToken::new()));
    let status = || async {
        let (reply, answer) = oneshot::channel();
        sender.send(Command::Status { after: None, reply }).await.unwrap();
        let StatusReply { mut certificates, panics, .. } = answer.await.unwrap();
        (certificates.remove(0), panics)
    };
    let until = async |done: fn(&CertificateStatus) -> bool| {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let (web, panics) = status().await;
            if done(&web) {
                break (web, panics);
            }
            assert!(Instant::now() < end, "{web:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (failed, panics) = until(|web| web.failures > 0).await;
    assert_eq!((failed.failures, panics), (1, 1));
    assert!(failed.last_error.contains("the attempt broke off"), "{failed:?}");
    assert!(failed.current.is_none());
    // The back-off is over; nobody asks for it.
    ahead.0.store(2, Ordering::Relaxed);
    let (web, panics) = until(|web| web.current.is_some()).await;
    assert_eq!((web.failures, panics), (0, 1), "{web:?}");
}
