//! Alertmanager's API v2: `POST /api/v2/alerts` with a list of alerts
//! (<https://prometheus.io/docs/alerting/latest/alerts_api/>). Its labels are what an alert is told apart by, so they
//! hold nothing that changes; it forgets what is not repeated within its `resolve_timeout`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::message::{Message, Origin, instant, severity};
use super::request::{Form, Request, SecretFile};
use crate::incident::{Incident, Kind};

const PATH: &str = "/api/v2/alerts";

/// One Alertmanager.
pub(super) struct Alertmanager {
    url: String,
    token: Option<SecretFile>,
}

impl Alertmanager {
    /// Below that URL, with that bearer token.
    pub(super) fn new(url: &str, token: Option<SecretFile>) -> Self {
        Self { url: format!("{}{PATH}", url.trim_end_matches('/')), token }
    }

    fn post(&self, alerts: Vec<Value>) -> Result<Request, String> {
        let request = Request::new(&self.url, &Value::Array(alerts));
        match &self.token {
            Some(file) => {
                let token = file.read()?;
                request.header("authorization", &zeroize::Zeroizing::new(format!("Bearer {}", *token)))
            }
            None => Ok(request),
        }
    }
}

impl Form for Alertmanager {
    fn request(&self, origin: &Origin, message: &Message, _: Timestamp) -> Result<Request, String> {
        self.post(vec![alert(origin, &message.incident)])
    }

    fn repeat(&self, origin: &Origin, open: &[Incident]) -> Result<Option<Request>, String> {
        // An incident that is over and has not settled goes on here, or it would be sent out as resolved.
        let alerts = open.iter().map(|incident| alert(origin, &Incident { over: None, ..incident.clone() }));
        self.post(alerts.collect()).map(Some)
    }

    fn check(&self) -> Result<(), String> {
        self.token.as_ref().map_or(Ok(()), |file| file.read().map(drop))
    }
}

fn alert(origin: &Origin, incident: &Incident) -> Value {
    let kind = incident.kind;
    let mut alert = json!({
        "labels": {
            "alertname": alertname(kind),
            "severity": severity(kind),
            "kind": kind.as_str(),
            "about": incident.about,
            "instance": origin.instance,
        },
        "annotations": {
            "summary": format!("{}: {}", kind.as_str(), incident.about),
            "description": incident.text,
            "advice": kind.advice(),
            "runbook": origin.runbook(kind),
            "id": incident.id,
        },
        "startsAt": instant(incident.since),
    });
    if let Some(over) = incident.over {
        // A clock that was set back in between would make the alert end before it began: that is refused.
        alert["endsAt"] = instant(over.max(incident.since)).into();
    }
    alert
}

/// As Prometheus' alerts are named: `SealwireExpiresSoon`.
fn alertname(kind: Kind) -> String {
    let mut name = "Sealwire".to_owned();
    for word in kind.as_str().split('_') {
        name.push_str(&word[..1].to_ascii_uppercase());
        name.push_str(&word[1..]);
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::message::tests::{at, message, origin};
    use super::super::request::tests::{body, header, secret};
    use super::*;
    use crate::incident::book::Event;

    #[test]
    fn an_alert_ends_when_its_incident_does() {
        let form = Alertmanager::new("http://am:9093/prefix/", None);
        let request = form.request(&origin(), &message("a1", Event::Opened), at(5000)).unwrap();
        assert_eq!(request.url, "http://am:9093/prefix/api/v2/alerts");
        let opened = body(&request)[0].clone();
        assert_eq!(
            opened["labels"],
            json!({
                "alertname": "SealwireExpiresSoon",
                "severity": "warning",
                "kind": "expires_soon",
                "about": "web",
                "instance": "edge-1",
            })
        );
        assert_eq!(opened["startsAt"], "1970-01-01T00:16:40.000Z");
        assert_eq!(opened["endsAt"], Value::Null);
        assert_eq!(opened["annotations"]["description"], "7 hours are left");
        assert_eq!(opened["annotations"]["runbook"], "docs/operations.md#expires_soon");
        let resolved = form.request(&origin(), &message("a1", Event::Resolved), at(5000)).unwrap();
        let resolved = body(&resolved)[0].clone();
        assert_eq!(resolved["labels"], opened["labels"]);
        assert_eq!(resolved["endsAt"], "1970-01-01T00:17:40.000Z");
    }

    #[test]
    fn an_end_before_the_beginning_is_none() {
        let mut early = message("a1", Event::Resolved);
        early.incident.over = Some(at(10));
        let form = Alertmanager::new("http://am:9093", None);
        let alert = body(&form.request(&origin(), &early, at(0)).unwrap())[0].clone();
        assert_eq!(alert["endsAt"], alert["startsAt"]);
    }

    #[test]
    fn all_that_goes_on_is_repeated_with_the_token() {
        let (file, _dir) = secret("T0K3N\n");
        let form = Alertmanager::new("https://am", Some(file));
        // Over, but not settled.
        let open = [message("a1", Event::Opened).incident, message("a2", Event::Resolved).incident];
        let request = form.repeat(&origin(), &open).unwrap().unwrap();
        assert_eq!(header(&request, "authorization"), "Bearer T0K3N");
        let alerts = body(&request);
        assert_eq!(alerts.as_array().unwrap().len(), 2);
        assert!(alerts.as_array().unwrap().iter().all(|alert| alert["endsAt"].is_null()), "{alerts}");
    }

    #[test]
    fn names_are_like_those_of_prometheus() {
        assert_eq!(alertname(Kind::Disk), "SealwireDisk");
        assert_eq!(alertname(Kind::RevocationUnknown), "SealwireRevocationUnknown");
    }
}
