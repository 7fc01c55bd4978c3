//! The audit file. A thread of its own writes it, so that a slow or full disk holds up nobody; lines wait in a queue of
//! limited length, and those that find it full are lost, counted and told.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::line::Line;
use super::lines::{Lines, Written};
use crate::counters::Counters;

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 4096;
/// Bytes written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// How often it is looked whether somebody has moved the file away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the node waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the audit file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("audit.file: cannot open {path}: {source}; make its directory and let the node's user write there")]
pub struct AuditFileError {
    path: PathBuf,
    source: io::Error,
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// Where lines are put.
#[derive(Debug)]
pub(super) struct AuditFile {
    queue: SyncSender<Message>,
    /// Lines that found no room since somebody last told.
    lost: Arc<AtomicU64>,
    counters: Arc<Counters>,
}

impl AuditFile {
    /// Opens the file, or makes it with mode 0640, and begins to write.
    pub(super) fn open(path: &Path, counters: Arc<Counters>) -> Result<Self, AuditFileError> {
        let failed = |source| AuditFileError { path: path.to_owned(), source };
        let open = Open::new(path).map_err(failed)?;
        let (queue, messages) = sync_channel(QUEUE_LINES);
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer {
            path: path.to_owned(),
            open: Some(open),
            lines: Lines::new(),
            lost: Arc::clone(&lost),
            counters: Arc::clone(&counters),
        };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || writer.run(&messages)).map_err(failed)?;
        Ok(Self { queue, lost, counters })
    }

    pub(super) fn write(&self, line: &Line<'_>) {
        if self.queue.try_send(Message::Line(line.encode())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            Counters::add(&self.counters.audit_lost);
        }
    }

    /// A queue that is full is written soon, and the file looked at then.
    pub(super) fn reopen(&self) {
        let _ = self.queue.try_send(Message::Reopen);
    }

    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flush = async {
            let mut message = Message::Flush(done);
            while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
                message = back;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            written.await
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::warn!("the audit file did not take all lines within {FLUSH_TIMEOUT:?}");
        }
    }
}

/// The file and which one it is.
#[derive(Debug)]
struct Open {
    file: File,
    id: (u64, u64),
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // Without O_NONBLOCK a named pipe would hold us until somebody reads it.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = options.append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Self { file, id: (metadata.dev(), metadata.ino()) })
    }

    /// Whether its path still leads to it.
    fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.id)
    }
}

/// The thread's own.
struct Writer {
    path: PathBuf,
    open: Option<Open>,
    lines: Lines,
    lost: Arc<AtomicU64>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Writes until the queue is dropped.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let first = messages.recv_timeout(LOOK_EVERY);
            if look_at <= Instant::now() {
                self.look();
                look_at = Instant::now() + LOOK_EVERY;
            }
            match first {
                Ok(first) => self.take(first, messages),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes a message, and with a line those that wait behind it.
    fn take(&mut self, first: Message, messages: &Receiver<Message>) {
        let (mut bytes, mut count) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    bytes.extend(line);
                    count += 1;
                }
                other => {
                    self.write(&bytes, count);
                    return self.obey(other);
                }
            }
            next = if bytes.len() < BATCH_BYTES { messages.try_recv().ok() } else { None };
        }
        self.write(&bytes, count);
    }

    fn obey(&mut self, message: Message) {
        match message {
            Message::Reopen => self.reopen(),
            Message::Flush(done) => {
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Message::Line(line) => self.write(&line, 1),
        }
    }

    fn write(&mut self, bytes: &[u8], count: u64) {
        self.lines.lost_before(self.lost.swap(0, Ordering::Relaxed));
        if count == 0 {
            return;
        }
        if self.open.is_none() {
            self.reopen();
        }
        let written = match &mut self.open {
            Some(open) => self.lines.write(&mut open.file, bytes, count, Timestamp::now()),
            None => self.lines.write(&mut Nowhere, bytes, count, Timestamp::now()),
        };
        let path = self.path.display();
        match written {
            Written::AsBefore => {}
            Written::Fails(why) => {
                tracing::warn!("audit lines are lost: {path}: {why}; the node goes on");
            }
            Written::Again(lost) => tracing::warn!(lost, "audit lines are written again: {path}"),
        }
        if !self.lines.is_whole() {
            Counters::add_many(&self.counters.audit_lost, usize::try_from(count).unwrap_or(usize::MAX));
        }
    }

    /// Somebody may have moved the file away or removed it, as logrotate does.
    fn look(&mut self) {
        if !self.open.as_ref().is_some_and(|open| open.is_at(&self.path)) {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        match Open::new(&self.path) {
            Ok(open) => self.open = Some(open),
            // What is open goes on being written.
            Err(error) => tracing::debug!(%error, "cannot open {} anew", self.path.display()),
        }
    }
}

/// A file that could not be opened.
struct Nowhere;

impl io::Write for Nowhere {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("it cannot be opened"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counters() -> Arc<Counters> {
        Arc::default()
    }

    fn line(what: &'static str) -> Line<'static> {
        Line::left_out(what, 1, "", Timestamp::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let file = AuditFile::open(&path, counters()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o137, 0, "not for everybody");
        file.write(&line("first"));
        file.flush().await;
        let moved = dir.path().join("audit.jsonl.1");
        std::fs::rename(&path, &moved).unwrap();
        file.reopen();
        file.write(&line("second"));
        file.flush().await;
        let (old, new) = (std::fs::read_to_string(&moved).unwrap(), std::fs::read_to_string(&path).unwrap());
        assert!(old.contains("first") && !old.contains("second"), "{old}");
        assert!(new.contains("second") && !new.contains("first"), "{new}");
    }

    #[tokio::test]
    async fn a_file_that_was_removed_is_missed_without_being_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let file = AuditFile::open(&path, counters()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let end = Instant::now() + LOOK_EVERY * 20;
        while !path.exists() {
            assert!(Instant::now() < end, "not made anew");
            file.write(&line("more"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[test]
    fn what_is_no_file_or_nowhere_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for (path, part) in
            [(dir.path().join("none/audit"), "No such file"), ("/dev/null".into(), "no regular file")]
        {
            let error = AuditFile::open(&path, counters()).unwrap_err().to_string();
            assert!(error.starts_with("audit.file: cannot open") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_full_queue_holds_up_nobody_and_losses_are_counted() {
        let (queue, _messages) = sync_channel(2);
        let file = AuditFile { queue, lost: Arc::default(), counters: counters() };
        for _ in 0..5 {
            file.write(&line("x"));
        }
        assert_eq!(Counters::get(&file.counters.audit_lost), 3);
        assert_eq!(file.lost.load(Ordering::Relaxed), 3);
    }
}
