//! What an operator should know about now: raised once, told in the log and in `status`, and cleared when it
//! is over.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) since: Timestamp,
    pub(super) text: String,
}

/// The open incidents by what they are about.
#[derive(Debug, Default)]
pub(super) struct Incidents(BTreeMap<String, Incident>);

impl Incidents {
    /// Raises an incident, or brings its text up to date.
    pub(super) fn raise(&mut self, about: &str, now: Timestamp, text: String) {
        match self.0.get_mut(about) {
            Some(open) => open.text = text,
            None => {
                tracing::warn!(about, text, "incident");
                self.0.insert(about.to_owned(), Incident { since: now, text });
            }
        }
    }

    /// It is over.
    pub(super) fn clear(&mut self, about: &str) {
        if let Some(incident) = self.0.remove(about) {
            tracing::info!(about, since = %incident.since, "incident over");
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (&str, &Incident)> {
        self.0.iter().map(|(about, incident)| (about.as_str(), incident))
    }
}
