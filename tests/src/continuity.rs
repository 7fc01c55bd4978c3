//! Publishers and readers of one channel while a test breaks what is between them; the judge has the last word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wss_node::wire::v1;

use crate::client::{CallError, Client, Event, Position, Settings, Wishes};
use crate::judge::{Acknowledged, Entry, Payload, Place, Publisher, Reader, Record, Seen, Verdict, judge};

/// Between tries of a publication.
const AGAIN: Duration = Duration::from_millis(20);
/// The last publications may take so long to reach everybody.
const SETTLES: Duration = Duration::from_secs(30);
/// Of the connections that a failed run tells of.
const TOLD: usize = 40;

/// A channel under trial.
#[derive(Debug)]
pub struct Trial {
    channel: String,
    lasting: bool,
    pad_bytes: usize,
    publishers: Vec<JoinHandle<Publisher>>,
    readers: Vec<Watch>,
    stop: watch::Sender<bool>,
    acknowledged: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What a reader has seen so far, besides what the judge is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Codes with which connections were closed; 0 for those that were cut.
    pub closes: BTreeMap<u16, usize>,
    /// What became of its connections.
    pub lines: Vec<String>,
    /// It has ended for good: why.
    pub ended: Option<String>,
}

#[derive(Debug)]
struct Watch {
    _client: Client,
    seen: Arc<Mutex<(Reader, Life)>>,
    task: JoinHandle<()>,
}

/// The end of a trial.
#[derive(Debug)]
pub struct Outcome {
    /// All that was told to the judge.
    pub record: Record,
    /// What the judge says.
    pub verdict: Verdict,
    /// What the readers went through, by name.
    pub lives: BTreeMap<String, Life>,
}

impl Trial {
    /// A trial of a channel. `lasting`: what is acknowledged must outlive everything that the test does.
    #[must_use]
    pub fn new(channel: &str, lasting: bool) -> Self {
        Self {
            channel: channel.to_owned(),
            lasting,
            pad_bytes: 16,
            publishers: Vec::new(),
            readers: Vec::new(),
            stop: watch::Sender::new(false),
            acknowledged: Arc::default(),
        }
    }

    /// Publications are larger by so many bytes.
    #[must_use]
    pub fn padded(mut self, bytes: usize) -> Self {
        self.pad_bytes = bytes;
        self
    }

    /// Somebody who publishes one publication after the other, `pause` apart, each until it is acknowledged.
    pub fn publisher(&mut self, name: &str, settings: Settings, pause: Duration) {
        let (client, events) = Client::start(settings);
        let publishing = Publishing {
            channel: self.channel.clone(),
            pad: "x".repeat(self.pad_bytes),
            pause,
            stop: self.stop.subscribe(),
            acknowledged: Arc::clone(&self.acknowledged),
        };
        self.publishers.push(tokio::spawn(publishing.run(name.to_owned(), client, events)));
    }

    /// Somebody who reads, and comes back after every loss.
    pub fn reader(&mut self, name: &str, settings: Settings) {
        let (client, mut events) = Client::start(settings);
        client.subscribe(&self.channel, Wishes { recoverable: true, ..Wishes::default() });
        let reader = Reader { name: name.to_owned(), seen: Vec::new() };
        let seen = Arc::new(Mutex::new((reader, Life::default())));
        let write = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Publications that belong to the subscription before them.
            let mut missing = 0;
            while let Some(event) = events.recv().await {
                let mut both = lock(&write);
                let (reader, life) = &mut *both;
                see(reader, life, &mut missing, event);
            }
        });
        self.readers.push(Watch { _client: client, seen, task });
    }

    /// Publications acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        lock(&self.acknowledged).values().sum()
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// What a reader has gone through so far.
    #[must_use]
    pub fn life(&self, name: &str) -> Life {
        let of = self.readers.iter().map(|watch| lock(&watch.seen).clone());
        of.into_iter().find(|(reader, _)| reader.name == name).map(|(_, life)| life).unwrap_or_default()
    }

    /// Waits until every publisher has `more` more publications acknowledged.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn progress(&self, more: u64) {
        let before = lock(&self.acknowledged).clone();
        crate::eventually("all publishers get on", SETTLES * 2, || async {
            let now = lock(&self.acknowledged);
            let got_on = |(name, n): (&String, &u64)| *n >= before.get(name).copied().unwrap_or(0) + more;
            (now.len() == self.publishers.len() && now.iter().all(got_on)).then_some(())
        })
        .await;
    }

    /// Stops the publishers, waits until the readers have what was published, reads the log by another client, and lets
    /// the judge judge.
    ///
    /// # Panics
    /// When a publisher found something that it cannot go on with.
    pub async fn end(self, log: Option<Settings>) -> Outcome {
        self.stop.send_replace(true);
        let mut record = Record { lasting: self.lasting, ..Record::default() };
        for publisher in self.publishers {
            record.publishers.push(publisher.await.unwrap_or_else(|error| panic!("a publisher: {error}")));
        }
        let newest = record.acknowledged().map(|told| told.place.clone()).max_by_key(|place| place.offset);
        let end = Instant::now() + SETTLES;
        // Whether they have seen all is for the judge.
        while Instant::now() < end && !self.readers.iter().all(|watch| watch.is_at(&record, newest.as_ref()))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut lives = BTreeMap::new();
        for watch in self.readers {
            watch.task.abort();
            let (reader, life) = lock(&watch.seen).clone();
            lives.insert(reader.name.clone(), life);
            record.readers.push(reader);
        }
        if let Some(settings) = log {
            record.readers.push(read_log(settings, &self.channel).await);
        }
        let verdict = judge(&record);
        Outcome { record, verdict, lives }
    }
}

impl Outcome {
    /// Judges again, with one more reader.
    #[must_use]
    pub fn with(mut self, reader: Reader) -> Self {
        self.record.readers.push(reader);
        self.verdict = judge(&self.record);
        self
    }

    /// No promise is broken, nobody was left behind, and something happened at all.
    ///
    /// # Panics
    /// Otherwise, with the faults and what the readers went through.
    pub fn assert_sound(&self, what: &str) {
        let Self { verdict, lives, .. } = self;
        let ended: Vec<_> = lives.iter().filter(|(_, life)| life.ended.is_some()).collect();
        if !verdict.faults.is_empty() || !ended.is_empty() {
            let faults: Vec<_> = verdict.faults.iter().map(ToString::to_string).collect();
            let lines = lives.iter().map(|(name, life)| {
                let from = life.lines.len().saturating_sub(TOLD);
                format!("{name}: {:?}\n  {}", life.closes, life.lines[from..].join("\n  "))
            });
            let lines = lines.collect::<Vec<_>>().join("\n");
            panic!("{what}: {}\n{lines}\nended: {ended:?}", faults.join("\n"));
        }
        assert!(verdict.acknowledged > 0 && verdict.seen > 0, "{what}: nothing happened: {verdict:?}");
        eprintln!(
            "{what}: {} acknowledged, {} seen, {} recoveries with {} publications, {} losses told",
            verdict.acknowledged, verdict.seen, verdict.recovered, verdict.caught_up, verdict.lost
        );
    }
}

impl Watch {
    /// Whether nothing acknowledged is missing.
    fn is_at(&self, record: &Record, newest: Option<&Place>) -> bool {
        let seen = lock(&self.seen);
        if seen.1.ended.is_some() || newest.is_none() {
            return true;
        }
        // The epoch that the reader is in, and where.
        let mut at: Option<Place> = None;
        for one in &seen.0.seen {
            match one {
                Seen::Began(place) | Seen::Lost { top: place } | Seen::Recovered { top: place, .. } => {
                    at = Some(place.clone());
                }
                Seen::Publication(entry) => {
                    if let Some(at) = &mut at {
                        at.offset = entry.offset;
                    }
                }
            }
        }
        let Some(at) = at else { return false };
        let last = record.publishers.iter().filter_map(|publisher| publisher.acknowledged.last());
        let mut last = last.map(|told| &told.place);
        last.all(|told| told.epoch == at.epoch && told.offset <= at.offset)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn see(reader: &mut Reader, life: &mut Life, missing: &mut usize, event: Event) {
    match event {
        Event::Subscribed { result, missed, .. } => {
            life.lines.push(format!(
                "subscribed at {}/{}, recovering {}, recovered {}, {missed} missed",
                result.epoch, result.offset, result.was_recovering, result.recovered
            ));
            let mut top = Place { epoch: result.epoch, offset: result.offset };
            *missing = 0;
            if result.was_recovering && result.recovered {
                // The node tells where it began; every publication is one step.
                top.offset += missed as u64;
                reader.seen.push(Seen::Recovered { top, missed: Vec::new() });
                *missing = missed;
            } else if reader.seen.is_empty() {
                reader.seen.push(Seen::Began(top));
            } else {
                reader.seen.push(Seen::Lost { top });
            }
        }
        Event::Publication { publication, .. } => {
            let value: Value = serde_json::from_slice(&publication.data).unwrap_or_default();
            let payload = value["p"].as_str().and_then(Payload::parse);
            let payload = payload.unwrap_or_else(|| Payload { publisher: value.to_string(), n: 0 });
            let entry = Entry { offset: publication.offset, payload };
            match reader.seen.last_mut() {
                Some(Seen::Recovered { missed, .. }) if *missing > 0 => {
                    *missing -= 1;
                    missed.push(entry);
                }
                _ => reader.seen.push(Seen::Publication(entry)),
            }
        }
        Event::Lost { code, reason } => {
            *life.closes.entry(code.unwrap_or(0)).or_default() += 1;
            life.lines.push(format!("lost: {code:?} {reason}"));
        }
        Event::Unsubscribed { code, reason, .. } => {
            life.lines.push(format!("unsubscribed: {code} {reason}"));
            if code < 2500 {
                life.ended = Some(format!("unsubscribed: {code} {reason}"));
            }
        }
        Event::Ended { code, reason } => life.ended = Some(format!("{code} {reason}")),
        Event::Connected(_) | Event::Joined { .. } | Event::Left { .. } | Event::Message(_) => {}
    }
}

struct Publishing {
    channel: String,
    pad: String,
    pause: Duration,
    stop: watch::Receiver<bool>,
    acknowledged: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Publishing {
    async fn run(
        self,
        name: String,
        client: Client,
        mut events: mpsc::UnboundedReceiver<Event>,
    ) -> Publisher {
        let mut publisher = Publisher { name, ..Publisher::default() };
        while !*self.stop.borrow() {
            publisher.tried += 1;
            let payload = Payload { publisher: publisher.name.clone(), n: publisher.tried };
            let place = self.publish(&client, &payload).await;
            publisher.acknowledged.push(Acknowledged { payload, place });
            *lock(&self.acknowledged).entry(publisher.name.clone()).or_default() += 1;
            // A publisher has no use for them, but they must not pile up.
            while let Ok(event) = events.try_recv() {
                if let Event::Ended { code, reason } = event {
                    panic!("{} was sent away: {code} {reason}", publisher.name);
                }
            }
            tokio::time::sleep(self.pause).await;
        }
        publisher
    }

    /// Until it is acknowledged.
    async fn publish(&self, client: &Client, payload: &Payload) -> Place {
        let request = json!({
            "channel": self.channel,
            "data": { "p": payload.to_string(), "pad": self.pad },
            "idempotency_key": payload.to_string(),
        });
        loop {
            match client.rpc("channel.publish", &request).await {
                Ok(told) => {
                    assert_eq!(told["published"], true, "{payload}: {told}");
                    let epoch = told["epoch"].as_str().unwrap_or_else(|| panic!("{payload}: {told}"));
                    let offset = told["offset"].as_u64().unwrap_or_else(|| panic!("{payload}: {told}"));
                    return Place { epoch: epoch.to_owned(), offset };
                }
                Err(CallError::Unknown) => {}
                Err(CallError::Refused(v1::Error { temporary: true, .. })) => {}
                Err(error) => panic!("{payload}: {error}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// What an official client saw of a channel, from what it told line by line (`crate::sdk`): it tells how it came back, and
/// then the publications, so the judge sees each of those as one that came by itself.
#[must_use]
pub fn told_by_sdk(name: &str, told: &[Value]) -> Reader {
    let mut reader = Reader { name: name.to_owned(), seen: Vec::new() };
    let mut at = Place::default();
    for event in told {
        if event["ev"] == "subscribed" {
            let position = &event["at"];
            let epoch = position["epoch"].as_str().unwrap_or_default().to_owned();
            let top = Place { epoch, offset: position["offset"].as_u64().unwrap_or_default() };
            if event["recovered"] == true {
                // Where it was: what follows must go on from there.
                at.epoch = top.epoch;
                reader.seen.push(Seen::Recovered { top: at.clone(), missed: Vec::new() });
                continue;
            }
            at = top.clone();
            reader.seen.push(if reader.seen.is_empty() { Seen::Began(top) } else { Seen::Lost { top } });
        } else if event["ev"] == "publication" {
            let payload = event["data"]["p"].as_str().and_then(Payload::parse);
            let payload = payload.unwrap_or_else(|| Payload { publisher: event["data"].to_string(), n: 0 });
            at.offset = event["offset"].as_u64().unwrap_or_default();
            reader.seen.push(Seen::Publication(Entry { offset: at.offset, payload }));
        }
    }
    reader
}

/// The log as it is, as one more reader.
async fn read_log(settings: Settings, channel: &str) -> Reader {
    let (client, _events) = Client::start(settings);
    let mut reader = Reader { name: "the log".to_owned(), seen: Vec::new() };
    let mut at: Option<Position> = None;
    loop {
        let page = crate::eventually("a page of the log", SETTLES, || async {
            client.history(channel, -1, at.as_ref()).await.ok()
        });
        let page = page.await;
        let place = |offset| Place { epoch: page.epoch.clone(), offset };
        if at.is_none() {
            let first = page.publications.first().map_or(page.offset, |first| first.offset - 1);
            reader.seen.push(Seen::Began(place(first)));
        }
        let Some(last) = page.publications.last() else { return reader };
        at = Some(Position { epoch: page.epoch.clone(), offset: last.offset });
        for publication in page.publications {
            let event = Event::Publication { channel: channel.to_owned(), publication: publication.into() };
            see(&mut reader, &mut Life::default(), &mut 0, event);
        }
    }
}
