//! What a TLS handshake costs this node, as far as it has seen any.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Fewer are no measure: the first ones pay for cold caches.
const LEAST: u64 = 20;

/// Full handshakes that were seen, and the time that processors spent on them.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    handshakes: AtomicU64,
    nanos: AtomicU64,
}

impl Capacity {
    /// One more, which kept a processor busy for so long.
    pub(crate) fn handshake(&self, busy: Duration) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The mean; `None` before enough were seen.
    pub(crate) fn cost(&self) -> Option<Duration> {
        let handshakes = self.handshakes.load(Ordering::Relaxed);
        let nanos = self.nanos.load(Ordering::Relaxed).checked_div(handshakes)?;
        (handshakes >= LEAST).then(|| Duration::from_nanos(nanos))
    }
}

/// A future, and for how long it kept its thread busy: not while it waited for the other side.
#[derive(Debug)]
pub(crate) struct Timed<F> {
    inner: F,
    busy: Duration,
}

impl<F: Future + Unpin> Timed<F> {
    pub(crate) fn new(inner: F) -> Self {
        Self { inner, busy: Duration::ZERO }
    }

    /// Its result, or `None` at `end`; and how long it was busy.
    pub(crate) async fn until(mut self, end: tokio::time::Instant) -> (Option<F::Output>, Duration) {
        let result = tokio::time::timeout_at(end, &mut self).await.ok();
        (result, self.busy)
    }
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = Instant::now();
        let polled = Pin::new(&mut self.inner).poll(context);
        self.busy += began.elapsed();
        polled
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_needs_some_handshakes() {
        let capacity = Capacity::default();
        for _ in 1..LEAST {
            capacity.handshake(Duration::from_micros(100));
        }
        assert_eq!(capacity.cost(), None);
        capacity.handshake(Duration::from_micros(300));
        assert_eq!(capacity.cost(), Some(Duration::from_micros(110)));
    }

    fn after(millis: u64) -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn waiting_is_not_being_busy() {
        let work = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::thread::sleep(Duration::from_millis(5));
            7
        };
        let (result, busy) = Timed::new(Box::pin(work)).until(after(60_000)).await;
        assert_eq!(result, Some(7));
        assert!(busy >= Duration::from_millis(5), "{busy:?}");
        let (result, busy) = Timed::new(Box::pin(std::future::pending::<()>())).until(after(50)).await;
        assert!(result.is_none() && busy < Duration::from_millis(50), "{busy:?}");
    }
}
