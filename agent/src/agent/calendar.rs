//! Wakes the loop when a maintenance window opens. The lifecycle computes the dates itself and needs nobody
//! to wake it on time; this keeps a window that opens after a step of the clock or a change of summer time
//! from being noticed late. Only jobs made from cron expressions: tokio-cron-scheduler loses others when the
//! runtime stalls (docs/architecture.md).

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::config::Config;

/// The scheduler; nothing at all when no windows are configured.
pub(super) struct Calendar(Option<JobScheduler>);

impl Calendar {
    pub(super) async fn stop(&mut self) {
        if let Some(scheduler) = &mut self.0
            && let Err(error) = scheduler.shutdown().await
        {
            tracing::debug!(%error, "the scheduler did not stop");
        }
    }
}

/// Starts it; each opening of a window is sent.
///
/// # Errors
/// What the scheduler says.
pub(super) async fn start(config: &Config) -> Result<(Calendar, mpsc::Receiver<()>), String> {
    let windows = config.certificates.iter().filter_map(|certificate| certificate.maintenance.as_ref());
    let opens: BTreeSet<(String, String)> = windows
        .flat_map(|window| window.opens.iter().map(|open| (open.clone(), window.timezone.clone())))
        .collect();
    // One tick is as good as several.
    let (sender, ticks) = mpsc::channel(1);
    if opens.is_empty() {
        return Ok((Calendar(None), ticks));
    }
    let text = |error: tokio_cron_scheduler::JobSchedulerError| error.to_string();
    let scheduler = JobScheduler::new().await.map_err(text)?;
    for (open, timezone) in opens {
        let sender = sender.clone();
        let zone: chrono_tz::Tz =
            timezone.parse().map_err(|error| format!("timezone {timezone}: {error}"))?;
        // Seconds come first here.
        let job = Job::new_tz(format!("0 {open}").as_str(), zone, move |_, _| {
            let _ = sender.try_send(());
        });
        scheduler.add(job.map_err(text)?).await.map_err(text)?;
    }
    scheduler.start().await.map_err(text)?;
    Ok((Calendar(Some(scheduler)), ticks))
}
