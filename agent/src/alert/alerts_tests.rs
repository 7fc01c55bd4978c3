#![allow(clippy::unwrap_used)]

use super::message::tests::{at, message};
use super::*;
use crate::clock::SystemClock;

/// Receivers at addresses where nobody listens: everything stays in the spool.
fn config() -> AlertsConfig {
    let at = |name: &str| format!("http://127.0.0.1:1/{name}");
    let mut config = AlertsConfig::default();
    let alertmanager = crate::config::AlertmanagerConfig {
        url: at("am"),
        ca_file: None,
        token_file: None,
        min_severity: MinSeverity::Info,
    };
    config.alertmanager.insert("main".to_owned(), alertmanager);
    let webhook = crate::config::WebhookConfig {
        url: at("hook"),
        secret_file: "/nowhere".into(),
        ca_file: None,
        min_severity: MinSeverity::Critical,
    };
    config.webhook.insert("hook".to_owned(), webhook);
    config
}

fn start(config: &AlertsConfig, dir: &Path) -> (Alerts, CancellationToken) {
    sealwire_proto::install_crypto_provider();
    let stop = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    (Alerts::start(config, dir, &clock, 1, &[], &stop).unwrap(), stop)
}

fn incident(kind: Kind, about: &str) -> (Incident, Event) {
    let about = about.to_owned();
    let id = format!("{kind:?}");
    (Incident { id, kind, about, ..message("", Event::Opened).incident }, Event::Opened)
}

#[tokio::test]
async fn each_receiver_hears_what_is_grave_enough_but_not_of_its_own_failing() {
    let dir = tempfile::tempdir().unwrap();
    let (alerts, stop) = start(&config(), dir.path());
    let news = [
        incident(Kind::CaRotation, "pki"),
        incident(Kind::Expired, "web"),
        incident(Kind::AlertsUnsent, "alertmanager.main"),
    ];
    let open: Vec<_> = news.iter().map(|(incident, _)| incident.clone()).collect();
    alerts.tell(&open, &news, Timestamp::now()).unwrap();
    assert_eq!(
        alerts.unsent(),
        BTreeMap::from([("alertmanager.main".to_owned(), 2), ("webhook.hook".to_owned(), 1)])
    );
    let heard: Vec<_> = alerts.receivers.iter().map(|towards| towards.open.borrow().len()).collect();
    assert_eq!(heard, [2, 1]);
    // Told again after a crash: it waits already.
    alerts.tell(&open, &news, Timestamp::now()).unwrap();
    assert_eq!(alerts.unsent()["alertmanager.main"], 2);
    stop.cancel();
}

#[tokio::test]
async fn what_waits_survives_a_restart_and_receivers_that_are_gone_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (alerts, stop) = start(&config(), dir.path());
    alerts.tell(&[], &[incident(Kind::Expired, "web")], Timestamp::now()).unwrap();
    stop.cancel();
    let mut config = config();
    config.webhook.clear();
    let (alerts, stop) = start(&config, dir.path());
    assert_eq!(alerts.unsent(), BTreeMap::from([("alertmanager.main".to_owned(), 1)]));
    assert!(!dir.path().join("webhook.hook").exists());
    stop.cancel();
}

#[tokio::test]
async fn a_receiver_without_its_secret_is_in_trouble_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (alerts, stop) = start(&config(), dir.path());
    let end = Instant::now() + std::time::Duration::from_secs(30);
    let trouble = loop {
        let troubles = alerts.troubles(Instant::now());
        assert_eq!(troubles[0], Trouble { receiver: "alertmanager.main".to_owned(), text: None });
        if let Some(text) = &troubles[1].text {
            break text.clone();
        }
        assert!(Instant::now() < end, "{troubles:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert!(trouble.contains("/nowhere does not exist"), "{trouble}");
    stop.cancel();
}

#[test]
fn a_full_spool_makes_room_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::new("webhook.hook".to_owned(), Spool::open(dir.path()).unwrap()));
    let towards =
        Towards { takes: MinSeverity::Info, shared: Arc::clone(&shared), open: watch::Sender::default() };
    let alerts = Alerts { receivers: vec![towards] };
    let news: Vec<_> = (0..=spool::MOST_WAITING)
        .map(|number| (message(&number.to_string(), Event::Opened).incident, Event::Opened))
        .collect();
    alerts.tell(&[], &news, at(0)).unwrap();
    assert_eq!(alerts.unsent()["webhook.hook"], spool::MOST_WAITING as u64);
    let text = alerts.troubles(Instant::now())[0].text.clone().unwrap();
    assert!(text.contains("0-opened made room"), "{text}");
}
