//! What a CA issued, and what of it is revoked: one line per event, appended and fsynced before the
//! certificate leaves the CA and before a revocation is answered. An answer of "good" is given only for what
//! stands here.
//!
//! ```text
//! issued SERIAL AUTHORITY NOT_AFTER
//! revoked SERIAL AUTHORITY NOT_AFTER AT REASON
//! ```
//!
//! Times are seconds since the Unix epoch; the last line about a serial counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use super::identity::AuthorityId;
use crate::store::{StoreError, durable};

/// A serial number of ours: always 16 bytes, the first from 0x40 to 0x7f.
pub(super) type Serial = [u8; 16];

/// Certificates that have not expired. A leaf a day for each of 100,000 certificates is far below.
const MAX_ENTRIES: usize = 1_000_000;

/// Lines of what is over are tolerated up to this many beyond as many as count, then the file is rewritten.
const SPARE_LINES: usize = 1024;

/// When and why (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revocation {
    pub(super) at: Timestamp,
    pub(super) reason: u8,
}

/// One certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) by: AuthorityId,
    pub(super) not_after: Timestamp,
    pub(super) revoked: Option<Revocation>,
}

/// The file as far as it is good.
#[derive(Debug)]
struct Log {
    bytes: u64,
    lines: usize,
}

/// The record of one CA.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    /// How long an entry stays after its end: a revoked certificate is on one more list after it (RFC 5280
    /// section 3.3).
    grace: SignedDuration,
    /// Held over the fsync; readers do not wait for it.
    log: Mutex<Log>,
    entries: RwLock<BTreeMap<Serial, Entry>>,
}

impl Record {
    /// Reads the record at `path`, or starts one. A line that a crash cut short is dropped; any other that
    /// cannot be read is told, and the file is kept aside as a copy.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub(super) fn open(path: PathBuf, grace: SignedDuration) -> Result<Self, StoreError> {
        let text = durable::read(&path)?.unwrap_or_default();
        let good_bytes = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (mut entries, mut lines, mut damaged) = (BTreeMap::new(), 0, 0_usize);
        for line in text[..good_bytes].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines += 1;
            match std::str::from_utf8(line).ok().and_then(read_line) {
                Some((serial, entry)) => merge(&mut entries, serial, entry),
                None => damaged += 1,
            }
        }
        let log = Mutex::new(Log { bytes: good_bytes as u64, lines });
        let record = Self { path, grace, log, entries: RwLock::new(entries) };
        if damaged > 0 {
            record.keep_aside(&text, damaged)?;
        }
        Ok(record)
    }

    /// Notes a certificate that is about to leave the CA; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]; the certificate must not leave then.
    pub(super) fn issued(
        &self,
        serial: Serial,
        by: AuthorityId,
        not_after: Timestamp,
    ) -> Result<(), StoreError> {
        if self.read().len() >= MAX_ENTRIES {
            let detail = format!(
                "it holds {MAX_ENTRIES} certificates that have not expired, and no more fit: issue less often"
            );
            return Err(StoreError::damaged(&self.path, detail));
        }
        self.append(serial, Entry { by, not_after, revoked: None })
    }

    /// Notes a revocation; durable when it returns. One that stands already stays as it is.
    ///
    /// # Errors
    /// [`StoreError`]; nothing may be answered then.
    pub(super) fn revoke(
        &self,
        serial: Serial,
        by: AuthorityId,
        not_after: Timestamp,
        revocation: Revocation,
    ) -> Result<(), StoreError> {
        if self.read().get(&serial).is_some_and(|entry| entry.revoked.is_some()) {
            return Ok(());
        }
        self.append(serial, Entry { by, not_after, revoked: Some(revocation) })
    }

    /// What is known of a serial number.
    pub(super) fn find(&self, serial: &[u8]) -> Option<Entry> {
        self.read().get(&Serial::try_from(serial).ok()?).copied()
    }

    /// What is revoked of an authority, in the order of the serial numbers.
    pub(super) fn revoked_by(&self, by: AuthorityId) -> Vec<(Serial, Revocation)> {
        let entries = self.read();
        let own = entries.iter().filter(|(_, entry)| entry.by == by);
        own.filter_map(|(serial, entry)| Some((*serial, entry.revoked?))).collect()
    }

    /// How many revocations there are.
    pub(super) fn revoked(&self) -> usize {
        self.read().values().filter(|entry| entry.revoked.is_some()).count()
    }

    /// When the last certificate of some authorities ends; `None` if there is none.
    pub(super) fn last_end(&self, of: impl Fn(AuthorityId) -> bool) -> Option<Timestamp> {
        self.read().values().filter(|entry| of(entry.by)).map(|entry| entry.not_after).max()
    }

    /// Forgets what ended long enough ago, and rewrites the file when most of it is about such.
    ///
    /// # Errors
    /// [`StoreError`]; the file is as it was then.
    pub(super) fn prune(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut log = self.log();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| now.duration_since(entry.not_after) <= self.grace);
        let is_mostly_over = log.lines > 2 * entries.len() + SPARE_LINES;
        drop(entries);
        if is_mostly_over { self.rewrite(&mut log) } else { Ok(()) }
    }

    fn append(&self, serial: Serial, entry: Entry) -> Result<(), StoreError> {
        let line = write_line(&serial, &entry);
        let mut log = self.log();
        durable::append(&self.path, log.bytes, line.as_bytes())?;
        log.bytes += line.len() as u64;
        log.lines += 1;
        merge(&mut self.entries.write().unwrap_or_else(PoisonError::into_inner), serial, entry);
        Ok(())
    }

    fn rewrite(&self, log: &mut Log) -> Result<(), StoreError> {
        let (text, lines) = {
            let entries = self.read();
            let text: String = entries.iter().map(|(serial, entry)| write_line(serial, entry)).collect();
            (text, entries.len())
        };
        durable::write(&self.path, text.as_bytes(), 0o600)?;
        *log = Log { bytes: text.len() as u64, lines };
        Ok(())
    }

    /// Writes the damaged text beside the record, and what could be read in its place.
    fn keep_aside(&self, text: &[u8], damaged: usize) -> Result<(), StoreError> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".damaged-{:016x}", digest(text)));
        durable::write(Path::new(&aside), text, 0o600)?;
        tracing::error!(path = %self.path.display(), lines = damaged, aside = %aside.display(),
            "lines that cannot be read: OCSP answers unknown for what they were about, and a revocation among \
             them is lost; compare with a backup");
        self.rewrite(&mut self.log())
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Serial, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last line counts, but nothing takes a revocation back.
fn merge(entries: &mut BTreeMap<Serial, Entry>, serial: Serial, mut entry: Entry) {
    if let Some(before) = entries.get(&serial) {
        entry.revoked = before.revoked.or(entry.revoked);
    }
    entries.insert(serial, entry);
}

/// Names a copy by its content, so that the same damage is not copied twice.
fn digest(text: &[u8]) -> u64 {
    let digest = sealwire_proto::validate::sha256(text);
    digest[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn write_line(serial: &Serial, entry: &Entry) -> String {
    let Entry { by, not_after, revoked } = entry;
    let kind = if revoked.is_some() { "revoked" } else { "issued" };
    let mut line = format!("{kind} {} {by} {}", sealwire_proto::hex(serial), not_after.as_second());
    if let Some(Revocation { at, reason }) = revoked {
        let _ = write!(line, " {} {reason}", at.as_second());
    }
    line.push('\n');
    line
}

fn read_line(line: &str) -> Option<(Serial, Entry)> {
    let instant = |word: &str| Timestamp::from_second(word.parse().ok()?).ok();
    let words: Vec<_> = line.split(' ').collect();
    let (serial, by, not_after, revoked) = match words[..] {
        ["issued", serial, by, not_after] => (serial, by, not_after, None),
        ["revoked", serial, by, not_after, at, reason] => {
            let revocation = Revocation { at: instant(at)?, reason: reason.parse().ok()? };
            (serial, by, not_after, Some(revocation))
        }
        _ => return None,
    };
    let entry = Entry { by: by.parse().ok()?, not_after: instant(not_after)?, revoked };
    Some((read_serial(serial)?, entry))
}

/// 32 hexadecimal digits.
fn read_serial(text: &str) -> Option<Serial> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
