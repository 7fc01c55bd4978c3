//! One receiver: its messages one after the other, each until it is taken or can never be. A task of its own, so that
//! one that is down delays nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attempt::{Answer, Verdict, judge, wait};
use super::health::Health;
use super::message::Origin;
use super::request::{Form, Request};
use super::spool::Spool;
use super::transport::Transport;
use crate::clock::Clock;
use crate::incident::Incident;

/// A secret that cannot be used is looked at again this often while nothing waits.
const CHECK_AGAIN: Duration = Duration::from_secs(30);

/// What the loop and the task of a receiver have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// As in the configuration: `alertmanager.main`.
    pub(super) name: String,
    pub(super) spool: Spool,
    health: Mutex<Health>,
}

impl Shared {
    pub(super) fn new(name: String, spool: Spool) -> Self {
        Self { name, spool, health: Mutex::default() }
    }

    /// How it is.
    pub(super) fn health(&self) -> Health {
        self.with(|health| health.clone())
    }

    /// A message was given up.
    pub(super) fn dropped(&self, why: String) {
        tracing::error!(receiver = self.name, why, "an alert was given up");
        self.with(|health| health.dropped(Instant::now(), why));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The task of one receiver.
pub(super) struct Receiver {
    pub(super) shared: Arc<Shared>,
    pub(super) form: Box<dyn Form>,
    pub(super) transport: Box<dyn Transport>,
    pub(super) origin: Arc<Origin>,
    pub(super) clock: Arc<dyn Clock>,
    /// Makes its waits differ from another's.
    pub(super) seed: u64,
    /// What it takes for open.
    pub(super) open: watch::Receiver<Arc<[Incident]>>,
    /// How often it is told again of what is open.
    pub(super) repeat: Duration,
}

/// When to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There may be more to do.
    Now,
    /// After a failure; new messages wait as well, for their order counts.
    After(Duration),
    /// When a message comes in, or after that.
    Idle(Duration),
}

impl Receiver {
    /// Sends until `stop`. What is under way then is sent again after the restart.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut repeated = None;
        let work = async {
            loop {
                match self.turn(&mut repeated).await {
                    Next::Now => {}
                    Next::After(pause) => tokio::time::sleep(pause).await,
                    Next::Idle(pause) => {
                        // Whichever it is, the next turn looks.
                        let _ = tokio::time::timeout(pause, self.shared.spool.added()).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Sends one message, or repeats what is open. `repeated` is when it did so last.
    pub(super) async fn turn(&self, repeated: &mut Option<Instant>) -> Next {
        let now = self.clock.now();
        let spool = &self.shared.spool;
        if let Some((number, message)) = spool.expired(now) {
            self.shared.dropped(format!("{} has waited for too long", message.id()));
            self.remove(number);
            return Next::Now;
        }
        if let Some((number, message)) = spool.first() {
            let request = self.form.request(&self.origin, &message, now);
            return match self.send(request).await {
                Verdict::Sent => {
                    tracing::info!(receiver = self.shared.name, message = message.id(), "alert sent");
                    self.shared.with(Health::good);
                    self.remove(number);
                    Next::Now
                }
                Verdict::Again { why, asked } => self.again(&why, asked),
                Verdict::Never(why) => {
                    self.shared.dropped(format!("{}: {why}", message.id()));
                    self.remove(number);
                    Next::Now
                }
            };
        }
        let checked = self.form.check();
        let usable = checked.is_ok();
        self.shared.with(|health| health.checked(checked));
        if usable { self.repeat(repeated).await } else { Next::Idle(CHECK_AGAIN) }
    }

    async fn repeat(&self, repeated: &mut Option<Instant>) -> Next {
        let left = repeated.map_or(Duration::ZERO, |last| self.repeat.saturating_sub(last.elapsed()));
        if !left.is_zero() {
            return Next::Idle(left);
        }
        let open = Arc::clone(&self.open.borrow());
        *repeated = Some(Instant::now());
        if open.is_empty() {
            self.shared.with(Health::idle);
            return Next::Idle(self.repeat);
        }
        let request = match self.form.repeat(&self.origin, &open) {
            Ok(Some(request)) => Ok(request),
            Ok(None) => return Next::Idle(self.repeat),
            Err(why) => Err(why),
        };
        match self.send(request).await {
            Verdict::Sent => {
                self.shared.with(Health::good);
                Next::Idle(self.repeat)
            }
            Verdict::Again { why, asked } => {
                self.again(&why, asked);
                Next::Idle(self.repeat)
            }
            Verdict::Never(why) => {
                self.shared.with(|health| health.failed(Instant::now(), why));
                Next::Idle(self.repeat)
            }
        }
    }

    async fn send(&self, request: Result<Request, String>) -> Verdict {
        judge(match request {
            Ok(request) => self.transport.post(request).await,
            Err(why) => Answer::NotSent(why),
        })
    }

    fn again(&self, why: &str, asked: Option<Duration>) -> Next {
        let failures = self.shared.with(|health| {
            health.failed(Instant::now(), why.to_owned());
            health.failures
        });
        let wait = wait(failures, asked, self.seed);
        let waiting = self.shared.spool.len();
        tracing::warn!(receiver = self.shared.name, why, failures, waiting, ?wait, "an alert was not taken");
        Next::After(wait)
    }

    fn remove(&self, number: u64) {
        if let Err(error) = self.shared.spool.remove(number) {
            tracing::warn!(receiver = self.shared.name, %error, "an alert would be sent again after a restart");
        }
    }
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
