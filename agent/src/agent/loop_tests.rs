//! The whole agent in one process, with a clock and an issuer that do as the test says.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::{CertificateStatus, StatusReply};
use tokio::sync::oneshot;

use super::super::Command;
use super::*;
use crate::issuer::{ErrorClass, OrderRequest, Progress};

/// Instead of half a minute.
const LONGEST_SLEEP: Duration = Duration::from_millis(200);

/// The machine's clock, and the minutes that it was suspended for.
#[derive(Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn slept(&self) -> SignedDuration {
        SignedDuration::from_mins(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.slept()
    }

    fn since_boot(&self) -> Duration {
        SystemClock.since_boot() + self.slept().unsigned_abs()
    }
}

/// What the issuer does with an order: may fail it, or panic; told how many came before.
type Script = fn(&OrderRequest, usize) -> Result<(), IssueError>;

/// An embedded CA with a script.
struct Scripted {
    ca: InternalIssuer,
    script: Script,
    orders: watch::Sender<usize>,
}

#[async_trait]
impl Issuer for Scripted {
    fn name(&self) -> &str {
        self.ca.name()
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let before = *self.orders.borrow();
        self.orders.send_modify(|orders| *orders += 1);
        (self.script)(request, before)?;
        self.ca.obtain(request, progress).await
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        self.ca.trust_anchors()
    }
}

/// A running agent with certificates that go to no node.
struct Running {
    clock: Arc<TestClock>,
    commands: mpsc::Sender<Command>,
    /// Orders placed so far.
    orders: watch::Receiver<usize>,
    _open: (mpsc::Sender<Event>, mpsc::Sender<()>, tempfile::TempDir),
}

impl Running {
    /// One order at a time, answered by `script`.
    fn start(names: &[&str], script: Script) -> Self {
        sealwire_proto::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let mut text = format!("state_dir = \"{}\"\n[internal.pki]\n", dir.path().join("state").display());
        for name in names {
            text += &format!(
                "[[certificate]]\nname = \"{name}\"\nidentifiers = [\"{name}.example\"]\nnodes = []\n"
            );
        }
        let config = Config::from_text(std::path::Path::new("t.toml"), &text).unwrap();
        let clock = Arc::<TestClock>::default();
        let store = Store::open(&config.state_dir).unwrap();
        let internal = config.internal["pki"].clone();
        let ca = InternalIssuer::open("pki".into(), dir.path().join("ca"), internal, clock.clone()).unwrap();
        let (ordered, orders) = watch::channel(0);
        let mut sources = BTreeMap::new();
        add(&mut sources, Arc::new(Scripted { ca, script, orders: ordered }), 1).unwrap();
        let (commands, received) = mpsc::channel(1);
        let (event_sender, events) = mpsc::channel(1);
        let (tick_sender, ticks) = mpsc::channel(1);
        let (desired, _) = watch::channel(Arc::default());
        let mut agent = Agent::new(config, clock.clone(), store, sources, Arc::default(), desired).unwrap();
        assert_eq!(agent.longest_sleep, Duration::from_secs(30));
        agent.longest_sleep = LONGEST_SLEEP;
        tokio::spawn(agent.run(events, received, ticks, CancellationToken::new()));
        Self { clock, commands, orders, _open: (event_sender, tick_sender, dir) }
    }

    async fn status(&self) -> StatusReply {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Status { after: None, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// Waits for a state of a certificate.
    async fn until(&self, name: &str, done: fn(&CertificateStatus) -> bool) -> CertificateStatus {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status().await;
            let one = status.certificates.into_iter().find(|certificate| certificate.name == name).unwrap();
            if done(&one) {
                break one;
            }
            assert!(Instant::now() < end, "{one:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn peer_defect_03_an_attempt_that_panics_is_counted_and_tried_again() {
    let running = Running::start(&["web"], |_, before| {
        assert!(before > 0, "a bug");
        Ok(())
    });
    let failed = running.until("web", |web| web.failures > 0).await;
    assert_eq!((failed.failures, running.status().await.panics), (1, 1));
    assert!(failed.last_error.contains("the attempt broke off"), "{failed:?}");
    assert!(failed.current.is_none());
    // The back-off is over; nobody asks for it.
    running.clock.0.store(2, Ordering::Relaxed);
    let web = running.until("web", |web| web.current.is_some()).await;
    assert_eq!((web.failures, running.status().await.panics), (0, 1), "{web:?}");
}

#[tokio::test]
async fn peer_defect_02_who_waits_after_a_failure_holds_no_place_that_others_need() {
    // Only one order at a time: "bad" comes first, and fails for ever.
    let running = Running::start(&["bad", "good"], |request, _| {
        let bad = request.certificate == "bad";
        if bad { Err(IssueError::new(ErrorClass::Identifier, "its challenge failed")) } else { Ok(()) }
    });
    let bad = running.until("bad", |bad| bad.failures > 0).await;
    let good = running.until("good", |good| good.state == "stored").await;
    assert!(good.current.is_some());
    assert!(bad.next_at_ms > Timestamp::now().as_millisecond() + 30_000, "it waits: {bad:?}");
}

#[tokio::test]
async fn peer_defect_13_a_renewal_that_came_due_while_suspended_happens_at_the_next_look() {
    let mut running = Running::start(&["web"], |_, _| Ok(()));
    let first = running.until("web", |web| web.state == "stored").await;
    let before = Timestamp::now().as_millisecond();
    assert!(first.next_at_ms > before + 3_600_000, "nothing is due: {first:?}");
    let until_due = (first.next_at_ms - before) / 60_000 + 1;
    running.clock.0.store(until_due, Ordering::Relaxed);
    // The timers of the loop have not run meanwhile, and nobody asks it anything.
    let renewed = running.orders.wait_for(|orders| *orders == 2);
    tokio::time::timeout(Duration::from_secs(60), renewed).await.expect("not renewed").unwrap();
    let status = running.status().await;
    assert!(status.incidents.is_empty(), "a suspended machine's clock has not jumped: {status:?}");
}
