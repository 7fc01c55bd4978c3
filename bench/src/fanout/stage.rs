//! A server, its subscribers and a publisher, and what is measured with them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::client::Target;
use super::crowd::{Crowd, guest};
use super::payload;
use super::peers::Server;
use super::publisher::Publisher;
use crate::cpu;

/// Before what counts: caches, and code that is compiled while it runs.
const WARM_UP: Duration = Duration::from_secs(2);
/// The channel of the guest.
const FLOODED: &str = "flooded";
/// Of a publication for the guest, and how many of them in a second: in two seconds more than a megabyte.
const FLOOD_BYTES: usize = 32 * 1024;
const FLOOD_PER_SECOND: f64 = 100.0;
/// Then the guest comes anew.
const STAY: Duration = Duration::from_secs(4);

/// How many listen to what.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Subscribers of each.
    pub subscribers: usize,
}

impl Shape {
    /// All subscribers.
    #[must_use]
    pub fn all(self) -> usize {
        self.channels * self.subscribers
    }
}

/// What a stretch of time amounts to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Deliveries in a second.
    pub per_second: f64,
    /// Processor time of the server for each delivery.
    pub server: Duration,
    /// Processor time of this process for each delivery.
    pub loader: Duration,
    /// Half of the deliveries came within this.
    pub p50: Duration,
    /// 99 of 100 did.
    pub p99: Duration,
}

/// All that is needed to measure.
pub struct Stage {
    server: Server,
    crowd: Crowd,
    publisher: Publisher,
    shape: Shape,
}

impl Stage {
    /// Opens the subscribers and the publisher, and warms up.
    ///
    /// # Errors
    /// One of them is not let in.
    pub async fn open(server: Server, shape: Shape) -> Result<Self> {
        let channels: Vec<String> = (0..shape.channels).map(|n| format!("fan{n}")).collect();
        let opened = async {
            let crowd = Crowd::open(&server.target, shape.all(), &channels).await?;
            let publisher = Publisher::open(&server.target, &channels, payload::BYTES).await?;
            anyhow::Ok((crowd, publisher))
        };
        let (crowd, publisher) = opened.await.with_context(|| format!("it says: {}", server.last_words()))?;
        let mut stage = Self { server, crowd, publisher, shape };
        stage.saturated(4, WARM_UP).await.context("warming up")?;
        Ok(stage)
    }

    /// Publishes as fast as subscribers get it: so many publications to a thousand are under way at any time, or as many
    /// deliveries of smaller or larger ones.
    ///
    /// # Errors
    /// A publication was refused, a delivery does not come, a subscriber is lost.
    pub async fn saturated(&mut self, thousands: u64, duration: Duration) -> Result<Run> {
        let each = self.shape.subscribers as u64;
        let before = self.begin()?;
        self.publisher.saturate(&self.crowd.seen, each, thousands * 1000, duration).await?;
        self.end(&before)
    }

    /// Publishes so that there are so many deliveries in a second.
    ///
    /// # Errors
    /// As [`Stage::saturated`].
    pub async fn paced(&mut self, per_second: f64, duration: Duration) -> Result<Run> {
        let each = self.shape.subscribers as u64;
        let before = self.begin()?;
        self.publisher.pace(&self.crowd.seen, each, per_second / each as f64, duration).await?;
        self.end(&before)
    }

    /// As [`Stage::paced`], beside a guest on a channel of its own that is sent 3.2 MB in a second, and reads them or not.
    ///
    /// # Errors
    /// As [`Stage::saturated`], or the guest is not let in.
    pub async fn beside_guest(&mut self, reads: bool, per_second: f64, duration: Duration) -> Result<Run> {
        let target = self.server.target.clone();
        tokio::select! {
            run = self.paced(per_second, duration) => run,
            error = guest(&target, FLOODED, reads, STAY) => Err(error.err().context("the guest left")?),
            error = flood(&target) => Err(error.err().context("the flood ended")?),
        }
    }

    /// Memory of the server, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.server.process().resident_bytes()
    }

    fn begin(&self) -> Result<Before> {
        let seen = &self.crowd.seen;
        seen.latencies().clear();
        let (server, loader) = self.times()?;
        Ok(Before { at: Instant::now(), delivered: seen.delivered(), server, loader })
    }

    fn end(&mut self, before: &Before) -> Result<Run> {
        self.crowd.is_whole()?;
        let elapsed = before.at.elapsed();
        let (server, loader) = self.times()?;
        let seen = &self.crowd.seen;
        let deliveries = (seen.delivered() - before.delivered).max(1) as f64;
        Ok(Run {
            per_second: deliveries / elapsed.as_secs_f64(),
            server: (server - before.server).div_f64(deliveries),
            loader: (loader - before.loader).div_f64(deliveries),
            p50: seen.latencies().at(0.5),
            p99: seen.latencies().at(0.99),
        })
    }

    fn times(&self) -> Result<(Duration, Duration)> {
        Ok((cpu::of(self.server.process().pid())?, cpu::of(std::process::id())?))
    }
}

/// When a stretch began, and what had been until then.
struct Before {
    at: Instant,
    delivered: u64,
    server: Duration,
    loader: Duration,
}

async fn flood(target: &Target) -> Result<()> {
    let channels = [FLOODED.to_owned()];
    let mut publisher = Publisher::open(target, &channels, FLOOD_BYTES).await?;
    publisher.flood(FLOOD_PER_SECOND).await
}
