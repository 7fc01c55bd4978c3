//! The one thread that writes: takes all that waits, gives each publication its place, makes all of it durable with one
//! flush, and only then shows it to readers and answers.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::store::{Loaded, Store};
use super::tables::{Change, Failure};
use crate::broker::answer::{Append, Unavailable};
use crate::broker::draft::Draft;
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::{NewPublication, Publication};
use crate::broker::rules::{Kind, Rules};
use crate::broker::table::Table;

/// Jobs in one transaction, at most.
const BATCH: usize = 4096;
/// After a failure the file is opened again, no sooner than this after the last try.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// What the writer is asked to do.
pub(super) enum Job {
    /// Append a publication.
    Append(Box<Appending>),
    /// Remove all publications of a channel.
    BeginAnew { channel: Arc<str>, rules: Arc<Rules>, answer: oneshot::Sender<Result<(), Unavailable>> },
    /// Forget what is past its time, in these shards.
    Sweep(std::ops::Range<usize>),
}

/// A publication on its way.
pub(super) struct Appending {
    pub(super) channel: Arc<str>,
    pub(super) rules: Arc<Rules>,
    pub(super) new: NewPublication,
    pub(super) answer: oneshot::Sender<Append>,
    /// Its bytes of what may wait.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the hub is told, on a thread of its own, so that the next transaction need not wait for it.
pub(super) enum Delivery {
    Publication { channel: Arc<str>, epoch: Epoch, publication: Arc<Publication> },
    Gap { channel: Arc<str> },
}

/// Why nothing can be written at present, for whoever asks.
pub(super) type Trouble = Arc<Mutex<Option<String>>>;

/// Everything the thread has.
pub(super) struct Writer {
    pub(super) table: Arc<Table>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) deliveries: SyncSender<Vec<Delivery>>,
    pub(super) trouble: Trouble,
    pub(super) file: FileState,
    /// Forgotten in memory, and not yet in the file.
    pub(super) forgotten: Vec<(Kind, Arc<str>)>,
}

/// Whether the file can be written.
pub(super) enum FileState {
    Open(Store),
    /// A write has failed: what is in the file of the last transaction is not known until it is opened again.
    Failed {
        path: std::path::PathBuf,
        uncertain: Vec<(Kind, Arc<str>)>,
        again: Instant,
    },
}

/// What a batch does.
#[derive(Default)]
struct Batch {
    changes: HashMap<(Kind, Arc<str>), (Draft, Change)>,
    answers: Vec<(oneshot::Sender<Append>, Append)>,
    /// Kept until the batch is done.
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Writer {
    /// Until nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH);
        while self.jobs.blocking_recv_many(&mut jobs, BATCH) > 0 {
            self.reopen();
            self.work(jobs.drain(..));
        }
    }

    fn work(&mut self, jobs: impl Iterator<Item = Job>) {
        let now = self.table.now();
        let mut batch = Batch::default();
        for job in jobs {
            match job {
                Job::Append(appending) => self.decide(&mut batch, *appending, now),
                Job::Sweep(shards) => self.sweep(&mut batch, shards, now),
                Job::BeginAnew { channel, rules, answer } => {
                    // What was asked for before it goes with the rest.
                    self.finish(std::mem::take(&mut batch), now);
                    let _ = answer.send(self.begin_anew(&channel, &rules, now));
                }
            }
        }
        self.finish(batch, now);
    }

    /// Makes a batch durable, shows it to readers, and answers.
    fn finish(&mut self, batch: Batch, now: Timestamp) {
        let Batch { changes, answers, rooms } = batch;
        let changes: Vec<_> = changes.into_values().map(|(_, change)| change).collect();
        if let Err(trouble) = self.commit(&changes, &[], now) {
            for (answer, _) in answers {
                // Whoever has gone does not want to know.
                let _ = answer.send(Append::Unavailable(Unavailable::for_now(trouble.clone())));
            }
            return;
        }
        let mut deliveries = Vec::new();
        for change in changes {
            self.apply(change, now, &mut deliveries);
        }
        for (answer, append) in answers {
            let _ = answer.send(append);
        }
        drop(rooms);
        self.tell(deliveries);
    }

    fn tell(&self, deliveries: Vec<Delivery>) {
        // The other thread ends when this one does.
        if !deliveries.is_empty() && self.deliveries.send(deliveries).is_err() {
            tracing::error!("the thread that tells the hub of publications has ended");
        }
    }

    fn decide(&self, batch: &mut Batch, appending: Appending, now: Timestamp) {
        let Appending { channel, rules, new, answer, _room: room } = appending;
        let mut shard = self.table.shard(&channel);
        let entry = shard.open(self.table.budget(), &channel, &rules, now);
        // A sweep of this batch must not take it for idle.
        entry.channel.touch(now);
        let epoch = entry.channel.top().epoch;
        let first = entry.channel.first();
        let (draft, change) = match batch.changes.entry((rules.kind, Arc::clone(&channel))) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let (name, kind) = (channel, rules.kind);
                let change = Change {
                    kind,
                    name,
                    rules: Arc::clone(&rules),
                    epoch: epoch.clone(),
                    first,
                    publications: Vec::new(),
                };
                slot.insert((Draft::default(), change))
            }
        };
        // Answers wait for the disk, whatever they are: a duplicate or a rival may be in this very batch.
        let append = match entry.channel.decide(draft, &rules, &new, now) {
            Err(declined) => declined.into(),
            Ok(offset) => {
                let idempotency_key = new.idempotency_key.clone();
                change.publications.push((Arc::new(new.at(offset, now)), idempotency_key));
                Append::Appended(Position { epoch, offset })
            }
        };
        batch.answers.push((answer, append));
        batch.rooms.push(room);
    }

    fn sweep(&mut self, batch: &mut Batch, shards: std::ops::Range<usize>, now: Timestamp) {
        for number in shards {
            let mut shard = self.table.nth(number);
            self.forgotten.extend(shard.expire(self.table.budget(), now));
            let FileState::Open(store) = &self.file else { continue };
            for (kind, name, entry) in shard.entries() {
                let first = entry.channel.first();
                if store.has_before(kind, name, first) {
                    let change = Change {
                        kind,
                        name: Arc::clone(name),
                        rules: Arc::clone(&entry.rules),
                        epoch: entry.channel.top().epoch,
                        first,
                        publications: Vec::new(),
                    };
                    batch.changes.entry((kind, Arc::clone(name))).or_insert((Draft::default(), change));
                }
            }
        }
    }

    /// In a transaction of its own: the file forgets the channel, then the memory does.
    fn begin_anew(&mut self, channel: &Arc<str>, rules: &Rules, now: Timestamp) -> Result<(), Unavailable> {
        self.commit(&[], &[(rules.kind, Arc::clone(channel))], now).map_err(Unavailable::for_now)?;
        let mut shard = self.table.shard(channel);
        let was_there = shard.begin_anew(self.table.budget(), rules.kind, channel, now);
        drop(shard);
        if was_there && self.table.has_interest(channel, rules.kind) {
            self.tell(vec![Delivery::Gap { channel: Arc::clone(channel) }]);
        }
        Ok(())
    }

    /// Writes what was published, and forgets `gone` as well as what the memory has forgotten.
    fn commit(
        &mut self,
        changes: &[Change],
        gone: &[(Kind, Arc<str>)],
        now: Timestamp,
    ) -> Result<(), String> {
        let store = match &mut self.file {
            FileState::Open(store) => store,
            FileState::Failed { .. } => {
                let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(trouble.clone().unwrap_or_default());
            }
        };
        let touched = |change: &Change| {
            !change.publications.is_empty() || { store.has_before(change.kind, &change.name, change.first) }
        };
        if self.forgotten.is_empty() && gone.is_empty() && !changes.iter().any(touched) {
            return Ok(());
        }
        match store.commit(changes, &[&self.forgotten, gone].concat(), now) {
            Ok(()) => {
                self.forgotten.clear();
                Ok(())
            }
            Err(error) => {
                let changed = changes.iter().map(|change| (change.kind, Arc::clone(&change.name)));
                Err(self.fail(&error, changed.chain(gone.iter().cloned()).collect()))
            }
        }
    }

    /// Nothing is written until the file could be opened again.
    fn fail(&mut self, error: &Failure, uncertain: Vec<(Kind, Arc<str>)>) -> String {
        let FileState::Open(store) = &self.file else { return String::new() };
        let path = store.path().to_owned();
        let trouble = format!("cannot write {}: {error}", path.display());
        tracing::error!(path = %path.display(), %error, "publications that are to be on disk are refused");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
        self.file = FileState::Failed { path, uncertain, again: Instant::now() };
        trouble
    }

    /// After a failure: what the file has is what counts.
    fn reopen(&mut self) {
        let FileState::Failed { path, uncertain, again } = &mut self.file else { return };
        if Instant::now() < *again {
            return;
        }
        *again = Instant::now() + OPEN_AGAIN;
        let mut loaded = Vec::new();
        let mut take = |channel: Loaded| {
            if uncertain.iter().any(|(kind, name)| *kind == channel.kind && *name == channel.name) {
                loaded.push(channel);
            }
        };
        let opened = Store::open(path, false).and_then(|mut store| store.load(&mut take).map(|()| store));
        match opened {
            Ok(store) => {
                let uncertain = std::mem::take(uncertain);
                tracing::info!(path = %path.display(), "publications are written again");
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.file = FileState::Open(store);
                self.believe(loaded, &uncertain);
            }
            Err(error) => {
                tracing::warn!(%error, "still not written");
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        }
    }

    /// The last transaction may have been written after all: then readers and subscribers are to see it.
    fn believe(&self, loaded: Vec<Loaded>, uncertain: &[(Kind, Arc<str>)]) {
        let (mut gaps, now) = (Vec::new(), self.table.now());
        let is_there =
            |key: &(Kind, Arc<str>)| loaded.iter().any(|loaded| loaded.kind == key.0 && loaded.name == key.1);
        for (kind, name) in uncertain.iter().filter(|key| !is_there(key)) {
            // It was removed after all.
            if self.table.shard(name).begin_anew(self.table.budget(), *kind, name, now) {
                gaps.push(Delivery::Gap { channel: Arc::clone(name) });
            }
        }
        for loaded in loaded {
            let mut shard = self.table.shard(&loaded.name);
            let known = shard.find(loaded.kind, &loaded.name);
            let same = known.is_some_and(|entry| entry.channel.top() == loaded.channel.top());
            if !same {
                shard.put(self.table.budget(), &loaded.name, &loaded.rules, loaded.channel);
                gaps.push(Delivery::Gap { channel: loaded.name });
            }
        }
        self.tell(gaps);
    }

    fn apply(&self, change: Change, now: Timestamp, deliveries: &mut Vec<Delivery>) {
        let Change { kind, name, rules, epoch, publications, .. } = change;
        let mut shard = self.table.shard(&name);
        for (publication, idempotency_key) in &publications {
            let key = idempotency_key.as_deref();
            shard.apply(self.table.budget(), &name, &rules, publication, key, now);
        }
        if shard.find(kind, &name).is_some_and(|entry| entry.interested) {
            deliveries.extend(publications.into_iter().map(|(publication, _)| Delivery::Publication {
                channel: Arc::clone(&name),
                epoch: epoch.clone(),
                publication,
            }));
        }
    }
}
