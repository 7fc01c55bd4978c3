//! The incidents that are open and those that were: opened, brought up to date, resolved, each told of once.
//! Pure: time comes in as an argument, whoever holds the book keeps it on disk and tells the receivers.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::v1::Severity;
use sealwire_proto::{hex, validate};
use serde::{Deserialize, Serialize};

use super::{Incident, Kind, Told};
use crate::outgoing::one_line;

/// How many incidents that are over are remembered.
pub const REMEMBERED: usize = 200;
/// How many of one severity may be open: more than anybody reads, and all are written with each change.
pub const MOST_OPEN: usize = 1000;
/// Longest text and longest subject, in bytes: they go into every alert.
const MAX_TEXT_BYTES: usize = 1000;
const MAX_ABOUT_BYTES: usize = 320;

/// What became of an incident, as receivers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It has begun.
    Opened,
    /// It is over, and has been for as long as it takes to settle.
    Resolved,
}

impl Event {
    /// In snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Resolved => "resolved",
        }
    }
}

/// What raising an incident did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// It is a new one.
    Opened,
    /// It was over and had not settled: the same one goes on.
    Reopened,
    /// It was open.
    Updated,
    /// It is not in the book: [`MOST_OPEN`] of its severity are open.
    Full,
}

/// How soon the book must be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unwritten {
    /// What is on disk is what is here.
    #[default]
    Nothing,
    /// A count or a text has changed: that can wait.
    Update,
    /// One was opened or is over: that must not get lost.
    Transition,
}

/// What is on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    opened: u64,
    current: Vec<Incident>,
    past: Vec<Incident>,
}

/// All incidents of an agent.
#[derive(Debug)]
pub struct Book {
    /// Makes the ids of this agent differ from another's.
    seed: u64,
    /// How long one must be over before it counts as resolved.
    settle: SignedDuration,
    /// How many were ever opened.
    opened: u64,
    /// Open, or over and not settled.
    current: BTreeMap<(Kind, String), Incident>,
    /// Resolved, the newest last.
    past: VecDeque<Incident>,
    unwritten: Unwritten,
}

impl Book {
    /// The book as it was kept. `settle` is how long an incident must be over before it is resolved; one
    /// that comes back sooner is the same one.
    #[must_use]
    pub fn new(kept: Kept, seed: u64, settle: SignedDuration) -> Self {
        let key = |incident: Incident| ((incident.kind, incident.about.clone()), incident);
        Self {
            seed,
            settle,
            opened: kept.opened,
            current: kept.current.into_iter().map(key).collect(),
            past: kept.past.into(),
            unwritten: Unwritten::Nothing,
        }
    }

    /// What is to be kept.
    #[must_use]
    pub fn keep(&self) -> Kept {
        Kept {
            opened: self.opened,
            current: self.current.values().cloned().collect(),
            past: self.past.iter().cloned().collect(),
        }
    }

    /// Something is wrong (still, or again).
    pub fn raise(&mut self, kind: Kind, about: &str, now: Timestamp, text: &str) -> Raised {
        let (about, text) = (cut(about, MAX_ABOUT_BYTES), fit(text));
        if let Some(incident) = self.current.get_mut(&(kind, about.to_owned())) {
            incident.count += 1;
            incident.updated = now;
            incident.text = text;
            let raised = if incident.over.take().is_some() { Raised::Reopened } else { Raised::Updated };
            let change = if raised == Raised::Reopened { Unwritten::Transition } else { Unwritten::Update };
            self.unwritten = self.unwritten.max(change);
            return raised;
        }
        if self.open_of(kind.severity()) >= MOST_OPEN {
            return Raised::Full;
        }
        self.opened += 1;
        let incident = Incident {
            id: self.id(kind, about, now),
            kind,
            about: about.to_owned(),
            text,
            since: now,
            updated: now,
            count: 1,
            over: None,
            told: Told::Nothing,
        };
        self.current.insert((kind, about.to_owned()), incident);
        self.unwritten = Unwritten::Transition;
        Raised::Opened
    }

    /// It is over. Gives it, if it was open.
    pub fn clear(&mut self, kind: Kind, about: &str, now: Timestamp) -> Option<&Incident> {
        let key = (kind, cut(about, MAX_ABOUT_BYTES).to_owned());
        let incident = self.current.get_mut(&key).filter(|incident| incident.is_open())?;
        incident.over = Some(now);
        self.unwritten = Unwritten::Transition;
        Some(incident)
    }

    /// Resolves what has been over for long enough.
    pub fn settle(&mut self, now: Timestamp) {
        let mut settled = Vec::new();
        for (key, incident) in &mut self.current {
            let Some(over) = incident.over else { continue };
            if now < over {
                // The clock was set back: it settles from now on.
                incident.over = Some(now);
            } else if now.duration_since(over) >= self.settle {
                settled.push(key.clone());
            }
        }
        for key in settled {
            self.past.extend(self.current.remove(&key));
            self.unwritten = Unwritten::Transition;
        }
        let surplus = self.past.len().saturating_sub(REMEMBERED);
        // What nobody has been told yet stays until they are: that is a moment.
        let told = self.past.iter().take(surplus).take_while(|incident| incident.told == Told::Resolved);
        let surplus = told.count();
        self.past.drain(..surplus);
    }

    /// When the next one settles.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        let over = self.current.values().filter_map(|incident| incident.over).min()?;
        Some(over.checked_add(self.settle).unwrap_or(Timestamp::MAX))
    }

    /// What receivers must be told now, each once; from here on they count as told.
    pub fn tell(&mut self) -> Vec<(Incident, Event)> {
        let mut news = Vec::new();
        for incident in self.current.values_mut().chain(&mut self.past) {
            if incident.told == Told::Nothing {
                incident.told = Told::Opened;
                news.push((incident.clone(), Event::Opened));
            }
        }
        for incident in &mut self.past {
            if incident.told != Told::Resolved {
                incident.told = Told::Resolved;
                news.push((incident.clone(), Event::Resolved));
            }
        }
        if !news.is_empty() {
            self.unwritten = self.unwritten.max(Unwritten::Update);
        }
        // One incident's own two events stay in their order: the sort is stable.
        news.sort_by_key(|(incident, event)| match event {
            Event::Opened => incident.since,
            Event::Resolved => incident.over.unwrap_or(incident.updated).max(incident.since),
        });
        news
    }

    /// How soon it must be written; [`Book::written`] says that it was.
    #[must_use]
    pub fn unwritten(&self) -> Unwritten {
        self.unwritten
    }

    /// It is on disk as it is.
    pub fn written(&mut self) {
        self.unwritten = Unwritten::Nothing;
    }

    /// Those that are open.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.current.values().filter(|incident| incident.is_open())
    }

    /// Open, or not settled: what receivers take for open.
    pub fn current(&self) -> impl Iterator<Item = &Incident> {
        self.current.values()
    }

    /// Resolved, the newest last.
    pub fn past(&self) -> impl Iterator<Item = &Incident> {
        self.past.iter()
    }

    /// Whether it is open, with these words.
    #[must_use]
    pub fn says(&self, kind: Kind, about: &str, text: &str) -> bool {
        let key = (kind, cut(about, MAX_ABOUT_BYTES).to_owned());
        self.current.get(&key).is_some_and(|incident| incident.is_open() && incident.text == fit(text))
    }

    fn open_of(&self, severity: Severity) -> usize {
        self.current.keys().filter(|(kind, _)| kind.severity() == severity).count()
    }

    /// The number alone would start again when somebody empties the store.
    fn id(&self, kind: Kind, about: &str, now: Timestamp) -> String {
        let whole = format!("{} {} {} {kind:?} {about}", self.seed, self.opened, now.as_nanosecond());
        hex(&validate::sha256(whole.as_bytes())[..8])
    }
}

/// Nodes and CAs are quoted in it: one line, and no more than that.
fn fit(text: &str) -> String {
    let line = one_line(text.as_bytes());
    cut(&line, MAX_TEXT_BYTES).to_owned()
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
