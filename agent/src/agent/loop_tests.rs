//! The whole agent in one process, with a clock and an issuer that do as the test says.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::{self, CertificateStatus, Severity, StatusReply};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::Command;
use super::super::sources::add;
use super::*;
use crate::incident::Kind;
use crate::issuer::Issuer;
use crate::issuer::internal::InternalIssuer;
use crate::issuer::{ErrorClass, OrderRequest, Progress};
use crate::store::faults;

#[path = "measure_tests.rs"]
mod measure_tests;

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
    stop: CancellationToken,
    ended: JoinHandle<()>,
    _open: (mpsc::Sender<Event>, mpsc::Sender<()>),
    dir: tempfile::TempDir,
}

impl Running {
    /// One order at a time, answered by `script`.
    fn start(names: &[&str], script: Script) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), Arc::default(), names, script)
    }

    /// With the state of an earlier run.
    fn start_in(dir: tempfile::TempDir, clock: Arc<TestClock>, names: &[&str], script: Script) -> Self {
        sealwire_proto::install_crypto_provider();
        let mut text = format!("state_dir = \"{}\"\n[internal.pki]\n", dir.path().join("state").display());
        for name in names {
            text += &format!(
                "[[certificate]]\nname = \"{name}\"\nidentifiers = [\"{name}.example\"]\nnodes = []\n"
            );
        }
        let config = Config::from_text(std::path::Path::new("t.toml"), &text).unwrap();
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
        let stop = CancellationToken::new();
        let ended = tokio::spawn(agent.run(events, received, ticks, stop.clone()));
        Self { clock, commands, orders, stop, ended, _open: (event_sender, tick_sender), dir }
    }

    /// Stops it in good order, and starts another one on what it left.
    async fn restart(self, names: &[&str], script: Script) -> Self {
        self.stop.cancel();
        self.ended.await.unwrap();
        Self::start_in(self.dir, self.clock, names, script)
    }

    /// All incidents, the newest last.
    async fn incidents(&self) -> Vec<v1::Incident> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Incidents { all: true, reply }).await.unwrap();
        answer.await.unwrap().incidents
    }

    /// Waits until there is an incident of that kind which is open, or not.
    async fn incident(&self, kind: Kind, open: bool) -> v1::Incident {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let incidents = self.incidents().await;
            let found =
                incidents.iter().find(|one| one.kind == kind.as_str() && (one.resolved_ms == 0) == open);
            if let Some(found) = found {
                break found.clone();
            }
            assert!(Instant::now() < end, "{kind:?}: {incidents:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
async fn a_generation_costs_one_write_of_the_memory_which_tells_what_is_served() {
    let traced = faults::crash_at(usize::MAX);
    let running = Running::start(&["web"], |_, _| Ok(()));
    running.until("web", |web| web.state == "stored").await;
    let renamed = traced.end().into_iter().filter(|(kind, _)| *kind == "rename").map(|(_, path)| path);
    let after = renamed.skip_while(|path| !path.ends_with("certificates/web/current"));
    assert_eq!(after.filter(|path| path.ends_with("certificates/web/memory.json")).count(), 1);
    let memory = std::fs::read(running.dir.path().join("state/certificates/web/memory.json")).unwrap();
    let memory: crate::lifecycle::Memory = serde_json::from_slice(&memory).unwrap();
    assert_eq!((memory.committed, memory.orders), (1, 1));
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

#[tokio::test]
async fn an_end_of_validity_that_nothing_averts_is_an_incident_until_something_does() {
    // The second order and those after it fail, until the tenth.
    let script: Script = |_, before| {
        let fails = (1..10).contains(&before);
        if fails { Err(IssueError::new(ErrorClass::Ours, "the disk is full")) } else { Ok(()) }
    };
    let running = Running::start(&["web"], script);
    running.until("web", |web| web.state == "stored").await;
    // 24 hours, renewed after 16: a quarter of the margin is 2 hours.
    running.clock.0.store(21 * 60, Ordering::Relaxed);
    running.until("web", |web| web.failures > 0).await;
    assert_eq!(running.incidents().await, []);
    running.clock.0.store(22 * 60 + 5, Ordering::Relaxed);
    let soon = running.incident(Kind::ExpiresSoon, true).await;
    assert_eq!((soon.about.as_str(), soon.severity()), ("web", Severity::Warning));
    assert!(soon.text.contains("1h ") && soon.text.contains("the disk is full"), "{soon:?}");
    assert!(soon.advice.contains("sealwire why"), "{soon:?}");

    running.clock.0.store(24 * 60 + 1, Ordering::Relaxed);
    let expired = running.incident(Kind::Expired, true).await;
    assert_eq!(expired.severity(), Severity::Critical);
    running.incident(Kind::ExpiresSoon, false).await;

    // The same incident goes on over a restart.
    let running = running.restart(&["web"], |_, _| Ok(())).await;
    assert_eq!(running.incident(Kind::Expired, true).await.id, expired.id);
    // The back-off is over.
    running.clock.0.store(25 * 60, Ordering::Relaxed);
    running.until("web", |web| web.state == "stored").await;
    let over = running.incident(Kind::Expired, false).await;
    assert_eq!(over.id, expired.id);
    assert_eq!(running.incidents().await.len(), 2);
}

#[tokio::test]
async fn without_any_certificate_the_third_failure_is_an_incident() {
    let script: Script = |_, before| {
        let fails = before < 3;
        if fails { Err(IssueError::new(ErrorClass::Ours, "no account")) } else { Ok(()) }
    };
    let running = Running::start(&["web"], script);
    running.until("web", |web| web.failures == 1).await;
    running.clock.0.fetch_add(2, Ordering::Relaxed);
    running.until("web", |web| web.failures == 2).await;
    assert_eq!(running.incidents().await, []);
    running.clock.0.fetch_add(20, Ordering::Relaxed);
    let soon = running.incident(Kind::ExpiresSoon, true).await;
    assert!(soon.text.contains("there is no certificate; 3 failure(s), the last: no account"), "{soon:?}");
    running.clock.0.fetch_add(60, Ordering::Relaxed);
    running.incident(Kind::ExpiresSoon, false).await;
}

#[tokio::test]
async fn what_does_not_pass_the_gate_is_an_incident_until_something_does() {
    let script: Script = |_, before| {
        let mut refusal =
            IssueError::new(ErrorClass::Ca, "what pki issued did not pass the gate: NAME_MISMATCH");
        refusal.gate = true;
        if before == 0 { Err(refusal) } else { Ok(()) }
    };
    let running = Running::start(&["web"], script);
    let failed = running.incident(Kind::GateFailed, true).await;
    assert!(failed.text.contains("NAME_MISMATCH"), "{failed:?}");
    running.clock.0.store(60, Ordering::Relaxed);
    running.until("web", |web| web.state == "stored").await;
    assert_eq!(running.incident(Kind::GateFailed, false).await.id, failed.id);
}

#[tokio::test]
async fn incidents_of_what_is_not_configured_any_more_are_over() {
    let script: Script = |_, _| {
        let mut refusal = IssueError::new(ErrorClass::Ca, "no");
        refusal.gate = true;
        Err(refusal)
    };
    let running = Running::start(&["web", "api"], script);
    running.incident(Kind::GateFailed, true).await;
    running.until("api", |one| one.failures > 0).await;
    running.until("web", |one| one.failures > 0).await;
    let running = running.restart(&["api"], script).await;
    let over = running.incident(Kind::GateFailed, false).await;
    assert_eq!(over.about, "web");
    assert_eq!(running.incident(Kind::GateFailed, true).await.about, "api");
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_is_an_incident_until_all_is_written() {
    let running = Running::start(&["web"], |_, _| Ok(()));
    running.until("web", |web| web.state == "stored").await;
    // A directory where the temporary file goes: nothing can be written there, even as root.
    let obstacle = running.dir.path().join("state/certificates/web/memory.json.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    running.clock.0.store(17 * 60, Ordering::Relaxed);
    let full = running.incident(Kind::Disk, true).await;
    assert_eq!((full.about.as_str(), full.severity()), ("state directory", Severity::Warning));
    assert!(full.text.contains("memory.json.tmp"), "{full:?}");
    std::fs::remove_dir(&obstacle).unwrap();
    // The next thing that is remembered shows that it can be again.
    running.clock.0.store(40 * 60, Ordering::Relaxed);
    running.incident(Kind::Disk, false).await;
}
