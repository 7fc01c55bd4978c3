//! The book of incidents as the loop keeps it: told in the log, on disk before receivers hear of it, and wound up
//! when it is over.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::alert::{self, Alerts, Trouble};
use crate::config::AlertsConfig;
use crate::incident::book::{Book, Kept, Raised, Unwritten};
use crate::incident::{Incident, Kind};
use crate::outgoing::one_line;
use crate::store::{Store, StoreError};

/// What is kept of incidents, as a document of the store.
const INCIDENTS: &str = "incidents.json";

/// Counts and texts are written at most this often, and so is what could not be written.
const SAVE_UPDATES_EVERY: Duration = Duration::from_secs(10);

/// The incidents, and who is told of them.
pub(super) struct Incidents {
    book: Book,
    alerts: Alerts,
    /// When it was tried last to write the book.
    tried: Instant,
    /// The last try failed.
    unwritable: bool,
    /// An incident found no room in the book, and that was told.
    full: bool,
}

impl Incidents {
    /// Brings back what was open.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub(super) fn load(store: &Store, config: &AlertsConfig, seed: u64) -> Result<Self, StoreError> {
        let kept: Kept = store.load_json(INCIDENTS)?.unwrap_or_default();
        let settle = SignedDuration::try_from(config.settle).unwrap_or(SignedDuration::MAX);
        Ok(Self {
            book: Book::new(kept, seed, settle),
            alerts: Alerts::default(),
            tried: Instant::now(),
            unwritable: false,
            full: false,
        })
    }

    /// Those who are told from now on.
    pub(super) fn tell(&mut self, alerts: Alerts) {
        self.alerts = alerts;
    }

    /// Raises an incident, or brings its text up to date.
    #[allow(clippy::needless_pass_by_value)] // Whoever raises one makes the text for it.
    pub(super) fn raise(&mut self, kind: Kind, about: &str, now: Timestamp, text: String) {
        let raised = self.book.raise(kind, about, now, &text);
        // As it is kept, for nodes and CAs are quoted in it.
        let text = one_line(text.as_bytes());
        match raised {
            Raised::Opened => tracing::warn!(kind = kind.as_str(), about, text, "incident"),
            Raised::Reopened => tracing::warn!(kind = kind.as_str(), about, text, "incident again"),
            Raised::Updated => {}
            Raised::Full if self.full => {}
            Raised::Full => {
                self.full = true;
                tracing::error!(
                    kind = kind.as_str(),
                    about,
                    text,
                    "too many incidents: this one is not kept"
                );
            }
        }
    }

    /// It is over.
    pub(super) fn clear(&mut self, kind: Kind, about: &str, now: Timestamp) {
        if let Some(incident) = self.book.clear(kind, about, now) {
            self.full = false;
            tracing::info!(kind = kind.as_str(), about, since = %incident.since, "incident over");
        }
    }

    /// Whether it is open with these words.
    pub(super) fn says(&self, kind: Kind, about: &str, text: &str) -> bool {
        self.book.says(kind, about, text)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Incident> {
        self.book.open()
    }

    /// Open, not settled, and resolved: the newest last.
    pub(super) fn all(&self) -> Vec<&Incident> {
        let mut all: Vec<_> = self.book.past().chain(self.book.current()).collect();
        all.sort_by_key(|incident| incident.since);
        all
    }

    /// Messages that wait, by receiver.
    pub(super) fn unsent(&self) -> std::collections::BTreeMap<String, u64> {
        self.alerts.unsent()
    }

    /// What became of messages.
    pub(super) fn sendings(&self) -> impl Iterator<Item = alert::Counts<'_>> {
        self.alerts.counts()
    }

    /// Writes messages that are in memory only.
    pub(super) fn store_messages(&self) -> Result<(), StoreError> {
        self.alerts.store()
    }

    /// What is wrong with receivers.
    pub(super) fn receivers(&self, now: Instant) -> Vec<Trouble> {
        self.alerts.troubles(now)
    }

    /// Everything that receivers take for open.
    pub(super) fn current(&self) -> Vec<Incident> {
        self.book.current().cloned().collect()
    }

    /// Settles what is over, writes what must be written, and tells the news: first on disk, so that a crash in
    /// between tells them after the restart. `last`: there will be no later call.
    pub(super) fn keep(&mut self, store: &Store, now: Timestamp, last: bool) -> Saved {
        self.book.settle(now);
        let unwritten = self.book.unwritten();
        let may_wait = unwritten == Unwritten::Update || self.unwritable;
        let due = last || !may_wait || self.tried.elapsed() >= SAVE_UPDATES_EVERY;
        let mut kept = Saved::default();
        let write = unwritten != Unwritten::Nothing && due;
        if write {
            self.tried = Instant::now();
            let written = store.save_json(INCIDENTS, &self.book.keep());
            self.unwritable = written.is_err();
            if written.is_ok() {
                self.book.written();
            }
            kept.written = Some(written);
        }
        // With a disk that takes no writes above all.
        let news = self.book.tell();
        if write || !news.is_empty() {
            kept.told = Some(self.alerts.tell(&self.current(), &news, now));
        }
        kept
    }

    /// How long nothing has to be kept, if something is waiting.
    pub(super) fn wake(&self, now: Timestamp) -> Option<Duration> {
        let settles =
            self.book.next().map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let unwritten = self.book.unwritten() != Unwritten::Nothing;
        let writes = unwritten.then(|| SAVE_UPDATES_EVERY.saturating_sub(self.tried.elapsed()));
        settles.into_iter().chain(writes).min()
    }
}

/// What became of keeping the book.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Whether the book is on disk, if it was written.
    pub(super) written: Option<Result<(), StoreError>>,
    /// Whether the news are on disk, if there were any.
    pub(super) told: Option<Result<(), StoreError>>,
}

#[cfg(test)]
#[path = "incidents_tests.rs"]
mod tests;
