//! The issuer's keys behind a URL: fetched when they are first needed, again when they are old or a token names a key
//! that is not among them, and kept when their server cannot be reached.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use reqwest::Client;

use super::fault::TokenFault;
use super::jwt::Key;
use super::{keys, web};

/// Tokens wait for their keys no longer.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Issuers answer with 1 to 10 KiB.
const MAX_BYTES: usize = 256 * 1024;
/// Unknown keys make us ask no more often: anybody can name a key.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// After a failure with no keys at all.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Jwks {
    url: String,
    client: Client,
    refresh: Duration,
    set: ArcSwapOption<Set>,
    /// One request at a time; holds when the last one began, and whether it failed.
    asking: tokio::sync::Mutex<Asked>,
    /// The last failure that was told, so that each is told once.
    told: Mutex<Option<String>>,
}

#[derive(Debug)]
pub(super) struct Set {
    pub(super) keys: Vec<Key>,
    fetched: Instant,
}

#[derive(Debug, Default)]
struct Asked {
    last: Option<Instant>,
}

impl Jwks {
    pub(super) fn new(url: String, client: Client, refresh: Duration) -> Self {
        // Nodes that were started together do not ask together for ever.
        let refresh = refresh.mul_f64(0.9 + 0.2 * fastrand::f64());
        let (set, asking) = (ArcSwapOption::empty(), tokio::sync::Mutex::default());
        Self { url, client, refresh, set, asking, told: Mutex::default() }
    }

    /// The keys as they are known; fetched first if there are none, and beside it if they are old.
    pub(super) async fn keys(self: &Arc<Self>) -> Result<Arc<Set>, TokenFault> {
        let Some(set) = self.set.load_full() else {
            return self.newer_than(None, RETRY_AFTER).await;
        };
        if set.fetched.elapsed() > self.refresh {
            let own = Arc::clone(self);
            // Whoever asks meanwhile finds the lock taken and goes on with what there is.
            if let Ok(asking) = self.asking.try_lock()
                && is_due(&asking, ASK_AGAIN_AFTER.min(self.refresh))
            {
                drop(asking);
                tokio::spawn(async move { own.newer_than(Some(set.fetched), Duration::ZERO).await });
                return self.set.load_full().ok_or(TokenFault::Unavailable { retry_after: RETRY_AFTER });
            }
        }
        Ok(set)
    }

    /// The keys after another look, because `seen` lacks one; the same if somebody has looked lately.
    pub(super) async fn look_again(&self, seen: &Set) -> Result<Arc<Set>, TokenFault> {
        self.newer_than(Some(seen.fetched), ASK_AGAIN_AFTER).await
    }

    /// Fetches unless there is something newer than `seen` by now, or the last request began less than `pause` ago.
    async fn newer_than(&self, seen: Option<Instant>, pause: Duration) -> Result<Arc<Set>, TokenFault> {
        let mut asking = self.asking.lock().await;
        if let Some(set) = self.set.load_full()
            && seen.is_none_or(|seen| set.fetched > seen)
        {
            return Ok(set);
        }
        if is_due(&asking, pause) {
            asking.last = Some(Instant::now());
            match self.fetch().await {
                Ok(set) => {
                    self.tell(None);
                    self.set.store(Some(Arc::new(set)));
                }
                Err(fault) => self.tell(Some(fault)),
            }
        }
        self.set.load_full().ok_or(TokenFault::Unavailable { retry_after: RETRY_AFTER })
    }

    async fn fetch(&self) -> Result<Set, String> {
        let response = self.client.get(&self.url).header("accept", "application/json").send().await;
        let body = web::body(response.map_err(|error| web::told(&error))?, MAX_BYTES).await?;
        let (keys, passed_over) = keys::from_set(&body)?;
        tracing::debug!(url = self.url, keys = keys.len(), passed_over, "keys of tokens fetched");
        Ok(Set { keys, fetched: Instant::now() })
    }

    fn tell(&self, fault: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == fault {
            return;
        }
        match &fault {
            Some(fault) => {
                let kept = self.set.load().is_some();
                tracing::warn!(url = self.url, fault, kept, "keys of tokens cannot be fetched; tried again");
            }
            None => tracing::info!(url = self.url, "keys of tokens can be fetched again"),
        }
        *told = fault;
    }
}

fn is_due(asked: &Asked, pause: Duration) -> bool {
    asked.last.is_none_or(|last| last.elapsed() >= pause)
}
