//! `sealwire incidents`

use clap::Args;
use jiff::Timestamp;
use sealwire_proto::v1::{Incident, IncidentsReply, IncidentsRequest, Severity};
use serde_json::{Value, json};

use super::client::{connect, failure, question};
use super::text::{from_now, instant, table};
use super::{Global, Outcome};

#[derive(Debug, Args)]
pub(super) struct Incidents {
    /// Those that are over, too.
    #[arg(long)]
    all: bool,
    /// For machines; the same facts and more.
    #[arg(long)]
    json: bool,
}

impl Incidents {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let request = IncidentsRequest { all: self.all };
        let reply = connect(global).await?.incidents(question(request)).await;
        let reply = reply.map_err(|status| failure(&status))?.into_inner();
        if self.json {
            println!("{:#}", as_json(&reply));
        } else {
            print!("{}", as_text(&reply, Timestamp::now()));
        }
        Ok(())
    }
}

/// In one word.
pub(super) fn severity(incident: &Incident) -> &'static str {
    match incident.severity() {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info | Severity::Unspecified => "info",
    }
}

fn as_text(reply: &IncidentsReply, now: Timestamp) -> String {
    let mut text = if reply.incidents.is_empty() {
        "no incident is open\n".to_owned()
    } else {
        let rows: Vec<_> = reply.incidents.iter().map(|incident| row(incident, now)).collect();
        let mut text = table(&["SINCE", "STATE", "SEVERITY", "KIND", "ABOUT", "COUNT", "WHAT"], &rows);
        let mut kinds = Vec::new();
        for incident in reply.incidents.iter().filter(|incident| incident.resolved_ms == 0) {
            if !kinds.contains(&&incident.kind) {
                kinds.push(&incident.kind);
                text.push_str(&format!("\n{}: {}", incident.kind, incident.advice));
            }
        }
        if !kinds.is_empty() {
            text.push_str("\nMore on each: docs/operations.md\n");
        }
        text
    };
    for (receiver, count) in reply.unsent.iter().filter(|(_, count)| **count > 0) {
        text.push_str(&format!("\n! {count} message(s) wait for {receiver}\n"));
    }
    text
}

fn row(incident: &Incident, now: Timestamp) -> Vec<String> {
    let ago = |milliseconds| instant(milliseconds).map_or("-".to_owned(), |at| from_now(now, at));
    let state = match incident.resolved_ms {
        0 => "open".to_owned(),
        over => format!("over {}", ago(over)),
    };
    vec![
        ago(incident.since_ms),
        state,
        severity(incident).to_owned(),
        incident.kind.clone(),
        incident.about.clone(),
        incident.count.to_string(),
        incident.text.clone(),
    ]
}

fn as_json(reply: &IncidentsReply) -> Value {
    json!({
        "incidents": reply.incidents.iter().map(incident_json).collect::<Vec<_>>(),
        "unsent": reply.unsent.iter().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

/// All there is to say of one.
pub(super) fn incident_json(incident: &Incident) -> Value {
    let at = |milliseconds| instant(milliseconds).map(|at| at.to_string());
    json!({
        "id": incident.id,
        "kind": incident.kind,
        "severity": severity(incident),
        "about": incident.about,
        "since": at(incident.since_ms),
        "updated": at(incident.updated_ms),
        "resolved": at(incident.resolved_ms),
        "count": incident.count,
        "text": incident.text,
        "advice": incident.advice,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reply() -> IncidentsReply {
        let incident = Incident {
            about: "web".into(),
            since_ms: 1_000_000,
            text: "7h 0m are left".into(),
            kind: "expires_soon".into(),
            severity: Severity::Warning.into(),
            id: "0123456789abcdef".into(),
            count: 3,
            updated_ms: 1_060_000,
            resolved_ms: 0,
            advice: "run `sealwire why`".into(),
        };
        let over = Incident { resolved_ms: 1_030_000, about: "api".into(), ..incident.clone() };
        let unsent = [("webhook.chat".to_owned(), 2), ("alertmanager.main".to_owned(), 0)].into();
        IncidentsReply { incidents: vec![over, incident], unsent }
    }

    #[test]
    fn the_table_says_what_is_open_and_what_to_do() {
        let text = as_text(&reply(), Timestamp::from_second(1060).unwrap());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("1m 0s ago  over 30s ago  warning   expires_soon  api    3"), "{text}");
        assert!(lines[2].contains("open") && lines[2].ends_with("7h 0m are left"), "{text}");
        assert_eq!(text.matches("expires_soon: run `sealwire why`").count(), 1, "{text}");
        assert!(text.contains("! 2 message(s) wait for webhook.chat") && !text.contains("wait for alert"));
        assert_eq!(as_text(&IncidentsReply::default(), Timestamp::now()), "no incident is open\n");
    }

    #[test]
    fn json_has_every_fact() {
        let json = as_json(&reply());
        let open = &json["incidents"][1];
        assert_eq!((&open["severity"], &open["resolved"]), (&"warning".into(), &Value::Null));
        assert_eq!(open["since"], "1970-01-01T00:16:40Z");
        assert_eq!(json["incidents"][0]["resolved"], "1970-01-01T00:17:10Z");
        assert_eq!(json["unsent"]["webhook.chat"], 2);
    }
}
