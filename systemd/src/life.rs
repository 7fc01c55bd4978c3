//! Signs of life: whoever does the work is asked at intervals, and only its answer becomes a word to the manager.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Notifier;

/// Without a watchdog the status is refreshed this often.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// A sign of life comes this many times within the manager's patience: one that is late is not yet the end.
const PER_PATIENCE: u32 = 4;

/// Whoever does the work.
pub trait Life: Send {
    /// Comes back with one line for people once the work has taken a turn; never comes back when it is stuck.
    fn turn(&mut self) -> impl Future<Output = String> + Send;
}

/// Asks for a turn at intervals and passes on each answer; tells the status when it has changed. Without anybody who
/// listens it ends at once, otherwise never.
pub async fn watch(notifier: &Notifier, mut life: impl Life) {
    if !notifier.is_heard() {
        return;
    }
    let patience = notifier.patience();
    let every = patience.map_or(STATUS_EVERY, |patience| (patience / PER_PATIENCE).min(STATUS_EVERY));
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let turn = life.turn();
        let status = match patience {
            Some(patience) => match timeout(patience, turn).await {
                Ok(status) => status,
                Err(_) => {
                    let waited = asked.elapsed().as_secs_f32();
                    tracing::error!(waited_s = waited, "stuck: no sign of life goes to the service manager");
                    continue;
                }
            },
            None => turn.await,
        };
        if patience.is_some() {
            notifier.alive();
        }
        if status != told {
            notifier.status(&status);
            told = status;
        }
    }
}
