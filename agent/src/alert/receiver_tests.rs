#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::message::tests::{at, message, origin};
use super::super::pagerduty::Pagerduty;
use super::super::request::SecretFile;
use super::super::request::tests::{body, secret};
use super::super::{Alertmanager, spool};
use super::*;
use crate::incident::book::Event;

/// Answers as the script says, then 202, and remembers who asked for what.
#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<serde_json::Value>>>,
}

#[async_trait]
impl Transport for Scripted {
    async fn post(&self, request: Request) -> Answer {
        self.seen.lock().unwrap().push(body(&request));
        let next = self.script.lock().unwrap().pop_front();
        next.unwrap_or(Answer::Response { status: 202, retry_after: None, body: String::new() })
    }
}

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::Relaxed))
    }
}

struct Fixture {
    receiver: Receiver,
    transport: Scripted,
    clock: Arc<TestClock>,
    open: watch::Sender<Arc<[Incident]>>,
    repeated: Option<Instant>,
    _dirs: [tempfile::TempDir; 2],
}

impl Fixture {
    fn new(form: impl FnOnce(SecretFile) -> Box<dyn Form>) -> Self {
        let (file, key) = secret("key");
        let dir = tempfile::tempdir().unwrap();
        let transport = Scripted::default();
        let clock = Arc::new(TestClock(AtomicI64::new(2000)));
        let open = watch::Sender::<Arc<[Incident]>>::default();
        let receiver = Receiver {
            shared: Arc::new(Shared::new("test.one".to_owned(), Spool::open(dir.path()).unwrap())),
            form: form(file),
            transport: Box::new(transport.clone()),
            origin: Arc::new(origin()),
            clock: clock.clone(),
            seed: 1,
            open: open.subscribe(),
            repeat: Duration::from_mins(1),
        };
        Self { receiver, transport, clock, open, repeated: None, _dirs: [dir, key] }
    }

    fn pagerduty() -> Self {
        Self::new(|key| Box::new(Pagerduty::new("https://x/", key)))
    }

    fn push(&self, id: &str, event: Event) {
        self.receiver.shared.spool.push(&message(id, event)).unwrap();
    }

    fn answer(&self, status: u16, retry_after: Option<u64>) {
        let retry_after = retry_after.map(Duration::from_secs);
        let answer = Answer::Response { status, retry_after, body: "why".to_owned() };
        self.transport.script.lock().unwrap().push_back(answer);
    }

    async fn turn(&mut self) -> Next {
        self.receiver.turn(&mut self.repeated).await
    }

    /// Action and key of each event that was posted.
    fn seen(&self) -> Vec<String> {
        let seen = self.transport.seen.lock().unwrap();
        let text = |value: &serde_json::Value| {
            format!("{} {}", value["event_action"], value["dedup_key"]).replace('"', "")
        };
        seen.iter().map(text).collect()
    }
}

#[tokio::test]
async fn order_is_kept_through_failures_and_waits_grow() {
    let mut fixture = Fixture::pagerduty();
    fixture.push("a", Event::Opened);
    fixture.push("b", Event::Opened);
    fixture.push("a", Event::Resolved);
    fixture.answer(503, None);
    fixture.answer(429, Some(90));
    fixture.transport.script.lock().unwrap().push_back(Answer::Nothing("timed out".to_owned()));
    let Next::After(first) = fixture.turn().await else { panic!("it was taken") };
    assert!(first <= Duration::from_secs(1), "{first:?}");
    assert_eq!(fixture.turn().await, Next::After(Duration::from_secs(90)), "as it asks");
    let Next::After(third) = fixture.turn().await else { panic!("it was taken") };
    assert!(third >= Duration::from_secs(2) && third <= Duration::from_secs(4), "{third:?}");
    assert_eq!(fixture.receiver.shared.health().failures, 3);
    for _ in 0..3 {
        assert_eq!(fixture.turn().await, Next::Now);
    }
    assert!(matches!(fixture.turn().await, Next::Idle(_)));
    let tries = ["trigger a"; 4].into_iter().chain(["trigger b", "resolve a"]);
    assert_eq!(fixture.seen(), tries.collect::<Vec<_>>());
    assert_eq!((fixture.receiver.shared.spool.len(), fixture.receiver.shared.health().failures), (0, 0));
}

#[tokio::test]
async fn what_is_refused_for_good_is_given_up_and_counted() {
    let mut fixture = Fixture::pagerduty();
    fixture.push("a", Event::Opened);
    fixture.push("b", Event::Opened);
    fixture.answer(400, None);
    assert_eq!(fixture.turn().await, Next::Now);
    let health = fixture.receiver.shared.health();
    let trouble = health.trouble(Instant::now(), 1).unwrap();
    assert!(health.dropped == 1 && trouble.contains("a-opened: it answers 400: why"), "{trouble}");
    assert_eq!(fixture.turn().await, Next::Now);
    assert_eq!(fixture.seen(), ["trigger a", "trigger b"]);
    assert_eq!(fixture.receiver.shared.health().trouble(Instant::now(), 0), None);
}

#[tokio::test]
async fn what_is_too_old_is_not_sent() {
    let mut fixture = Fixture::pagerduty();
    fixture.push("a", Event::Opened);
    fixture.clock.0.store(2001 + spool::LONGEST_WAIT.as_secs(), Ordering::Relaxed);
    assert_eq!(fixture.turn().await, Next::Now);
    assert_eq!((fixture.seen().len(), fixture.receiver.shared.spool.len()), (0, 0));
    assert_eq!(fixture.receiver.shared.health().dropped, 1);
}

#[tokio::test]
async fn without_its_secret_a_message_waits_for_it() {
    let mut fixture = Fixture::pagerduty();
    let path = fixture._dirs[1].path().join("secret");
    let key = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(fixture.turn().await, Next::Idle(CHECK_AGAIN));
    let trouble = fixture.receiver.shared.health().trouble(Instant::now(), 0).unwrap();
    assert!(trouble.contains("create it with mode 0600"), "{trouble}");
    fixture.push("a", Event::Opened);
    assert!(matches!(fixture.turn().await, Next::After(_)));
    assert_eq!(fixture.seen().len(), 0);
    crate::store::durable::write(&path, &key, 0o600).unwrap();
    assert_eq!(fixture.turn().await, Next::Now);
    assert!(matches!(fixture.turn().await, Next::Idle(_)));
    assert_eq!(fixture.receiver.shared.health().trouble(Instant::now(), 0), None);
}

#[tokio::test]
async fn an_alertmanager_is_told_again_what_is_open_once_nothing_waits() {
    let mut fixture = Fixture::new(|_| Box::new(Alertmanager::new("http://am", None)));
    let open = message("a", Event::Opened);
    fixture.open.send_replace([open.incident.clone(), message("b", Event::Opened).incident].into());
    fixture.push("a", Event::Opened);
    assert_eq!(fixture.turn().await, Next::Now);
    assert_eq!(fixture.turn().await, Next::Idle(Duration::from_mins(1)));
    let counts: Vec<_> =
        fixture.transport.seen.lock().unwrap().iter().map(|body| body.as_array().unwrap().len()).collect();
    assert_eq!(counts, [1, 2]);
    // Not again before it is time; and not at all when nothing is open.
    assert!(matches!(fixture.turn().await, Next::Idle(left) if left <= Duration::from_mins(1)));
    fixture.open.send_replace([].into());
    fixture.repeated = None;
    fixture.turn().await;
    assert_eq!(fixture.transport.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_alertmanager_that_is_down_is_known_to_be_without_any_news() {
    let mut fixture = Fixture::new(|_| Box::new(Alertmanager::new("http://am", None)));
    fixture.open.send_replace([message("a", Event::Opened).incident].into());
    fixture.answer(500, None);
    assert_eq!(fixture.turn().await, Next::Idle(Duration::from_mins(1)));
    let later = Instant::now() + Duration::from_mins(6);
    assert!(fixture.receiver.shared.health().trouble(later, 0).is_some());
    fixture.repeated = None;
    fixture.turn().await;
    assert_eq!(fixture.receiver.shared.health().trouble(later, 0), None);
}
