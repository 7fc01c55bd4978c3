//! Many subscribers, what they got and how late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::client::{Client, Target};
use super::histogram::Histogram;
use super::payload;

/// Connections that are opened at the same time.
const OPENING: usize = 32;

/// What all subscribers of a crowd have seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The beginning of the clock that payloads are stamped with.
    base: Instant,
    delivered: AtomicU64,
    /// Told whenever so many more have been delivered.
    step: u64,
    progress: Notify,
    latencies: Histogram,
}

impl Seen {
    fn new(step: u64) -> Self {
        let (delivered, progress) = (AtomicU64::new(0), Notify::new());
        Self { base: Instant::now(), delivered, step, progress, latencies: Histogram::default() }
    }

    /// Now, on the clock of payloads.
    #[must_use]
    pub(super) fn now(&self) -> Duration {
        self.base.elapsed()
    }

    /// Payloads that came so far.
    #[must_use]
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How late they came.
    #[must_use]
    pub(super) fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// Waits until at least so many have come.
    ///
    /// # Errors
    /// They have not within `limit`.
    pub(super) async fn reached(&self, count: u64, limit: Duration) -> Result<()> {
        let reached = async {
            while self.delivered() < count {
                self.progress.notified().await;
            }
        };
        tokio::time::timeout(limit, reached).await.with_context(|| {
            format!("{} of {count} deliveries have come, and no more within {limit:?}", self.delivered())
        })
    }

    fn take(&self, message: &[u8], now: Duration) {
        let mut count = 0;
        payload::find(message, |sent| {
            count += 1;
            if let Some(sent) = sent {
                self.latencies.add(now.saturating_sub(sent));
            }
        });
        let before = self.delivered.fetch_add(count, Ordering::Relaxed);
        if before / self.step != (before + count) / self.step {
            self.progress.notify_one();
        }
    }
}

/// Subscribers until they are dropped.
#[derive(Debug)]
pub(super) struct Crowd {
    tasks: JoinSet<Result<()>>,
    /// What they saw.
    pub(super) seen: Arc<Seen>,
}

impl Crowd {
    /// Opens `count` subscribers, spread evenly over `channels`.
    ///
    /// # Errors
    /// One is not let in.
    pub(super) async fn open(target: &Target, count: usize, channels: &[String]) -> Result<Self> {
        let seen = Arc::new(Seen::new((count / channels.len()).max(1) as u64));
        let opening = stream::iter(0..count).map(|n| {
            let channel = &channels[n % channels.len()];
            async move { Client::open(target, Some(channel), None).await.context("a subscriber") }
        });
        let clients: Vec<Client> = opening.buffer_unordered(OPENING).try_collect().await?;
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(listen(client, Arc::clone(&seen)));
        }
        Ok(Self { tasks, seen })
    }

    /// All are there still.
    ///
    /// # Errors
    /// One is not, with what happened to it.
    pub(super) fn is_whole(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => ended?.context("a subscriber was lost"),
        }
    }
}

async fn listen(mut client: Client, seen: Arc<Seen>) -> Result<()> {
    loop {
        client.read(|message| seen.take(message, seen.now())).await?;
    }
}

/// Subscribes and never reads, or reads and throws away; comes anew every `stay`. For as long as it is polled.
///
/// # Errors
/// It is not let in.
pub(super) async fn guest(target: &Target, channel: &str, reads: bool, stay: Duration) -> Result<()> {
    /// The least that the system allows: what it cannot take waits in the server.
    const SMALL: u32 = 4096;
    loop {
        let mut client = Client::open(target, Some(channel), Some(SMALL)).await.context("the guest")?;
        if !reads {
            tokio::time::sleep(stay).await;
            continue;
        }
        let reading = async {
            loop {
                if let Err(error) = client.read(|_| {}).await {
                    break error;
                }
            }
        };
        if let Ok(error) = tokio::time::timeout(stay, reading).await {
            bail!("the guest that reads was sent away: {error}");
        }
    }
}
