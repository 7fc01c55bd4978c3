//! The agent dies at any effect on the disk between an incident and its message.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::alert::SPOOL;
use crate::clock::{Clock, SystemClock};
use crate::config::WebhookConfig;
use crate::store::faults;

const SETTLE: Duration = Duration::from_mins(5);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A webhook that nobody answers; its task does not run, for nothing is awaited.
fn config() -> AlertsConfig {
    let webhook = WebhookConfig {
        url: "http://127.0.0.1:1/".to_owned(),
        secret_file: "/nowhere".into(),
        ca_file: None,
        min_severity: crate::config::MinSeverity::Info,
    };
    AlertsConfig { webhook: [("hook".to_owned(), webhook)].into(), settle: SETTLE, ..AlertsConfig::default() }
}

/// As at the start of an agent.
fn start(store: &Store) -> Incidents {
    let config = config();
    let mut incidents = Incidents::load(store, &config, 7).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stop = CancellationToken::new();
    let dir = store.dir().join(SPOOL);
    let alerts = Alerts::start(&config, &dir, &clock, 7, &incidents.current(), &stop).unwrap();
    incidents.tell(alerts);
    incidents
}

/// Events and ids of the messages on disk, in their order.
fn messages(dir: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join(SPOOL).join("webhook.hook"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let message = |path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    files.iter().map(message).map(|one| (text(&one["event"]), text(&one["incident"]["id"]))).collect()
}

#[tokio::test]
async fn whenever_it_dies_each_incident_is_told_once_in_order() {
    sealwire_proto::install_crypto_provider();
    for crash_at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let store = Store::open(&state).unwrap();
        let mut incidents = start(&store);
        let traced = faults::crash_at(crash_at);
        incidents.raise(Kind::Expired, "web", at(0), "expired".to_owned());
        incidents.keep(&store, at(0), false);
        incidents.clear(Kind::Expired, "web", at(10));
        incidents.keep(&store, at(10), false);
        incidents.keep(&store, at(400), false);
        let (effects, survived) = (faults::seen(), crash_at >= faults::seen());
        traced.end();
        drop(incidents);

        // After the restart what is wrong is found out anew, if the book has not kept it.
        let mut incidents = start(&store);
        if incidents.all().is_empty() {
            incidents.raise(Kind::Expired, "web", at(500), "expired".to_owned());
        }
        incidents.keep(&store, at(500), false);
        incidents.clear(Kind::Expired, "web", at(510));
        incidents.keep(&store, at(510), false);
        incidents.keep(&store, at(1000), true);
        let all = incidents.all();
        assert_eq!(all.len(), 1, "{crash_at} of {effects}: {all:?}");
        let id = all[0].id.clone();
        let expected = ["opened", "resolved"].map(|event| (event.to_owned(), id.clone()));
        assert_eq!(messages(&state), expected, "{crash_at} of {effects}");
        if survived {
            assert!(effects > 15, "every step was died at: {effects}");
            break;
        }
    }
}

#[tokio::test]
async fn counts_are_written_once_in_a_while_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    let mut incidents = Incidents::load(&store, &AlertsConfig::default(), 7).unwrap();
    let count =
        || Incidents::load(&store, &AlertsConfig::default(), 7).unwrap().all().first().map(|one| one.count);
    incidents.raise(Kind::Expired, "web", at(0), "one".to_owned());
    incidents.keep(&store, at(0), false);
    assert_eq!(count(), Some(1));
    let traced = faults::crash_at(usize::MAX);
    for second in 1..100 {
        incidents.raise(Kind::Expired, "web", at(second), format!("{second}"));
        incidents.keep(&store, at(second), false);
    }
    assert_eq!(traced.end(), [], "not a write for each");
    assert!(incidents.wake(at(100)).unwrap() <= SAVE_UPDATES_EVERY);
    incidents.keep(&store, at(100), true);
    assert_eq!(count(), Some(100));
}

#[test]
fn what_is_quoted_is_fit_for_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    let mut incidents = Incidents::load(&store, &AlertsConfig::default(), 7).unwrap();
    incidents.raise(Kind::BreakerOpen, "n", at(0), "a\n2026 INFO forged\u{1b}[31m".to_owned());
    assert!(incidents.says(Kind::BreakerOpen, "n", "a 2026 INFO forged [31m"));
    assert!(!incidents.says(Kind::BreakerOpen, "m", "a 2026 INFO forged [31m"));
}
