//! Many sessions on one channel: one publishes numbered publications, all count what they get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use serde_json::json;
use tokio::task::JoinSet;

use crate::eventually;
use crate::session::Session;

/// The channel of a load that names none.
const CHANNEL: &str = "load";

/// What the load has seen so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sessions that are open.
    pub open: AtomicU64,
    /// Sessions that were closed or cut.
    pub lost_sessions: AtomicU64,
    /// Publications that the node has acknowledged.
    pub published: AtomicU64,
    /// Publications received, over all sessions.
    pub received: AtomicU64,
    /// Publications that came late, twice, or after one that should have come later.
    pub disordered: AtomicU64,
}

/// Sessions under load until [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    /// What they saw.
    pub counts: Arc<Counts>,
    sessions: u64,
    stopping: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

/// What a load amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Sessions that were open from the start to the end.
    pub kept: u64,
    /// Publications acknowledged.
    pub published: u64,
    /// Deliveries that should have been and were not.
    pub lost: u64,
    /// Deliveries out of order or twice.
    pub disordered: u64,
}

impl Load {
    /// Opens `sessions` sessions and publishes one publication every `interval`.
    ///
    /// # Errors
    /// A session that cannot be opened.
    pub async fn start(
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        sessions: u64,
        interval: Duration,
    ) -> Result<Self> {
        Self::start_on(CHANNEL.to_owned(), address, tls, sessions, interval).await
    }

    /// As [`Load::start`], on a channel that no other load should use.
    ///
    /// # Errors
    /// A session that cannot be opened.
    pub async fn start_on(
        channel: String,
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        sessions: u64,
        interval: Duration,
    ) -> Result<Self> {
        let counts = Arc::<Counts>::default();
        let stopping = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for number in 1..=sessions {
            let mut session =
                Session::open(address, Arc::clone(tls)).await.with_context(|| format!("session {number}"))?;
            session.subscribe(&channel).await?;
            counts.open.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(read(session, Arc::clone(&counts), Arc::clone(&stopping)));
        }
        // The publisher is one more session, and not a subscriber: it reads acknowledgements only.
        let publisher = Session::open(address, Arc::clone(tls)).await.context("publisher")?;
        let (all, stop) = (Arc::clone(&counts), Arc::clone(&stopping));
        tasks.spawn(async move {
            let ended = publish(publisher, &channel, &all, &stop, interval).await;
            // Its session counts too: without it nothing would be published and nothing could be lost.
            if ended.is_err() && !stop.load(Ordering::Relaxed) {
                all.lost_sessions.fetch_add(1, Ordering::Relaxed);
            }
            ended
        });
        Ok(Self { counts, sessions, stopping, tasks })
    }

    /// Stops publishing, waits until everything published has arrived (or a while has passed), closes the
    /// sessions and sums up.
    pub async fn stop(mut self) -> Summary {
        self.stopping.store(true, Ordering::Relaxed);
        let expected = || self.counts.published.load(Ordering::Relaxed) * self.sessions;
        let settled = || self.counts.received.load(Ordering::Relaxed) >= expected();
        let waiting =
            eventually("all publications", Duration::from_secs(10), || async { settled().then_some(()) });
        // Whether they arrived is told by the sum.
        let _ = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        let received = self.counts.received.load(Ordering::Relaxed);
        let summary = Summary {
            kept: self.sessions - self.counts.lost_sessions.load(Ordering::Relaxed).min(self.sessions),
            published: self.counts.published.load(Ordering::Relaxed),
            lost: expected().saturating_sub(received),
            disordered: self.counts.disordered.load(Ordering::Relaxed),
        };
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        summary
    }
}

async fn read(mut session: Session, counts: Arc<Counts>, stopping: Arc<AtomicBool>) -> Result<()> {
    let mut expected = 1;
    let ended = loop {
        let message = match session.next().await {
            Ok(message) => message,
            Err(error) => break error,
        };
        let Some(number) = message["push"]["pub"]["data"]["n"].as_u64() else { continue };
        counts.received.fetch_add(1, Ordering::Relaxed);
        if number != expected {
            counts.disordered.fetch_add(1, Ordering::Relaxed);
        }
        expected = number + 1;
    };
    counts.open.fetch_sub(1, Ordering::Relaxed);
    if !stopping.load(Ordering::Relaxed) {
        counts.lost_sessions.fetch_add(1, Ordering::Relaxed);
    }
    Err(ended)
}

async fn publish(
    mut session: Session,
    channel: &str,
    counts: &Counts,
    stopping: &AtomicBool,
    interval: Duration,
) -> Result<()> {
    let mut number = 1;
    let mut ticks = tokio::time::interval(interval);
    while !stopping.load(Ordering::Relaxed) {
        ticks.tick().await;
        let data = json!({ "n": number, "pad": "x".repeat(96) });
        let id = session.publish(channel, data).await?;
        while session.next().await?["id"] != id {}
        counts.published.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    session.close().await;
    Ok(())
}
