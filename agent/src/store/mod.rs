//! What survives a restart: generations, order journals, and what the agent remembers about each
//! certificate. Laid out as
//!
//! ```text
//! STATE_DIR/                              0700, one agent at a time (lock)
//!   certificates/NAME/generations/000007/ privkey.pem 0600, fullchain.pem, metadata.json; never edited
//!   certificates/NAME/current             -> generations/000007, changed by one rename
//!   certificates/NAME/order.json, .pem    the order under way and its key
//!   certificates/NAME/memory.json         failures, quarantine, counters
//!   certificates/NAME/rejected/           what the gate refused, for people
//!   live/NAME                             -> ../certificates/NAME/current, for other servers
//!   deliveries.json                       what each node acknowledged and was proven to serve
//!   accounts/ISSUER, ca/ISSUER            kept by the issuers
//! ```

mod chain;
pub mod durable;
mod evidence;
pub(crate) mod faults;
mod generation;
mod glance;
mod history;
mod install;
mod journal;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use sealwire_proto::socket::OwnedLock;

pub use crate::lifecycle::{Failure, Memory, Quarantine};
use chain::Aboves;
pub use chain::Chain;
pub use durable::StoreError;
#[cfg(test)]
pub(crate) use generation::key_from_pem;
pub use generation::{Generation, Metadata, New, pem_of};
pub(crate) use generation::{chain_from_pem, key_pem_of};
pub(crate) use glance::Glance;
pub use history::HistoryEntry;
pub(crate) use install::contents;
pub use journal::Journal;

/// How many generations are kept besides the current one: what a rollback may need, and a trail for people.
const KEPT_GENERATIONS: usize = 3;

/// The state directory, owned by this process.
#[derive(Debug)]
pub struct Store {
    place: Arc<Place>,
    _lock: OwnedLock,
}

/// What the parts of all certificates have in common.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    aboves: Aboves,
}

impl Place {
    fn new(dir: &Path) -> Arc<Self> {
        Arc::new(Self { dir: dir.to_owned(), aboves: Aboves::default() })
    }
}

impl Store {
    /// Opens (and on first use makes) the state directory, and makes sure that no other agent has it and
    /// that nobody else can read it.
    ///
    /// # Errors
    /// See [`StoreError`]; each message names the file and what to do.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        durable::create_dir(dir)?;
        check_dir_private(dir)?;
        let lock_path = dir.join("lock");
        let lock = OwnedLock::acquire(&lock_path)
            .map_err(StoreError::system("lock", &lock_path))?
            .map_err(|pid| StoreError::InUse { dir: dir.to_owned(), pid })?;
        durable::create_dir(&dir.join("certificates"))?;
        durable::create_dir(&dir.join("live"))?;
        Ok(Self { place: Place::new(dir), _lock: lock })
    }

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// The part of one certificate; made if it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn certificate(&self, name: &str) -> Result<CertificateStore, StoreError> {
        let own = CertificateStore { name: name.into(), place: Arc::clone(&self.place) };
        durable::create_dir(&own.dir().join("generations"))?;
        own.sweep();
        Ok(own)
    }

    /// Reads a JSON document; `None` if there is none. A damaged one is moved aside, told, and taken as
    /// absent: no memory is worth a service that does not start.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn load_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        load_json(&self.place.dir.join(name))
    }

    /// Writes a JSON document, durably.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn save_json<T: serde::Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        save_json(&self.place.dir.join(name), value)
    }
}

/// What is stored about one certificate.
#[derive(Clone, Debug)]
pub struct CertificateStore {
    name: Arc<str>,
    place: Arc<Place>,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The generation to serve: the current one or, if that is damaged, the newest whole one.
    pub generation: Option<Generation>,
    /// What was wrong with the current one.
    pub damage: Option<String>,
}

impl CertificateStore {
    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.place.dir.join("certificates").join(&*self.name)
    }

    /// The name of the certificate.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where other servers find what is current.
    fn live(&self) -> PathBuf {
        self.place.dir.join("live").join(&*self.name)
    }

    /// Loads what is current. Damage is told, not fatal, and nothing is removed.
    ///
    /// # Errors
    /// [`StoreError::System`] when a directory cannot be read, [`StoreError::TooOpen`] when others may read
    /// a key.
    pub fn load(&self, memory: &Memory) -> Result<Loaded, StoreError> {
        let (number, damage) = match self.current_number() {
            Ok(Some(number)) => match self.generation(number) {
                Ok(generation) => return Ok(Loaded { generation: Some(generation), damage: None }),
                Err(error @ StoreError::TooOpen { .. }) => return Err(error),
                Err(error) => (number, error.to_string()),
            },
            // Nothing was ever current, or somebody removed the link.
            Ok(None) if self.newest_whole(memory, |_| true)?.is_none() => return Ok(Loaded::default()),
            Ok(None) => (0, format!("{} is missing", self.dir().join("current").display())),
            Err(error @ StoreError::Damaged { .. }) => (0, error.to_string()),
            Err(error) => return Err(error),
        };
        let whole = self.newest_whole(memory, |other| other.number != number)?;
        Ok(Loaded { generation: whole, damage: Some(damage) })
    }

    /// The newest whole generation that was not refused and that `wanted` takes.
    ///
    /// # Errors
    /// [`StoreError::System`] when the directory cannot be listed.
    pub fn newest_whole(
        &self,
        memory: &Memory,
        wanted: impl Fn(&Generation) -> bool,
    ) -> Result<Option<Generation>, StoreError> {
        let good = |number: &u64| !memory.is_quarantined(*number) && memory.revocation(*number).is_none();
        let numbers = self.numbers()?.into_iter().rev().filter(good);
        Ok(numbers.filter_map(|number| self.generation(number).ok()).find(wanted))
    }

    /// Stores a generation under the next number; it is not current yet.
    ///
    /// # Errors
    /// [`StoreError`]; nothing that was there is touched.
    pub fn put(&self, generation: &New<'_>) -> Result<Generation, StoreError> {
        let number = self.numbers()?.last().copied().unwrap_or(0) + 1;
        let place = self.generation_dir(number);
        let new = self.dir().join("generations").join(".new");
        durable::remove_tree(&new)?;
        durable::create_dir(&new)?;
        let stored = generation.write(&new, &self.name, number).and_then(|()| durable::rename(&new, &place));
        if stored.is_err() {
            // Half a generation would only take more of the room that is short.
            let _ = durable::remove_tree(&new);
        }
        stored?;
        self.generation(number)
    }

    /// Makes a stored generation current by one rename, and prunes old ones.
    ///
    /// # Errors
    /// [`StoreError`]; the generation that was current is current still.
    pub fn make_current(&self, number: u64) -> Result<(), StoreError> {
        let target = Path::new("generations").join(format!("{number:06}"));
        let link = self.dir().join("current");
        if std::fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
            // A link cannot be renamed over a directory; whatever it is, it is not ours to remove.
            move_aside(&link, "not a symbolic link")?;
        }
        durable::point(&link, &target)?;
        if std::fs::symlink_metadata(self.live()).is_err() {
            let target = Path::new("../certificates").join(&*self.name).join("current");
            durable::point(&self.live(), &target)?;
        }
        if let Err(error) = self.prune(number) {
            // The new generation is in place: old ones that stay for longer are no reason to fail.
            tracing::warn!(certificate = &*self.name, %error, "old generations stay");
        }
        Ok(())
    }

    /// Removes what a crash left half-written; what cannot be removed is overwritten by the next attempt.
    fn sweep(&self) {
        let _ = durable::remove_tree(&self.dir().join("generations/.new"));
        let live = self.live().with_file_name(format!("{}.tmp", self.name));
        for name in ["current", "order.json", "order.pem", "memory.json"] {
            let _ = durable::remove(&self.dir().join(format!("{name}.tmp")));
        }
        let _ = durable::remove(&live);
    }

    /// Reads one generation and checks that it is whole: key and leaf belong together.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and the like.
    pub fn generation(&self, number: u64) -> Result<Generation, StoreError> {
        let mut generation = Generation::read(&self.generation_dir(number), number)?;
        generation.chain = self.place.aboves.share(generation.chain);
        Ok(generation)
    }

    /// Keeps what a CA issued and the gate refused, for people; returns where.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_evidence(
        &self,
        chain: &[CertificateDer<'_>],
        reason: &str,
        at: jiff::Timestamp,
    ) -> Result<PathBuf, StoreError> {
        evidence::keep(&self.dir(), chain, reason, at)
    }

    /// The order under way, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn journal(&self) -> Result<Option<Journal>, StoreError> {
        Journal::load(&self.dir())
    }

    /// Writes the order journal; the key first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_journal(&self, journal: &Journal) -> Result<(), StoreError> {
        journal.save(&self.dir())
    }

    /// Forgets the order under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clear_journal(&self) -> Result<(), StoreError> {
        Journal::clear(&self.dir())
    }

    /// What the agent remembers about this certificate.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn memory(&self) -> Result<Memory, StoreError> {
        Ok(load_json(&self.dir().join("memory.json"))?.unwrap_or_default())
    }

    /// Writes the memory.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn save_memory(&self, memory: &Memory) -> Result<(), StoreError> {
        save_json(&self.dir().join("memory.json"), memory)
    }

    /// What happened to this certificate, the newest last.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        history::load(&self.dir())
    }

    /// Adds to the history; the oldest entries make room.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn append_history(&self, entry: &HistoryEntry) -> Result<(), StoreError> {
        history::append(&self.dir(), entry)
    }

    fn generation_dir(&self, number: u64) -> PathBuf {
        self.dir().join("generations").join(format!("{number:06}"))
    }

    /// The number that `current` points to.
    fn current_number(&self) -> Result<Option<u64>, StoreError> {
        let link = self.dir().join("current");
        match std::fs::read_link(&link) {
            Ok(target) => {
                let number = target.file_name().and_then(|name| name.to_str()?.parse().ok());
                number.map(Some).ok_or_else(|| {
                    StoreError::damaged(&link, format!("points to {}; remove it", target.display()))
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(StoreError::damaged(&link, "not a symbolic link; the next renewal moves it aside"))
            }
            Err(error) => Err(StoreError::system("read", &link)(error)),
        }
    }

    /// Numbers of all stored generations, ascending.
    fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let dir = self.dir().join("generations");
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(StoreError::system("list", &dir))? {
            let entry = entry.map_err(StoreError::system("list", &dir))?;
            numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes all but the newest [`KEPT_GENERATIONS`] and those from `current` on.
    fn prune(&self, current: u64) -> Result<(), StoreError> {
        let older: Vec<_> = self.numbers()?.into_iter().filter(|number| *number < current).collect();
        for number in older.iter().take(older.len().saturating_sub(KEPT_GENERATIONS)) {
            let dir = self.generation_dir(*number);
            durable::remove_tree(&dir)?;
        }
        Ok(())
    }
}

pub(crate) fn load_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = durable::read(path)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            if let Err(failed) = move_aside(path, &error.to_string()) {
                // On a disk that takes no writes; what is saved next replaces it.
                tracing::error!(error = %failed, "not readable JSON, and it cannot be moved aside; started afresh");
            }
            Ok(None)
        }
    }
}

/// Keeps a damaged file for people, as NAME.damaged-SECONDS.
fn move_aside(path: &Path, why: &str) -> Result<(), StoreError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".damaged-{}", jiff::Timestamp::now().as_second()));
    let aside = PathBuf::from(aside);
    tracing::error!(path = %path.display(), error = why, aside = %aside.display(),
        "damaged: moved aside and started afresh; remove the copy when it is of no more use");
    durable::rename(path, &aside)
}

pub(crate) fn save_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| StoreError::damaged(path, format!("cannot be written as JSON: {error}")))?;
    bytes.push(b'\n');
    durable::write(path, &bytes, 0o600)
}

/// Refuses a state directory that others may read.
pub(crate) fn check_dir_private(dir: &Path) -> Result<(), StoreError> {
    let mode = std::fs::metadata(dir).map_err(StoreError::system("look at", dir))?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let fix = format!("chmod 0700 {}", dir.display());
    Err(StoreError::TooOpen { path: dir.to_owned(), mode, fix })
}

/// Refuses a file with key material that others may read.
pub(crate) fn check_private(path: &Path) -> Result<(), StoreError> {
    let mode = std::fs::metadata(path).map_err(StoreError::system("look at", path))?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let fix = format!("chmod 0600 {}", path.display());
    Err(StoreError::TooOpen { path: path.to_owned(), mode, fix })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
