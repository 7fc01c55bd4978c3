//! What an operator should know about now: raised once, told in the log and in `status`, and cleared when it
//! is over.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::incident::Kind;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) since: Timestamp,
    pub(super) text: String,
}

/// The open incidents by what they are about.
#[derive(Debug, Default)]
pub(super) struct Incidents(BTreeMap<(Kind, String), Incident>);

impl Incidents {
    /// Raises an incident, or brings its text up to date.
    pub(super) fn raise(&mut self, kind: Kind, about: &str, now: Timestamp, text: String) {
        match self.0.get_mut(&(kind, about.to_owned())) {
            Some(open) => open.text = text,
            None => {
                tracing::warn!(kind = kind.as_str(), about, text, "incident");
                self.0.insert((kind, about.to_owned()), Incident { since: now, text });
            }
        }
    }

    /// It is over.
    pub(super) fn clear(&mut self, kind: Kind, about: &str, _now: Timestamp) {
        if let Some(incident) = self.0.remove(&(kind, about.to_owned())) {
            tracing::info!(kind = kind.as_str(), about, since = %incident.since, "incident over");
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (Kind, &str, &Incident)> {
        self.0.iter().map(|((kind, about), incident)| (*kind, about.as_str(), incident))
    }
}
