//! Messages that wait for one receiver, in order, each a small file that is durable before anybody counts on it:
//!
//! ```text
//! STATE_DIR/alerts/TYPE.NAME/000000000042.json
//! ```
//!
//! One writes (the agent's loop), one takes out (the receiver's task).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::message::Message;
use crate::store::{self, StoreError, durable};

/// More than anybody reads once the receiver is back.
pub(super) const MOST_WAITING: usize = 1000;
/// What is older is no news.
pub(super) const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(72);

/// The messages of one receiver.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By number, ascending.
    messages: VecDeque<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    message: Message,
    stored: bool,
}

impl Spool {
    /// Takes up what an earlier run left. A file that cannot be read is moved aside.
    ///
    /// # Errors
    /// [`StoreError::System`]: the directory cannot be made or listed.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        durable::create_dir(dir)?;
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(StoreError::system("list", dir))? {
            let name = entry.map_err(StoreError::system("list", dir))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut waiting = Waiting { next: numbers.last().map_or(0, |last| last + 1), ..Waiting::default() };
        for number in numbers {
            let message = store::load_json(&file(dir, number))?;
            waiting.messages.extend(message.map(|message| Entry { number, message, stored: true }));
        }
        Ok(Self { dir: dir.to_owned(), waiting: Mutex::new(waiting), added: Notify::new() })
    }

    /// Adds a message, unless the same one waits already. Gives the one that had to make room.
    ///
    /// # Errors
    /// [`StoreError`]: it is not on disk; it waits all the same, until a restart. [`Spool::store`] tries again.
    pub(super) fn push(&self, message: &Message) -> Result<Option<Message>, StoreError> {
        let number = {
            let mut waiting = self.waiting();
            if waiting.messages.iter().any(|other| other.message.id() == message.id()) {
                return Ok(None);
            }
            waiting.next += 1;
            waiting.next - 1
        };
        let stored = store::save_json(&file(&self.dir, number), message);
        let surplus = {
            let mut waiting = self.waiting();
            waiting.messages.push_back(Entry { number, message: message.clone(), stored: stored.is_ok() });
            let full = waiting.messages.len() > MOST_WAITING;
            if full { waiting.messages.pop_front() } else { None }
        };
        self.added.notify_one();
        if let Some(surplus) = &surplus {
            durable::remove(&file(&self.dir, surplus.number))?;
        }
        stored.map(|()| surplus.map(|surplus| surplus.message))
    }

    /// Writes what could not be written.
    ///
    /// # Errors
    /// [`StoreError`], as before.
    pub(super) fn store(&self) -> Result<(), StoreError> {
        let missing: Vec<_> = {
            let waiting = self.waiting();
            let missing = waiting.messages.iter().filter(|entry| !entry.stored);
            missing.map(|entry| (entry.number, entry.message.clone())).collect()
        };
        for (number, message) in missing {
            store::save_json(&file(&self.dir, number), &message)?;
            let mut waiting = self.waiting();
            match waiting.messages.iter_mut().find(|entry| entry.number == number) {
                Some(entry) => entry.stored = true,
                None => {
                    drop(waiting);
                    // Sent meanwhile.
                    durable::remove(&file(&self.dir, number))?;
                }
            }
        }
        Ok(())
    }

    /// The message that is next.
    pub(super) fn first(&self) -> Option<(u64, Message)> {
        self.waiting().messages.front().map(|entry| (entry.number, entry.message.clone()))
    }

    /// A message was taken, or given up.
    ///
    /// # Errors
    /// [`StoreError`]: its file stays, and would be sent again after a restart.
    pub(super) fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.waiting().messages.retain(|entry| entry.number != number);
        durable::remove(&file(&self.dir, number))
    }

    /// The first message, if it has waited for too long.
    pub(super) fn expired(&self, now: Timestamp) -> Option<(u64, Message)> {
        self.first().filter(|(_, message)| now.duration_since(message.at) > LONGEST_WAIT)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().messages.len()
    }

    /// Waits until a message is added.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.json"))
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
