//! What could not be written: known until it is, so that nobody finds out by a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Agent;
use crate::incident::Kind;
use crate::store::StoreError;

/// What the incident is about.
const ABOUT: &str = "state directory";

/// Between two tries to write again what could not be written.
const AGAIN: Duration = Duration::from_secs(30);

/// Something that is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Document {
    /// Of a certificate.
    Memory(String),
    /// Of a certificate; what is not in it is lost, so its certificate's memory tells whether the disk is back.
    History(String),
    /// What nodes serve.
    Records,
    /// What is used of CAs' limits.
    Limits,
    /// Incidents.
    Incidents,
    /// Messages to receivers.
    Alerts,
}

/// What could not be written, and why. Whoever writes notes it; the loop judges.
#[derive(Debug, Default)]
pub(super) struct Disk(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    failing: BTreeMap<Document, String>,
    /// There is something new to say.
    news: bool,
    tried: Option<Instant>,
}

impl Disk {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a write went.
    pub(super) fn note(&self, document: Document, result: &Result<(), StoreError>) {
        let mut noted = self.noted();
        let before = match result {
            Ok(()) => noted.failing.remove(&document).is_some(),
            Err(error) => {
                let text = error.to_string();
                noted.failing.insert(document, text.clone()) != Some(text)
            }
        };
        noted.news |= before;
    }

    /// How many documents could not be written and are in memory only.
    pub(super) fn failing(&self) -> usize {
        self.noted().failing.len()
    }

    /// What is failing, if that has changed since it was asked last; an empty text: nothing is.
    fn news(&self) -> Option<String> {
        let mut noted = self.noted();
        if !std::mem::take(&mut noted.news) {
            return None;
        }
        let count = noted.failing.len();
        Some(noted.failing.values().next().map_or_else(String::new, |first| {
            let rest = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
            format!("{first}{rest}; a restart would forget what is not on disk")
        }))
    }

    /// What should be tried again now.
    fn again(&self, now: Instant) -> Vec<Document> {
        let mut noted = self.noted();
        if noted.failing.is_empty() {
            noted.tried = None;
            return Vec::new();
        }
        let tried = *noted.tried.get_or_insert(now);
        if now.saturating_duration_since(tried) < AGAIN {
            return Vec::new();
        }
        noted.tried = Some(now);
        noted.failing.keys().cloned().collect()
    }

    fn forget(&self, document: &Document) {
        let mut noted = self.noted();
        noted.news |= noted.failing.remove(document).is_some();
    }
}

impl Agent {
    /// Tries again what could not be written, and raises or clears the incident.
    pub(super) fn watch_disk(&mut self) {
        for document in self.disk.again(Instant::now()) {
            match &document {
                Document::Memory(name) => self.save_memory(name),
                Document::History(name) => {
                    self.disk.forget(&document);
                    self.save_memory(name);
                }
                Document::Records => self.save_records(),
                Document::Limits => {
                    self.issuers_changed.get_or_insert_with(Instant::now);
                }
                Document::Alerts => {
                    let written = self.incidents.store_messages();
                    self.disk.note(Document::Alerts, &written);
                }
                // Tried again by itself.
                Document::Incidents => {}
            }
        }
        let now = self.clock.now();
        match self.disk.news() {
            Some(text) if text.is_empty() => self.incidents.clear(Kind::Disk, ABOUT, now),
            Some(text) => self.incidents.raise(Kind::Disk, ABOUT, now, text),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<(), StoreError> {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(StoreError::system("write", std::path::Path::new("/s/x"))(full))
    }

    #[test]
    fn it_is_told_once_and_over_when_all_is_written() {
        let disk = Disk::default();
        disk.note(Document::Records, &Ok(()));
        assert_eq!(disk.news(), None, "nothing was wrong");
        disk.note(Document::Records, &failed());
        disk.note(Document::Memory("web".to_owned()), &failed());
        let text = disk.news().unwrap_or_default();
        assert!(text.contains("cannot write /s/x") && text.contains("(and 1 more)"), "{text}");
        disk.note(Document::Records, &failed());
        assert_eq!(disk.news(), None, "the same again");
        disk.note(Document::Records, &Ok(()));
        assert!(disk.news().is_some_and(|text| !text.is_empty()));
        disk.note(Document::Memory("web".to_owned()), &Ok(()));
        assert_eq!(disk.news(), Some(String::new()));
    }

    #[test]
    fn what_fails_is_tried_again_in_a_while() {
        let disk = Disk::default();
        let start = Instant::now();
        assert_eq!(disk.again(start), []);
        disk.note(Document::Limits, &failed());
        assert_eq!(disk.again(start), []);
        assert_eq!(disk.again(start + AGAIN), [Document::Limits]);
        assert_eq!(disk.again(start + AGAIN), []);
        disk.note(Document::Limits, &Ok(()));
        assert_eq!(disk.again(start + AGAIN * 5), []);
    }
}
