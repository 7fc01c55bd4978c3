//! From the hand-over of new material to the first handshake that sees it: one measurement, and the servers that it
//! is made on.

mod envoy;
mod haproxy;
mod nginx;
mod sds;
mod sealwire;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;

use crate::prober::{Handshakes, Leaf, Prober, Seen};

pub use envoy::Envoy;
pub use haproxy::Haproxy;
pub use nginx::Nginx;
pub use sealwire::Sealwire;

/// For a handshake to see what was pushed.
const LIMIT: Duration = Duration::from_secs(10);
/// Watched after the first handshake that saw the new leaf: some servers have two minds for a while.
const AFTERWARDS: Duration = Duration::from_millis(100);

/// A TLS server that takes new certificates while it serves.
#[async_trait]
pub trait Peer: Send {
    /// What it is called, with the way of the push.
    fn name(&self) -> &'static str;

    /// What makes handshakes with it.
    fn prober(&self) -> &Prober;

    /// Pushes a certificate that was never pushed before, and returns when the server (or what pushes to it) has
    /// said that all is well.
    ///
    /// # Errors
    /// The server refused, or does not answer in time.
    async fn push(&mut self) -> Result<Pushed>;
}

/// A push that is over.
#[derive(Clone, Copy, Debug)]
pub struct Pushed {
    /// When the material was ready to be handed over, in memory or on disk.
    pub ready: Instant,
    /// When the hand-over began.
    pub at: Instant,
    /// The leaf.
    pub leaf: Leaf,
}

impl Pushed {
    /// Of what was in memory.
    fn at_once(at: Instant, leaf: Leaf) -> Self {
        Self { ready: at, at, leaf }
    }
}

/// What handshakes saw of a push.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the hand-over to the end of the first handshake that saw the new leaf.
    pub to_first: Duration,
    /// The same from when the material was ready.
    pub from_ready: Duration,
    /// From the hand-over to the end of the last handshake that saw the old leaf; zero if it ended before.
    pub to_last_old: Duration,
    /// From one handshake to the next, right before the push: finer than this is not measured.
    pub period: Duration,
    /// Handshakes that failed meanwhile.
    pub failed: usize,
}

/// Pushes once, and watches by handshakes without a pause.
///
/// # Errors
/// The push failed, or its leaf was not seen in time.
pub async fn measure(peer: &mut dyn Peer) -> Result<Took> {
    let (handshakes, mut seen) = Handshakes::start(peer.prober(), 1);
    let mut all = Vec::new();
    // What is there before the push, and a loop that is at full speed.
    while all.len() < 3 {
        all.push(seen.recv().await.context("no handshakes")?);
    }
    let pushed = peer.push().await?;
    let end = Instant::now() + LIMIT;
    loop {
        let one = tokio::time::timeout_at(end.into(), seen.recv()).await;
        let one = one.ok().flatten();
        let is_new = one.as_ref().is_some_and(|one| one.leaf.as_ref() == Ok(&pushed.leaf));
        all.push(one.with_context(|| format!("the new leaf was not seen within {LIMIT:?}"))?);
        if is_new {
            break;
        }
        ensure!(Instant::now() < end, "the new leaf was not seen within {LIMIT:?}: {:?}", all.last());
    }
    tokio::time::sleep(AFTERWARDS).await;
    handshakes.stop().await;
    while let Some(one) = seen.recv().await {
        all.push(one);
    }
    judge(&all, pushed)
}

/// What the handshakes around a push amount to. Pure.
fn judge(all: &[Seen], pushed: Pushed) -> Result<Took> {
    let old = all.iter().find_map(|seen| seen.leaf.as_ref().ok()).copied();
    let old = old.filter(|old| *old != pushed.leaf).context("the new leaf was seen before it was pushed")?;
    let good = |leaf: Leaf| all.iter().filter(move |seen| seen.leaf.as_ref() == Ok(&leaf));
    let first = good(pushed.leaf).map(|seen| seen.ended).min().context("the new leaf was not seen")?;
    let last_old = good(old).map(|seen| seen.ended).max().unwrap_or(pushed.at);
    let since = |from: Instant| {
        first.checked_duration_since(from).context("the new leaf was seen before it was pushed")
    };
    let before: Vec<_> = all.iter().filter(|seen| seen.ended <= pushed.at).collect();
    let [.., one, next] = before[..] else { bail!("no two handshakes before the push") };
    Ok(Took {
        to_first: since(pushed.at)?,
        from_ready: since(pushed.ready)?,
        to_last_old: last_old.saturating_duration_since(pushed.at),
        period: next.started - one.started,
        failed: all.iter().filter(|seen| seen.leaf.is_err()).count(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OLD: Leaf = [1; 32];
    const NEW: Leaf = [2; 32];

    fn seen(base: Instant, from: u64, to: u64, leaf: Leaf) -> Seen {
        let at = |millis| base + Duration::from_millis(millis);
        Seen { started: at(from), ended: at(to), leaf: Ok(leaf) }
    }

    fn pushed(base: Instant, at: u64) -> Pushed {
        let at = base + Duration::from_millis(at);
        Pushed { ready: at - Duration::from_millis(1), at, leaf: NEW }
    }

    #[test]
    fn the_first_new_and_the_last_old_one_count() {
        let base = Instant::now();
        let mut all = vec![seen(base, 0, 1, OLD), seen(base, 3, 4, OLD), seen(base, 4, 12, NEW)];
        all.push(Seen { leaf: Err("cut".to_owned()), ..seen(base, 12, 13, OLD) });
        all.extend([seen(base, 13, 15, OLD), seen(base, 15, 17, NEW)]);
        let took = judge(&all, pushed(base, 5)).unwrap();
        let of = |duration: Duration| duration.as_millis();
        assert_eq!((of(took.to_first), of(took.from_ready), of(took.to_last_old)), (7, 8, 10));
        assert_eq!((of(took.period), took.failed), (3, 1));
    }

    #[test]
    fn what_cannot_be_is_no_measurement() {
        let base = Instant::now();
        let all = [seen(base, 0, 1, OLD), seen(base, 1, 2, OLD), seen(base, 2, 4, NEW)];
        assert!(judge(&all, Pushed::at_once(base + Duration::from_millis(3), NEW)).is_ok());
        assert!(judge(&all, pushed(base, 5)).is_err(), "seen before it was pushed");
        assert!(judge(&all[1..], pushed(base, 3)).is_err(), "one handshake makes no period");
        assert!(judge(&all[2..], pushed(base, 3)).is_err(), "not new");
        assert!(judge(&all[..2], pushed(base, 3)).is_err(), "never seen");
    }
}
