//! One incident.

use jiff::Timestamp;
use sealwire_proto::v1;
use serde::{Deserialize, Serialize};

use super::Kind;

/// Something that is wrong, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Names it from open to resolved, also towards receivers: 16 hexadecimal digits.
    pub id: String,
    /// What kind of thing is wrong.
    pub kind: Kind,
    /// What it is about.
    pub about: String,
    /// The last word on it, for people.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
    /// When it was raised last.
    pub updated: Timestamp,
    /// How often it was raised.
    pub count: u64,
    /// When it was over; it may come back until it has settled.
    #[serde(default)]
    pub over: Option<Timestamp>,
    /// What receivers have been told of it.
    #[serde(default)]
    pub told: Told,
}

/// How far receivers know of an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Not at all.
    #[default]
    Nothing,
    /// That it is open.
    Opened,
    /// That it is over.
    Resolved,
}

impl Incident {
    /// Whether it goes on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.over.is_none()
    }

    /// As the command line gets it.
    #[must_use]
    pub fn to_message(&self) -> v1::Incident {
        v1::Incident {
            about: self.about.clone(),
            since_ms: self.since.as_millisecond(),
            text: self.text.clone(),
            kind: self.kind.as_str().to_owned(),
            severity: self.kind.severity().into(),
            id: self.id.clone(),
            count: self.count,
            updated_ms: self.updated.as_millisecond(),
            resolved_ms: self.over.map_or(0, Timestamp::as_millisecond),
            advice: self.kind.advice().to_owned(),
        }
    }
}
