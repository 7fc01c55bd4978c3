//! The file: how it is opened, what one transaction does, and how it is read at the start.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::{Database, Durability, ReadableDatabase, ReadableTable};

use super::codec::{self, Row};
use super::error::{FORMAT, OpenError};
use super::tables::{CHANNELS, Change, Failure, LOG, META, STATE, Tables, USED, failed};
use super::witness::{Witness, witness_path};
use crate::broker::channel::Channel;
use crate::broker::position::Epoch;
use crate::broker::rules::{Kind, Rules};

/// All is in the memory of the broker anyway.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The file, open.
pub(super) struct Store {
    path: PathBuf,
    database: Database,
    witness: Witness,
    next_id: u64,
    commits: u64,
    stored: HashMap<(Kind, Arc<str>), Stored>,
}

/// What the file has of a channel.
#[derive(Clone, Debug)]
struct Stored {
    id: u64,
    epoch: Epoch,
    /// No publication before this is in its log.
    first: u64,
}

/// A channel as the file has it.
pub(super) struct Loaded {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) rules: Arc<Rules>,
    pub(super) channel: Channel,
}

impl Store {
    /// Opens the file, or makes it. `check`: reads all of it and compares checksums.
    pub(super) fn open(path: &Path, check: bool) -> Result<Self, OpenError> {
        let system = |what, source| OpenError::System { what, path: path.to_owned(), source };
        let is_new = !path.exists();
        // Readable by nobody else, whatever the umask.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map_err(|error| system("open", error))?;
        if is_new && let Some(directory) = path.parent() {
            File::open(directory).and_then(|it| it.sync_all()).map_err(|error| system("create", error))?;
        }
        let witness =
            Witness::open(&witness_path(path)).map_err(|error| system("open the witness of", error))?;
        let opening = || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check).create(path)
        };
        // A damaged file may be too much for the database.
        let database = std::panic::catch_unwind(opening)
            .map_err(|_| OpenError::damaged(path, "the database gave up on it"))?
            .map_err(|error| OpenError::opening(path, error))?;
        let mut store =
            Self { path: path.to_owned(), database, witness, next_id: 1, commits: 0, stored: HashMap::new() };
        store.begin().map_err(|error| OpenError::reading(path, *error))??;
        Ok(store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the tables if there are none, and compares with the witness.
    fn begin(&mut self) -> Result<Result<(), OpenError>, Failure> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let found = {
            let mut meta = transaction.open_table(META).map_err(failed)?;
            Tables::open(&transaction)?;
            let number = |name| meta.get(name).map(|number| number.map(|it| it.value())).map_err(failed);
            let found = number("format")?;
            self.next_id = number("next_id")?.unwrap_or(1);
            self.commits = number("commits")?.unwrap_or(0);
            meta.insert("format", FORMAT).map_err(failed)?;
            found.unwrap_or(FORMAT)
        };
        if found > FORMAT {
            return Ok(Err(OpenError::Newer { path: self.path.clone(), found }));
        }
        let seen = match self.witness.seen() {
            Ok(seen) => seen.unwrap_or(0),
            Err(source) => {
                let path = witness_path(&self.path);
                return Ok(Err(OpenError::System { what: "read", path, source }));
            }
        };
        if seen > self.commits {
            let what = format!("{} transactions that were acknowledged are missing", seen - self.commits);
            return Ok(Err(OpenError::damaged(&self.path, what)));
        }
        transaction.commit().map_err(failed)?;
        Ok(Ok(()))
    }

    /// One transaction: what was published, what may go, and channels that are forgotten. Durable once this returns.
    pub(super) fn commit(
        &mut self,
        changes: &[Change],
        forgotten: &[(Kind, Arc<str>)],
        now: Timestamp,
    ) -> Result<(), Failure> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(Durability::Immediate).map_err(failed)?;
        let mut next_id = self.next_id;
        let mut stored = Vec::with_capacity(changes.len());
        {
            let mut tables = Tables::open(&transaction)?;
            for (kind, name) in forgotten {
                if let Some(stored) = self.stored.get(&(*kind, Arc::clone(name))) {
                    tables.forget(stored.id).map_err(failed)?;
                    tables.channels.remove(codec::channel(*kind, name).as_str()).map_err(failed)?;
                }
            }
            for change in changes {
                let key = (change.kind, Arc::clone(&change.name));
                let mut to = match self.stored.get(&key) {
                    Some(stored) if stored.epoch == change.epoch => stored.clone(),
                    other => {
                        if let Some(other) = other {
                            tables.forget(other.id).map_err(failed)?;
                        }
                        next_id += 1;
                        Stored { id: next_id - 1, epoch: change.epoch.clone(), first: 1 }
                    }
                };
                if to.first < change.first {
                    tables.trim(to.id, change.first).map_err(failed)?;
                    to.first = change.first;
                }
                tables.write(to.id, change, now).map_err(failed)?;
                stored.push((key, to));
            }
            let mut meta = transaction.open_table(META).map_err(failed)?;
            meta.insert("next_id", next_id).map_err(failed)?;
            meta.insert("commits", self.commits + 1).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.commits += 1;
        self.next_id = next_id;
        for key in forgotten {
            self.stored.remove(key);
        }
        self.stored.extend(stored);
        // Without it a loss is not noticed; nothing is lost.
        if let Err(error) = self.witness.see(self.commits) {
            tracing::warn!(path = %witness_path(&self.path).display(), %error, "cannot note what was written");
        }
        Ok(())
    }

    /// Whether the file has publications that the log no longer has.
    pub(super) fn has_before(&self, kind: Kind, name: &Arc<str>, first: u64) -> bool {
        self.stored.get(&(kind, Arc::clone(name))).is_some_and(|stored| stored.first < first)
    }

    /// Reads every channel.
    pub(super) fn load(&mut self, mut take: impl FnMut(Loaded)) -> Result<(), OpenError> {
        let mut rows = Vec::new();
        let read = |rows: &mut Vec<(String, Vec<u8>)>| {
            let transaction = self.database.begin_read().map_err(failed)?;
            for row in transaction.open_table(CHANNELS).map_err(failed)?.iter().map_err(failed)? {
                let (key, row) = row.map_err(failed)?;
                rows.push((key.value().to_owned(), row.value().to_owned()));
            }
            Ok(())
        };
        read(&mut rows).map_err(|error: Failure| OpenError::reading(&self.path, *error))?;
        for (key, bytes) in rows {
            let row = codec::read_channel(&key)
                .and_then(|(kind, name)| Some((kind, name, codec::read_row(kind, &bytes)?)));
            let (kind, name, row) = row.ok_or_else(|| {
                OpenError::damaged(&self.path, format!("the row of channel {key:?} cannot be read"))
            })?;
            let channel = self.channel(kind, &row).map_err(|error| OpenError::reading(&self.path, *error))?;
            let channel = channel
                .map_err(|what| OpenError::damaged(&self.path, format!("channel {name:?}: {what}")))?;
            let stored = Stored { id: row.id, epoch: row.top.epoch, first: channel.first() };
            self.stored.insert((kind, Arc::clone(&name)), stored);
            take(Loaded { kind, name, rules: Arc::new(row.rules), channel });
        }
        Ok(())
    }

    /// One channel; or what is wrong with it.
    fn channel(&self, kind: Kind, row: &Row) -> Result<Result<Channel, String>, Failure> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let id = row.id;
        let mut channel = Channel::at(kind, row.top.clone(), row.used_at);
        let log = transaction.open_table(LOG).map_err(failed)?;
        let mut publications = Vec::new();
        for entry in log.range((id, 0)..(id + 1, 0)).map_err(failed)? {
            let (key, bytes) = entry.map_err(failed)?;
            let (_, offset) = key.value();
            let Some(publication) = codec::read_publication(offset, bytes.value()) else {
                return Ok(Err(format!("publication {offset} cannot be read")));
            };
            publications.push(Arc::new(publication));
        }
        let first = publications.first().map_or(row.top.offset + 1, |first| first.offset);
        let dense = publications.iter().map(|publication| publication.offset).eq(first..=row.top.offset);
        if !dense {
            return Ok(Err(format!("its log from {first} to {} has holes", row.top.offset)));
        }
        channel.restore_from(first - 1);
        for entry in
            transaction.open_table(STATE).map_err(failed)?.range((id, "")..(id + 1, "")).map_err(failed)?
        {
            let (key, value) = entry.map_err(failed)?;
            let (offset, bytes) = value.value();
            let Some(publication) = codec::read_publication(offset, bytes) else {
                return Ok(Err(format!("its state of key {:?} cannot be read", key.value().1)));
            };
            if offset < first {
                channel.restore_state(&Arc::new(publication));
            }
        }
        for publication in &publications {
            channel.apply(&row.rules, publication, None, publication.at);
        }
        let used = transaction.open_table(USED).map_err(failed)?;
        for entry in used.range((id, i64::MIN, "")..(id + 1, i64::MIN, "")).map_err(failed)? {
            let (key, offset) = entry.map_err(failed)?;
            let (_, at, key) = key.value();
            if let Ok(at) = Timestamp::from_nanosecond(at.into()) {
                channel.restore_key(key, offset.value(), at);
            }
        }
        Ok(Ok(channel))
    }

    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    #[cfg(test)]
    pub(super) fn rows(&self) -> [u64; 4] {
        use redb::ReadableTableMetadata;
        let transaction = self.database.begin_read().expect("a reader");
        [
            transaction.open_table(CHANNELS).expect("channels").len().expect("a length"),
            transaction.open_table(LOG).expect("log").len().expect("a length"),
            transaction.open_table(STATE).expect("state").len().expect("a length"),
            transaction.open_table(USED).expect("used").len().expect("a length"),
        ]
    }
}
