//! Whether the servers flush each write: only then does what was acknowledged survive a power cut of all of them.

use std::time::Duration;

use serde_json::Value;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the monitoring of each server. `None`: not known, because none is named or one does not say.
pub(super) async fn all_flush(monitors: &[String]) -> Option<bool> {
    if monitors.is_empty() {
        return None;
    }
    let client = reqwest::Client::builder().timeout(PATIENCE).build().ok()?;
    let mut all = Some(true);
    for monitor in monitors {
        let flushes = match ask(&client, monitor).await {
            Ok(flushes) => flushes,
            Err(error) => {
                tracing::warn!(monitor, %error, "the monitoring of a NATS server does not answer");
                None
            }
        };
        // One that does not flush is enough to know.
        all = match (all, flushes) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
    }
    all
}

async fn ask(client: &reqwest::Client, monitor: &str) -> Result<Option<bool>, reqwest::Error> {
    let answer = client.get(format!("{monitor}/varz")).send().await?.error_for_status()?;
    Ok(flushes(&answer.json().await?))
}

/// What `/varz` says; `None`: there is no JetStream.
fn flushes(varz: &Value) -> Option<bool> {
    let config = varz.pointer("/jetstream/config")?;
    Some(config.get("sync_always").and_then(Value::as_bool).unwrap_or(false))
}

/// Says in the log what an acknowledgement is worth.
pub(super) fn say(flush: Option<bool>) {
    match flush {
        Some(true) => tracing::info!(
            "acknowledged publications survive a power cut of all NATS servers (sync_interval: always)"
        ),
        Some(false) => tracing::warn!(
            "acknowledged publications survive the loss of a NATS server, but the last ones not a power cut of all: \
             set jetstream.sync_interval to always on each server to change that"
        ),
        None => tracing::warn!(
            "it is not known whether the NATS servers flush each write: name their monitoring in broker.nats.monitors"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_whether_they_flush() {
        for (varz, expected) in [
            (
                r#"{"jetstream": {"config": {"sync_interval": 120000000000, "sync_always": true}}}"#,
                Some(true),
            ),
            (r#"{"jetstream": {"config": {"sync_interval": 120000000000}}}"#, Some(false)),
            (r#"{"jetstream": {}}"#, None),
            (r#"{"port": 4222}"#, None),
        ] {
            assert_eq!(flushes(&serde_json::from_str(varz).expect("JSON")), expected, "{varz}");
        }
    }
}
