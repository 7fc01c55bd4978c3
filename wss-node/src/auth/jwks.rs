//! The issuer's key set (RFC 7517), fetched by one task and read by all: the last good one is kept whatever happens to the
//! issuer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::asked::{Asked, Step};
use super::fault::TokenFault;
use super::issuer::{self, Http};
use super::keys::{Algorithm, KeySet};
use crate::counters::Counters;

/// For one fetch.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Key sets are a few KiB.
const MAX_SET_BYTES: usize = 256 * 1024;
/// The wait after a first failure; it doubles up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// An issuer that is back is noticed within this.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// When clients come back to a node that has no keys yet.
const NO_KEYS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A key set, as of the last good fetch.
#[derive(Debug)]
pub(super) struct Jwks {
    http: Http,
    refresh: Duration,
    state: watch::Sender<State>,
    /// Somebody needs a fetch now.
    wanted: Notify,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct State {
    set: Option<Arc<KeySet>>,
    /// Number of the last fetch that began.
    started: u64,
    /// Number of the last that ended.
    finished: u64,
    /// Whether that one brought keys.
    good: bool,
}

impl Jwks {
    pub(super) fn new(http: Http, refresh: Duration) -> Self {
        Self {
            http,
            refresh,
            state: watch::Sender::default(),
            wanted: Notify::new(),
            asked: Mutex::default(),
        }
    }

    /// The set, which has a key that may have signed such a token. One that nobody knows is asked for, now and then.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`]: the issuer has no such key. [`TokenFault::Unavailable`]: there is no set yet, or it was
    /// asked for too short a time ago to know.
    pub(super) async fn set_for(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<KeySet>, TokenFault> {
        let has = |set: &Arc<KeySet>| !set.candidates(kid, algorithm).is_empty();
        let mut state = self.state.subscribe();
        let (set, started, finished) = {
            let state = state.borrow();
            (state.set.clone(), state.started, state.finished)
        };
        let Some(set) = set else {
            return Err(TokenFault::Unavailable { retry_after: NO_KEYS_RETRY_AFTER });
        };
        if has(&set) {
            return Ok(set);
        }
        // Tokens without a name are checked by what is there: every forgery would be a reason to ask otherwise.
        let kid = kid.ok_or(TokenFault::UnknownKey)?;
        let fetch = match self.asked(|asked| asked.step(kid, started, finished, Instant::now())) {
            Step::Absent => return Err(TokenFault::UnknownKey),
            Step::Later(retry_after) => return Err(TokenFault::Unavailable { retry_after }),
            Step::Await { fetch, start } => {
                if start {
                    self.wanted.notify_one();
                }
                fetch
            }
        };
        let told = state.wait_for(|state| state.finished >= fetch);
        let unavailable = TokenFault::Unavailable { retry_after: super::asked::PAUSE };
        // It may have to wait for one that was under way.
        let told = tokio::time::timeout(2 * FETCH_TIMEOUT, told).await;
        let (set, good) = match told {
            Ok(Ok(state)) => (state.set.clone().filter(has), state.good),
            _ => return Err(unavailable),
        };
        match set {
            Some(set) => Ok(set),
            None if good => {
                self.asked(|asked| asked.is_absent(kid, Instant::now()));
                Err(TokenFault::UnknownKey)
            }
            None => Err(unavailable),
        }
    }

    fn asked<T>(&self, then: impl FnOnce(&mut Asked) -> T) -> T {
        then(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the set now, every `token.jwks_refresh`, and when somebody needs it, until the node stops.
    pub(super) async fn run(&self, counters: &Counters, stopping: &CancellationToken) {
        let mut failures = 0;
        let mut told = Told::default();
        loop {
            self.state.send_modify(|state| state.started += 1);
            let fetched = tokio::select! {
                fetched = self.fetch() => fetched,
                () = stopping.cancelled() => return,
            };
            match &fetched {
                Ok(set) => {
                    failures = 0;
                    Counters::add(&counters.jwks_fetched);
                    told.good(&self.http.shown(), set, counters);
                }
                Err(error) => {
                    failures += 1;
                    Counters::add(&counters.jwks_failed);
                    told.bad(&self.http.shown(), error);
                }
            }
            self.state.send_modify(|state| {
                state.finished = state.started;
                state.good = fetched.is_ok();
                state.set = fetched.ok().or_else(|| state.set.take());
            });
            tokio::select! {
                () = tokio::time::sleep(wait(failures, self.refresh, fastrand::f64())) => {}
                () = self.wanted.notified() => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn fetch(&self) -> Result<Arc<KeySet>, String> {
        let request = self.http.get().header(http::header::ACCEPT, "application/json");
        KeySet::of_jwks(&issuer::body(request, MAX_SET_BYTES).await?).map(Arc::new)
    }
}

/// Until the next fetch; `chance` in 0..1 spreads nodes that started together: by a tenth around the configured time, and
/// over the second half of a wait after failures.
fn wait(failures: u32, refresh: Duration, chance: f64) -> Duration {
    if failures == 0 {
        return refresh.mul_f64(0.9 + 0.2 * chance);
    }
    let doubled = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(MAX_RETRY).min(refresh).mul_f64(0.5 + 0.5 * chance)
}

/// What the log was told last, so that it is told of changes only.
#[derive(Default)]
struct Told {
    names: Option<Vec<Option<String>>>,
    failing: bool,
}

impl Told {
    fn good(&mut self, url: &str, set: &KeySet, counters: &Counters) {
        let names: Vec<_> = set.keys.iter().map(|key| key.kid.clone()).collect();
        if self.failing || self.names.as_ref() != Some(&names) {
            Counters::add_many(&counters.jwks_keys_skipped, set.skipped);
            tracing::info!(url, keys = names.len(), skipped = set.skipped, "token keys fetched");
        }
        self.names = Some(names);
        self.failing = false;
    }

    fn bad(&mut self, url: &str, error: &str) {
        if !self.failing {
            let without = self.names.is_none();
            let effect = if without { "no token can be checked" } else { "the last keys stay in use" };
            tracing::warn!(url, error, "token keys could not be fetched: {effect}; trying again");
        }
        self.failing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_soon_and_never_at_the_same_instant() {
        let refresh = Duration::from_mins(5);
        assert_eq!(wait(0, refresh, 0.5), refresh);
        assert!(wait(0, refresh, 0.0) < wait(0, refresh, 1.0));
        let waits: Vec<_> = (1..8).map(|failures| wait(failures, refresh, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(wait(u32::MAX, refresh, 0.0), Duration::from_secs(15));
        assert_eq!(wait(9, Duration::from_secs(2), 1.0), Duration::from_secs(2));
    }
}
