//! The broker of a single node whose channels outlive it: an embedded database, written in groups.
//!
//! A publication is acknowledged, and seen by anybody, only after the transaction that holds it was flushed to the disk.
//! Readers are served from memory. History is never given up for want of memory: publications are refused for now.

mod codec;
mod error;
mod store;
mod tables;
mod witness;
mod writer;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::error::OpenError;
use self::store::Store;
use self::writer::{Appending, Delivery, FileState, Job, Trouble, Writer};
use super::answer::{Append, Cursor, From, Read, Snapshot, Unavailable};
use super::budget::Budget;
use super::publication::NewPublication;
use super::rules::Rules;
use super::table::{Clock, Overdue, SWEEP_EVERY, SWEPT, Table, Usage};
use super::{Broker, Deliveries};

/// The file in the directory of the broker.
const FILE: &str = "channels.redb";
/// Publications that wait for the disk, at most.
const WAITING: usize = 8192;
/// What they count for, at most, in bytes.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// How long a publication may wait for its turn, and then for the disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Batches that the hub has not been told of yet.
const UNTOLD: usize = 4;

/// Channels on disk, and in memory for readers.
pub struct DiskBroker {
    table: Arc<Table>,
    trouble: Trouble,
    room: Arc<Semaphore>,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl DiskBroker {
    /// Opens the file in a directory, or makes it, reads all of it, and checks it. Blocks for as long as that takes.
    ///
    /// `deliveries` is told of publications from a thread of the broker.
    ///
    /// # Errors
    /// When the file cannot be used: another process has it, it is damaged, or the system refuses.
    pub fn open(
        directory: &Path,
        budget: Arc<Budget>,
        deliveries: Arc<dyn Deliveries>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let began = Instant::now();
        let mut store = Store::open(&path, true)?;
        let table = Arc::new(Table::new(budget, clock));
        let now = table.now();
        let mut channels = 0_u64;
        store.load(|mut loaded| {
            loaded.channel.expire(&loaded.rules, now);
            let mut shard = table.shard(&loaded.name);
            shard.put(table.budget(), &loaded.name, &loaded.rules, loaded.channel);
            // So that its keys end in time.
            shard.open(table.budget(), &loaded.name, &loaded.rules, now);
            channels += 1;
        })?;
        tracing::info!(path = %path.display(), channels, took = ?began.elapsed(), "channels read from disk");
        let used = table.budget().used_bytes();
        if !table.budget().has_room(0) {
            let limit = table.budget().limit_bytes();
            tracing::warn!(
                used,
                limit,
                "channels take more memory than they may: nothing is published before some end"
            );
        }
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (tell, told) = sync_channel::<Vec<Delivery>>(UNTOLD);
        let trouble = Trouble::default();
        let writer = Writer {
            table: Arc::clone(&table),
            jobs: waiting,
            deliveries: tell,
            trouble: Arc::clone(&trouble),
            file: FileState::Open(store),
            forgotten: Vec::new(),
        };
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
            spawned.map_err(|source| OpenError::System {
                what: "start a thread for",
                path: path.clone(),
                source,
            })
        };
        let threads = vec![
            thread("disk-writer", Box::new(move || writer.run()))?,
            thread(
                "disk-teller",
                Box::new(move || {
                    for batch in told {
                        for delivery in batch {
                            delivery.tell(&*deliveries);
                        }
                    }
                }),
            )?,
        ];
        let room = Arc::new(Semaphore::new(WAITING_BYTES));
        Ok(Self { table, trouble, room, jobs: Some(jobs), threads })
    }

    /// What it holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.table.usage()
    }

    /// Why publications are refused at present, if the disk is the reason.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes keys and forgets channels whose time is over, until it is dropped.
    pub async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for shard in (0..).step_by(SWEPT) {
            ticks.tick().await;
            self.sweep_some(shard..shard + SWEPT).await;
        }
    }

    async fn sweep_some(&self, shards: std::ops::Range<usize>) {
        if let Some(jobs) = &self.jobs {
            // Without a writer there is nothing to sweep.
            let _ = jobs.send(Job::Sweep(shards)).await;
        }
        for Overdue { channel, rules, removal } in self.table.overdue() {
            self.append(&channel, &rules, removal).await;
        }
    }

    async fn enqueue(&self, channel: &str, rules: &Arc<Rules>, new: NewPublication) -> Option<Append> {
        let bytes = u32::try_from(new.cost_bytes().min(WAITING_BYTES)).ok()?;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
        let (answer, answered) = oneshot::channel();
        let rules = Arc::clone(rules);
        let appending = Appending { channel: channel.into(), rules, new, answer, _room: room };
        self.jobs.as_ref()?.send(Job::Append(Box::new(appending))).await.ok()?;
        answered.await.ok()
    }
}

/// What the thread that writes answers; it may be gone, or be held up by the disk.
async fn in_time<T>(answer: impl Future<Output = Option<T>>) -> Result<T, Unavailable> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            Err(Unavailable::for_now("the thread that writes channels to disk has ended; restart the node"))
        }
        Err(_) => Err(Unavailable::for_now("the disk did not take it in 10 s")),
    }
}

impl Delivery {
    fn tell(&self, deliveries: &dyn Deliveries) {
        match self {
            Self::Publication { channel, epoch, publication } => {
                deliveries.delivered(channel, epoch, publication);
            }
            Self::Gap { channel } => deliveries.gap(channel),
        }
    }
}

impl Broker for DiskBroker {
    async fn append(&self, channel: &str, rules: &Arc<Rules>, new: NewPublication) -> Append {
        if let Err(unavailable) = self.table.make_room(new.cost_bytes(), false) {
            return Append::Unavailable(unavailable);
        }
        in_time(self.enqueue(channel, rules, new)).await.unwrap_or_else(Append::Unavailable)
    }

    async fn begin_anew(&self, channel: &str, rules: &Arc<Rules>) -> Result<(), Unavailable> {
        let asked = async {
            let (answer, answered) = oneshot::channel();
            let job = Job::BeginAnew { channel: channel.into(), rules: Arc::clone(rules), answer };
            self.jobs.as_ref()?.send(job).await.ok()?;
            answered.await.ok()
        };
        in_time(asked).await?
    }

    async fn read(&self, channel: &str, rules: &Arc<Rules>, from: &From, limit: usize) -> Read {
        self.table.read(channel, rules, from, limit)
    }

    async fn snapshot(
        &self,
        channel: &str,
        rules: &Arc<Rules>,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Snapshot {
        self.table.snapshot(channel, rules, cursor, limit)
    }

    fn subscribe(&self, channel: &str, rules: &Arc<Rules>) {
        self.table.subscribe(channel, rules);
    }

    fn unsubscribe(&self, channel: &str) {
        self.table.unsubscribe(channel);
    }
}

impl Drop for DiskBroker {
    /// Waits for what is being written.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // It has said on standard error why it gave up, if it did.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
