//! One connection that publishes: as fast as subscribers get it, or at a rate.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::{Client, Target};
use super::crowd::Seen;
use super::frames;
use super::payload;
use super::tongue::Tongue;

/// For a delivery, before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Publishes to channels by turns.
#[derive(Debug)]
pub(super) struct Publisher {
    client: Client,
    tongue: Tongue,
    channels: Vec<String>,
    payload_bytes: usize,
    published: u64,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn open(target: &Target, channels: &[String], payload_bytes: usize) -> Result<Self> {
        let client = Client::open(target, None, None).await.context("the publisher")?;
        let (tongue, channels) = (target.tongue, channels.to_vec());
        Ok(Self { client, tongue, channels, payload_bytes, published: 0 })
    }

    /// Publishes so that `in_flight` deliveries are under way, for as long as `duration`, then waits for the last.
    /// `each`: deliveries of one publication.
    ///
    /// # Errors
    /// A publication was refused, or deliveries do not come.
    pub(super) async fn saturate(
        &mut self,
        seen: &Seen,
        each: u64,
        in_flight: u64,
        duration: Duration,
    ) -> Result<()> {
        let end = Instant::now() + duration;
        let (first, in_flight) = (seen.delivered(), in_flight.max(each));
        let mut expected = 0;
        while Instant::now() < end {
            let under_way = expected - (seen.delivered() - first);
            let room = in_flight.saturating_sub(under_way) / each;
            if room == 0 {
                self.until(seen, first + expected + each - in_flight).await?;
                continue;
            }
            self.publish(room, seen.now()).await?;
            expected += room * each;
        }
        self.until(seen, first + expected).await
    }

    /// Publishes `per_second`, whatever becomes of it, for as long as `duration`, then waits for the last delivery.
    ///
    /// # Errors
    /// A publication was refused, or deliveries do not come.
    pub(super) async fn pace(
        &mut self,
        seen: &Seen,
        each: u64,
        per_second: f64,
        duration: Duration,
    ) -> Result<()> {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
        // Those that the timer missed are sent at once, or a busy machine would be asked less.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (first, end) = (seen.delivered(), Instant::now() + duration);
        let mut sent = 0;
        while Instant::now() < end {
            tokio::select! {
                _ = ticks.tick() => {
                    self.publish(1, seen.now()).await?;
                    sent += 1;
                }
                heard = hear(&mut self.client, self.tongue) => heard?,
            }
        }
        self.until(seen, first + sent * each).await
    }

    /// Publishes `per_second` for as long as it is polled; who gets it is not looked at.
    ///
    /// # Errors
    /// A publication was refused.
    pub(super) async fn flood(&mut self, per_second: f64) -> Result<()> {
        let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
        loop {
            tokio::select! {
                _ = ticks.tick() => self.publish(1, Duration::ZERO).await?,
                heard = hear(&mut self.client, self.tongue) => heard?,
            }
        }
    }

    async fn publish(&mut self, count: u64, now: Duration) -> Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.published += 1;
            let channel = &self.channels[self.published as usize % self.channels.len()];
            let payload = payload::write(now, self.payload_bytes);
            // The ids of `hello` are 1 and 2.
            let command = self.tongue.publish(self.published + 2, channel, &payload);
            frames::write(&mut bytes, self.tongue.opcode(), &command);
        }
        self.client.write(&bytes).await.context("the publisher")
    }

    /// Waits for deliveries, and hears what the server says meanwhile.
    async fn until(&mut self, seen: &Seen, delivered: u64) -> Result<()> {
        loop {
            tokio::select! {
                reached = seen.reached(delivered, PATIENCE) => return reached,
                heard = hear(&mut self.client, self.tongue) => heard?,
            }
        }
    }
}

/// Acknowledgements; cancel safe, for all is within one poll but pongs, which nobody waits for here.
async fn hear(client: &mut Client, tongue: Tongue) -> Result<()> {
    let mut refused = None;
    client
        .read(|message| {
            if tongue.is_refusal(message) {
                refused = Some(String::from_utf8_lossy(message).into_owned());
            }
        })
        .await
        .context("the publisher")?;
    match refused {
        Some(message) => bail!("a publication was refused: {message}"),
        None => Ok(()),
    }
}
