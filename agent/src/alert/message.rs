//! What a receiver is told, and who tells it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::incident::book::Event;
use crate::incident::{Incident, Kind, RUNBOOK};

/// One thing that a receiver is told, as it waits on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// What became of the incident.
    pub(super) event: Event,
    /// Since when it waits.
    pub(super) at: Timestamp,
    /// The incident as it was then.
    pub(super) incident: Incident,
}

impl Message {
    /// The same for the same news, however often it is sent.
    #[must_use]
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.incident.id, self.event.as_str())
    }
}

/// Who tells.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// What this agent calls itself.
    pub(super) instance: String,
    /// Where the sections about kinds are.
    pub(super) runbook_url: Option<String>,
}

impl Origin {
    /// As configured; else the host's name.
    #[must_use]
    pub(super) fn new(instance: Option<String>, runbook_url: Option<String>) -> Self {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { instance: instance.unwrap_or_else(host), runbook_url }
    }

    /// Where to read what to do about a kind.
    #[must_use]
    pub(super) fn runbook(&self, kind: Kind) -> String {
        format!("{}#{}", self.runbook_url.as_deref().unwrap_or(RUNBOOK), kind.as_str())
    }
}

/// RFC 3339 in milliseconds: as precise as any receiver reads.
#[must_use]
pub(super) fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// How grave it is, in the word that all receivers know.
#[must_use]
pub(super) fn severity(kind: Kind) -> &'static str {
    use sealwire_proto::v1::Severity;
    match kind.severity() {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info | Severity::Unspecified => "info",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use crate::incident::Told;

    pub(in crate::alert) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(in crate::alert) fn origin() -> Origin {
        Origin::new(Some("edge-1".to_owned()), None)
    }

    /// News of an incident that began at second 1000 and, if it is over, ended at 1060.
    pub(in crate::alert) fn message(id: &str, event: Event) -> Message {
        let incident = Incident {
            id: id.to_owned(),
            kind: Kind::ExpiresSoon,
            about: "web".to_owned(),
            text: "7 hours are left".to_owned(),
            since: at(1000),
            updated: at(1030),
            count: 3,
            over: (event == Event::Resolved).then(|| at(1060)),
            told: Told::Opened,
        };
        Message { event, at: at(2000), incident }
    }

    #[test]
    fn an_agent_has_a_name_and_a_runbook() {
        assert!(!Origin::new(None, None).instance.is_empty());
        assert_eq!(origin().runbook(Kind::Disk), "docs/operations.md#disk");
        let wiki = Origin::new(None, Some("https://wiki.example/sealwire".to_owned()));
        assert_eq!(wiki.runbook(Kind::Disk), "https://wiki.example/sealwire#disk");
    }

    #[test]
    fn the_two_events_of_an_incident_have_ids_of_their_own() {
        assert_eq!(message("a1", Event::Opened).id(), "a1-opened");
        assert_eq!(message("a1", Event::Resolved).id(), "a1-resolved");
    }
}
