#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::tests::load;

fn loaded(alerts: &str) -> Result<AlertsConfig, String> {
    let text = format!(
        "state_dir = \"/s\"\n[internal.pki]\n[[certificate]]\nname = \"web\"\nidentifiers = [\"a.example\"]\n{alerts}\n"
    );
    load(&text).map(|config| config.alerts).map_err(|error| error.to_string())
}

#[test]
fn receivers_are_named_and_have_defaults() {
    let alerts = loaded(
        "[alerts]\ninstance = \"edge-1\"\nsettle = \"1m\"\n[alerts.rates]\nexpired_per_minute = 9\n\
         [alerts.alertmanager.main]\nurl = \"http://am.monitoring.svc:9093\"\n\
         [alerts.pagerduty.ops]\nrouting_key_file = \"/etc/key\"\nmin_severity = \"critical\"\n\
         [alerts.webhook.hook]\nurl = \"https://hook.example/x\"\nsecret_file = \"/etc/secret\"\n",
    )
    .unwrap();
    assert_eq!((alerts.settle, alerts.repeat), (Duration::from_mins(1), Duration::from_mins(1)));
    assert_eq!((alerts.rates.resets_per_minute, alerts.rates.expired_per_minute), (60, 9));
    assert_eq!(alerts.alertmanager["main"].min_severity, MinSeverity::Warning);
    assert_eq!(alerts.pagerduty["ops"].url, PAGERDUTY);
    assert!(alerts.pagerduty["ops"].min_severity.takes(v1::Severity::Critical));
    assert!(!alerts.pagerduty["ops"].min_severity.takes(v1::Severity::Warning));
    assert!(MinSeverity::Info.takes(v1::Severity::Info) && !MinSeverity::Warning.takes(v1::Severity::Info));
}

#[test]
fn what_makes_no_sense_is_refused_by_key() {
    for (text, key, words) in [
        ("[alerts]\nsettle = \"25h\"", "alerts.settle", "24 hours"),
        ("[alerts]\nrepeat = \"5m\"", "alerts.repeat", "4 minutes"),
        ("[alerts]\nrepeat = \"500ms\"", "alerts.repeat", "1 second"),
        ("[alerts]\ninstance = \" \"", "alerts.instance", "empty"),
        ("[alerts]\nrunbook_url = \"docs\"", "alerts.runbook_url", "http or https"),
        ("[alerts.rates]\nresets_per_minute = 0", "alerts.rates.resets_per_minute", "at least 1"),
        ("[alerts.rates]\nreset_share = 1.5", "alerts.rates.reset_share", "from 0 to 1"),
        (
            "[alerts.alertmanager.main]\nurl = \"am:9093\"",
            "alerts.alertmanager.main.url",
            "http or https URL",
        ),
        (
            "[alerts.alertmanager.main]\nurl = \"http://am:9093\"\ntoken_file = \"/t\"",
            "alerts.alertmanager.main.url",
            "expected an https URL",
        ),
        (
            "[alerts.alertmanager.\"a b\"]\nurl = \"http://am:9093\"",
            "alerts.alertmanager.a b",
            "not a usable name",
        ),
        (
            "[alerts.pagerduty.ops]\nrouting_key_file = \"key\"",
            "alerts.pagerduty.ops.routing_key_file",
            "absolute",
        ),
        ("[alerts.pagerduty.ops]\n", "alerts.pagerduty.ops", "`routing_key_file` is missing"),
        (
            "[alerts.webhook.hook]\nurl = \"http://hook.example/T0K3N\"\nsecret_file = \"/s\"",
            "alerts.webhook.hook.url",
            "expected an https URL",
        ),
        (
            "[alerts.webhook.hook]\nurl = \"https://x/\"\nsecret = \"s\"",
            "alerts.webhook.hook.secret",
            "unknown key",
        ),
        (
            "[alerts.webhook.hook]\nurl = \"https://x/\"\nsecret_file = \"/s\"\nmin_severity = \"bad\"",
            "alerts.webhook.hook.min_severity",
            "critical",
        ),
    ] {
        let error = loaded(text).unwrap_err();
        assert!(error.contains(&format!(": {key}: ")) && error.contains(words), "{text}: {error}");
        assert!(!error.contains("T0K3N") && !error.contains('\n'), "{error}");
    }
}
