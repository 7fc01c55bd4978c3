//! The whole agent in one process, with a CA, a responder and distribution points that do as the test says.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use sealwire_proto::ocsp::Status;
use sealwire_proto::v1::{CertificateStatus, StatusReply};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::Command;
use super::super::sources::add;
use super::*;
use crate::delivery::Wishes;
use crate::issuer::Issuer;
use crate::issuer::{OrderRequest, Progress};
use crate::revocation::fetch::{Fetch, FetchError, Reply, Request};
use crate::revocation::test_ca::{CRL, CrlSays, OCSP, TestCa, asked};
use crate::store::HistoryEntry;

/// The intermediate's own CRL, by the root.
const ROOT_CRL: &str = "http://crl.test/root.crl";

/// A CA with one intermediate, its OCSP responder and its CRLs, and the clock that they share with the agent.
struct World {
    root: TestCa,
    between: TestCa,
    /// Of leaves, by serial number.
    issued: Mutex<HashMap<u64, CertificateDer<'static>>>,
    revoked: Mutex<Vec<u64>>,
    /// What the next leaves name.
    ocsp: Option<&'static str>,
    crls: &'static [&'static str],
    minutes: AtomicI64,
    down: AtomicBool,
    orders: AtomicU64,
    /// Orders wait while it is held.
    hold: tokio::sync::Mutex<()>,
}

/// Serial number of the intermediate.
const BETWEEN: u64 = 500;

impl World {
    fn new(ocsp: Option<&'static str>, crls: &'static [&'static str]) -> Arc<Self> {
        sealwire_proto::install_crypto_provider();
        let root = TestCa::root("root");
        let between = root.intermediate("between", BETWEEN, None, &[ROOT_CRL]);
        Arc::new(Self {
            root,
            between,
            issued: Mutex::default(),
            revoked: Mutex::default(),
            ocsp,
            crls,
            minutes: AtomicI64::new(0),
            down: AtomicBool::new(false),
            orders: AtomicU64::new(0),
            hold: tokio::sync::Mutex::default(),
        })
    }

    fn pass(&self, minutes: i64) {
        self.minutes.fetch_add(minutes, Ordering::Relaxed);
    }

    fn put_on_list(&self, serial: u64) {
        self.revoked.lock().unwrap().push(serial);
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    fn orders(&self) -> u64 {
        self.orders.load(Ordering::Relaxed)
    }

    fn slept(&self) -> SignedDuration {
        SignedDuration::from_mins(self.minutes.load(Ordering::Relaxed))
    }

    fn crl(&self, by: &TestCa, number: u64) -> Vec<u8> {
        let revoked = self.revoked.lock().unwrap().clone();
        by.crl(&CrlSays { number, ..CrlSays::at(self.now(), &revoked) })
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.slept()
    }

    fn since_boot(&self) -> Duration {
        SystemClock.since_boot() + self.slept().unsigned_abs()
    }
}

#[async_trait]
impl Issuer for Arc<World> {
    fn name(&self) -> &str {
        "pki"
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        _: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let serial = self.orders.fetch_add(1, Ordering::Relaxed) + 1;
        let _held = self.hold.lock().await;
        let leaf = self.between.issue(&request.csr_der, serial, self.ocsp, self.crls, self.now());
        self.issued.lock().unwrap().insert(serial, leaf.clone());
        Ok(vec![leaf, self.between.der.clone()])
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        vec![self.root.der.clone()]
    }
}

#[async_trait]
impl Fetch for World {
    async fn fetch(&self, request: Request<'_>) -> Result<Reply, FetchError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(FetchError::Unreachable("it is down".to_owned()));
        }
        // Numbers of CRLs grow with time.
        let number = u64::try_from(self.now().as_millisecond()).unwrap();
        let body = match request.url {
            CRL => self.crl(&self.between, number),
            ROOT_CRL => self.crl(&self.root, number),
            _ => {
                let asked = asked(&request);
                let id = asked.tbs_request.request_list[0].req_cert.serial_number.as_bytes();
                let serial = id.iter().fold(0, |serial, byte| serial << 8 | u64::from(*byte));
                let leaf = self.issued.lock().unwrap()[&serial].clone();
                let revoked = self.revoked.lock().unwrap().contains(&serial);
                let at = self.now().as_second() - 1;
                self.between.ocsp(&leaf, self.now(), |answer| {
                    if revoked {
                        answer.status = Status::Revoked { at, reason: Some(1) };
                    }
                })
            }
        };
        Ok(Reply { content_type: None, body })
    }
}

/// A running agent with one certificate, "web".
struct Running {
    commands: mpsc::Sender<Command>,
    desired: watch::Receiver<Arc<Wishes>>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    _open: (mpsc::Sender<Event>, mpsc::Sender<()>),
    dir: tempfile::TempDir,
}

impl Running {
    fn start(world: &Arc<World>, more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), world, more)
    }

    /// With the state of an earlier run.
    fn start_in(dir: tempfile::TempDir, world: &Arc<World>, more: &str) -> Self {
        // The issuer of the configuration is replaced by the world's.
        let text = format!(
            "state_dir = \"{}\"\n[internal.pki]\n[revocation]\nmin_interval = \"1s\"\n[[certificate]]\n\
             name = \"web\"\nidentifiers = [\"a.example\"]\n{more}\n",
            dir.path().join("state").display()
        );
        let config = Config::from_text(std::path::Path::new("t.toml"), &text).unwrap();
        let store = Store::open(&config.state_dir).unwrap();
        let mut sources = BTreeMap::new();
        add(&mut sources, Arc::new(Arc::clone(world)), 1).unwrap();
        let (commands, received) = mpsc::channel(1);
        let (event_sender, events) = mpsc::channel(1);
        let (tick_sender, ticks) = mpsc::channel(1);
        let (desired, wishes) = watch::channel(Arc::default());
        let clock: Arc<dyn Clock> = world.clone();
        let mut agent =
            Agent::new(config, Arc::clone(&clock), store, sources, Arc::default(), desired).unwrap();
        let limits = agent.config.revocation.limits();
        let inquiry = Inquiry::new(world.clone(), &agent.config.state_dir, limits, clock);
        agent.revocations = Revocations::new(&agent.config, Some(inquiry), 1);
        agent.longest_sleep = Duration::from_millis(50);
        let stop = CancellationToken::new();
        let ended = tokio::spawn(agent.run(events, received, ticks, stop.clone()));
        Self { commands, desired: wishes, stop, ended, _open: (event_sender, tick_sender), dir }
    }

    /// Stops it and gives its state back.
    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.ended.await.unwrap();
        self.dir
    }

    async fn status(&self) -> StatusReply {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Status { after: None, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// Waits for a state of it.
    async fn until(&self, done: impl Fn(&StatusReply, &CertificateStatus) -> bool) -> CertificateStatus {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status().await;
            if done(&status, &status.certificates[0]) {
                break status.certificates.into_iter().next().unwrap();
            }
            assert!(Instant::now() < end, "{status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for a generation of which revocation is in this state.
    async fn known(&self, generation: u64, state: &str) -> CertificateStatus {
        self.until(|_, web| {
            let known = web.revocation.as_ref().is_some_and(|known| known.state == state);
            known && web.current.as_ref().is_some_and(|current| current.generation == generation)
        })
        .await
    }

    /// Waits for an open incident, or for its end.
    async fn incident(&self, kind: &str, open: bool) -> String {
        let text = Mutex::new(String::new());
        self.until(|status, _| {
            let found = status.incidents.iter().find(|incident| incident.kind == kind);
            *text.lock().unwrap() = found.map(|found| found.text.clone()).unwrap_or_default();
            found.is_some() == open
        })
        .await;
        text.into_inner().unwrap()
    }

    async fn history(&self) -> Vec<HistoryEntry> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::History { certificate: String::new(), reply }).await.unwrap();
        answer.await.unwrap().unwrap()
    }

    async fn key(&self, generation: u64) -> Vec<u8> {
        let (reply, answer) = oneshot::channel();
        let certificate = "web".to_owned();
        self.commands.send(Command::Stored { certificate, generation, reply }).await.unwrap();
        answer.await.unwrap().map_err(|error| panic!("{error}")).unwrap().generation.key.to_vec()
    }

    fn staple_is_presented(&self) -> Option<bool> {
        let wishes = self.desired.borrow().clone();
        let web = wishes.certificates.get("web")?;
        Some(web.serve.staple.is_some())
    }
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_revoked_leaf_is_replaced_at_once_with_a_new_key_and_served_until_then() {
    // By the responder, and by the CRL alone.
    for (ocsp, crls, source) in [(Some(OCSP), &[][..], OCSP), (None, &[CRL][..], CRL)] {
        let world = World::new(ocsp, crls);
        let running = Running::start(&world, "reuse_key = true\non_revoked = \"halt\"");
        running.known(1, "good").await;
        let held = world.hold.lock().await;
        world.put_on_list(1);
        // What held at first is asked anew at half of its validity.
        world.pass(50);
        let web = running.known(1, "revoked").await;
        assert_eq!((web.state.as_str(), world.orders()), ("revoked", 2), "ordered, and not issued yet");
        let text = running.incident("revoked", true).await;
        assert!(text.contains("keyCompromise") && text.contains(source), "{text}");
        let wishes = running.desired.borrow().clone();
        let wanted = &wishes.certificates["web"];
        let distrust = wanted.distrust.as_ref().unwrap();
        assert_eq!((wanted.serve.generation.number, distrust.halt), (1, true));
        assert!(wanted.serve.staple.is_none(), "nobody presents a good answer of yesterday");
        assert!(distrust.reason.contains("keyCompromise"), "{}", distrust.reason);

        drop(held);
        running.known(2, "good").await;
        running.incident("revoked", false).await;
        assert_ne!(
            running.key(1).await,
            running.key(2).await,
            "a key that may have leaked is not used again"
        );
        let history = running.history().await;
        let told: Vec<_> = history.iter().filter(|entry| entry.what == "distrusted").collect();
        assert_eq!((told.len(), told[0].generation), (1, 1));
        assert_eq!(world.orders(), 2);
    }
}

#[tokio::test]
async fn peer_defect_6_an_expired_staple_is_never_served() {
    let world = World::new(Some(OCSP), &[]);
    let mut running = Running::start(&world, "");
    running.known(1, "good").await;
    eventually("a staple", || running.staple_is_presented() == Some(true)).await;
    let first = running.desired.borrow().certificates["web"].serve.staple.clone().unwrap();
    world.set_down(true);
    // Over half of its life: refreshed in vain, and still good.
    world.pass(45);
    running.until(|_, web| web.revocation.as_ref().is_some_and(|known| known.state == "good")).await;
    assert_eq!(running.desired.borrow().certificates["web"].serve.staple, Some(Arc::clone(&first)));
    // Its end comes; the responder stays down.
    world.pass(20);
    assert!(first.next_update < world.now());
    let withdrawn = running.desired.wait_for(|wishes| wishes.certificates["web"].serve.staple.is_none());
    tokio::time::timeout(Duration::from_secs(60), withdrawn).await.expect("still presented").unwrap();
    let web = running.known(1, "unknown").await;
    assert_eq!(web.revocation.unwrap().staple_next_update_ms, 0);
    let text = running.incident("staple_stale", true).await;
    assert!(text.contains("it is down"), "{text}");
    // And it is mended by itself.
    world.set_down(false);
    world.pass(10);
    eventually("a new staple", || running.staple_is_presented() == Some(true)).await;
    running.incident("staple_stale", false).await;
    assert_eq!(world.orders(), 1, "not knowing is no reason to order");
}

#[tokio::test]
async fn the_first_bundle_has_its_staple_and_so_has_the_one_after_a_restart_in_an_outage() {
    let world = World::new(Some(OCSP), &[]);
    let mut running = Running::start(&world, "");
    let first =
        running.desired.wait_for(|wishes| wishes.certificates.contains_key("web")).await.unwrap().clone();
    assert!(first.certificates["web"].serve.staple.is_some(), "asked for before it became current");
    running.known(1, "good").await;
    let dir = running.stop().await;

    world.set_down(true);
    let mut running = Running::start_in(dir, &world, "");
    let first =
        running.desired.wait_for(|wishes| wishes.certificates.contains_key("web")).await.unwrap().clone();
    assert!(first.certificates["web"].serve.staple.is_some(), "kept over the restart");
    running.stop().await;
}

#[tokio::test]
async fn off_neither_asks_nor_presents() {
    let world = World::new(Some(OCSP), &[]);
    // The intermediate's CRL is asked for all the same.
    let running = Running::start(&world, "ocsp = \"off\"");
    running.known(1, "good").await;
    assert_eq!(running.staple_is_presented(), Some(false));
    world.put_on_list(1);
    world.pass(50);
    running.until(|_, web| web.revocation.as_ref().unwrap().next_ms > world.now().as_millisecond()).await;
    assert_eq!(running.known(1, "good").await.orders, 1);
}

#[tokio::test]
async fn a_revoked_intermediate_is_found_and_what_comes_from_it_does_not_become_current() {
    let world = World::new(None, &[]);
    let running = Running::start(&world, "");
    running.known(1, "good").await;
    world.put_on_list(BETWEEN);
    world.pass(50);
    let web = running.known(1, "revoked").await;
    assert!(web.revocation.unwrap().detail.starts_with("the intermediate CN=between is revoked since"));
    // The CA goes on issuing from it: refused by the gate, and not ordered in a tight loop.
    let failing = running.until(|_, web| web.failures > 0).await;
    assert!(failing.last_error.contains("did not pass the gate: the intermediate CN=between"), "{failing:?}");
    assert_eq!(failing.current.unwrap().generation, 1);
    assert_eq!(world.orders(), 2);
    assert!(failing.next_at_ms > world.now().as_millisecond() + 10 * 60_000, "the back-off of the CA");
}

#[tokio::test]
async fn a_leaf_that_is_revoked_when_it_is_issued_does_not_become_current() {
    let world = World::new(Some(OCSP), &[]);
    world.put_on_list(1);
    let running = Running::start(&world, "");
    let failing = running.until(|_, web| web.failures > 0).await;
    assert!(
        failing.last_error.contains("did not pass the gate: the leaf is revoked"),
        "{}",
        failing.last_error
    );
    assert!(failing.current.is_none());
    world.pass(20);
    running.known(1, "good").await;
}

#[tokio::test]
async fn a_key_that_was_reused_while_its_revocation_was_found_is_replaced_too() {
    let world = World::new(Some(OCSP), &[]);
    let running = Running::start(&world, "reuse_key = true");
    running.known(1, "good").await;
    let held = world.hold.lock().await;
    let (reply, answer) = oneshot::channel();
    let renew = Command::Renew { certificates: Vec::new(), all: true, force: true, reply };
    running.commands.send(renew).await.unwrap();
    answer.await.unwrap().unwrap();
    eventually("the order", || world.orders() == 2).await;
    world.put_on_list(1);
    world.pass(50);
    running.known(1, "revoked").await;
    drop(held);
    // Generation 2 has the key of the first; a third follows, after the minute that a second revocation waits.
    running.until(|_, web| web.current.as_ref().is_some_and(|current| current.generation == 2)).await;
    world.pass(2);
    running.known(3, "good").await;
    assert_eq!(running.key(1).await, running.key(2).await, "the order was under way with it");
    assert_ne!(running.key(3).await, running.key(2).await);
}

#[tokio::test]
async fn not_knowing_for_long_is_an_incident_until_somebody_answers() {
    let world = World::new(Some(OCSP), &[CRL]);
    world.set_down(true);
    let running = Running::start(&world, "");
    let web = running.known(1, "unknown").await;
    running.until(|_, web| web.revocation.as_ref().is_some_and(|known| known.detail.contains("down"))).await;
    assert!(running.status().await.incidents.is_empty(), "an hour is nothing: {web:?}");
    world.pass(13 * 60);
    let text = running.incident("revocation_unknown", true).await;
    assert!(text.contains("it is down"), "{text}");
    world.set_down(false);
    world.pass(90);
    running.known(1, "good").await;
    running.incident("revocation_unknown", false).await;
}

#[tokio::test]
async fn require_tells_of_a_missing_staple_at_once() {
    let world = World::new(None, &[CRL]);
    let running = Running::start(&world, "ocsp = \"require\"");
    let text = running.incident("staple_stale", true).await;
    assert!(text.contains("names no OCSP responder"), "{text}");
    running.known(1, "good").await;
}
