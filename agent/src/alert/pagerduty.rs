//! PagerDuty's Events API v2: `trigger` and `resolve` of an event that the incident's id tells apart
//! (<https://developer.pagerduty.com/docs/send-alert-event>).

use jiff::Timestamp;
use serde_json::json;

use super::message::{Message, Origin, instant, severity};
use super::request::{Form, Request, SecretFile};
use crate::incident::book::Event;

/// Longest `payload.summary`, in characters.
const MAX_SUMMARY: usize = 1024;

/// One integration.
pub(super) struct Pagerduty {
    url: String,
    routing_key: SecretFile,
}

impl Pagerduty {
    /// Events go to `url`.
    pub(super) fn new(url: &str, routing_key: SecretFile) -> Self {
        Self { url: url.to_owned(), routing_key }
    }
}

impl Form for Pagerduty {
    fn request(&self, origin: &Origin, message: &Message, _: Timestamp) -> Result<Request, String> {
        let incident = &message.incident;
        let kind = incident.kind;
        let action = match message.event {
            Event::Opened => "trigger",
            Event::Resolved => "resolve",
        };
        let summary = format!("{}: {}: {}", kind.as_str(), incident.about, incident.text);
        let mut event = json!({
            "routing_key": *self.routing_key.read()?,
            "event_action": action,
            "dedup_key": incident.id,
            "client": "sealwire",
            "payload": {
                "summary": summary.chars().take(MAX_SUMMARY).collect::<String>(),
                "source": origin.instance,
                "severity": severity(kind),
                "timestamp": instant(incident.since),
                "component": incident.about,
                "group": "sealwire",
                "class": kind.as_str(),
                "custom_details": {
                    "text": incident.text,
                    "advice": kind.advice(),
                    "runbook": origin.runbook(kind),
                    "count": incident.count,
                },
            },
        });
        if origin.runbook_url.is_some() {
            event["links"] = json!([{ "href": origin.runbook(kind), "text": "What to do" }]);
        }
        Ok(Request::new(&self.url, &event))
    }

    fn check(&self) -> Result<(), String> {
        self.routing_key.read().map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::message::tests::{at, message, origin};
    use super::super::request::tests::{body, secret};
    use super::*;

    #[test]
    fn what_was_triggered_is_resolved_by_the_same_key() {
        let (file, _dir) = secret("R0UT1NG");
        let form = Pagerduty::new("https://events.example/v2/enqueue", file);
        let opened = form.request(&origin(), &message("a1", Event::Opened), at(0)).unwrap();
        assert_eq!(opened.url, "https://events.example/v2/enqueue");
        let opened = body(&opened);
        let action = (opened["event_action"].as_str(), opened["dedup_key"].as_str());
        assert_eq!(action, (Some("trigger"), Some("a1")));
        assert_eq!(opened["routing_key"], "R0UT1NG");
        let payload = &opened["payload"];
        assert_eq!(payload["summary"], "expires_soon: web: 7 hours are left");
        assert_eq!((&payload["severity"], &payload["source"]), (&"warning".into(), &"edge-1".into()));
        assert_eq!(payload["timestamp"], "1970-01-01T00:16:40.000Z");
        assert!(opened["links"].is_null(), "no link without a URL");
        let resolved = body(&form.request(&origin(), &message("a1", Event::Resolved), at(0)).unwrap());
        let action = (resolved["event_action"].as_str(), resolved["dedup_key"].as_str());
        assert_eq!(action, (Some("resolve"), Some("a1")));
    }

    #[test]
    fn summaries_are_as_long_as_they_may_be() {
        let (file, _dir) = secret("k");
        let mut long = message("a1", Event::Opened);
        long.incident.text = "ä".repeat(3000);
        let origin = Origin { runbook_url: Some("https://wiki.example/s".to_owned()), ..origin() };
        let event = body(&Pagerduty::new("https://x/", file).request(&origin, &long, at(0)).unwrap());
        assert_eq!(event["payload"]["summary"].as_str().unwrap().chars().count(), MAX_SUMMARY);
        assert_eq!(event["links"][0]["href"], "https://wiki.example/s#expires_soon");
    }

    #[test]
    fn without_its_key_nothing_is_sent() {
        let form = Pagerduty::new("https://x/", SecretFile("/nowhere/key".into()));
        assert!(form.check().unwrap_err().contains("/nowhere/key"));
        assert!(form.request(&origin(), &message("a1", Event::Opened), at(0)).is_err());
    }
}
