//! Files that survive a crash: written beside their place, fsynced, renamed, and the directory fsynced
//! (a rename is durable only when its directory is). What was there before stays whole until then.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::faults::effect;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {doing} {path}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found and what to do.
        detail: String,
    },
    /// Another agent has the directory.
    #[error(
        "state directory {dir} is in use by another agent{}: stop it, or give this one its own state_dir",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that has it, where known.
        pid: Option<u32>,
    },
    /// Others may read what must be secret.
    #[error("{path} may be read by others (mode {mode:04o}) but holds private keys: {fix}")]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The command that mends it.
        fix: String,
    },
}

impl StoreError {
    /// An adapter for `map_err` that says what was being done to which file.
    pub fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { doing, path, source }
    }

    /// A file that cannot be used as it is.
    pub fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.into() }
    }
}

/// The name of the temporary beside a file. One writer at a time owns the state directory, so it needs no
/// randomness, and a left-over of a crash is simply overwritten.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Puts `bytes` at `path` with permission bits `mode`; durable when it returns.
///
/// # Errors
/// [`StoreError::System`]; what stood at `path` before is untouched then.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let new = temporary(path);
    let result = write_new(&new, bytes, mode).and_then(|()| move_into_place(&new, path));
    if result.is_err() {
        // Ours alone: a half-written temporary on a full disk would only take more room.
        let _ = unlink(&new);
    }
    result?;
    sync_dir(parent(path))
}

/// Renames; durable only once the directory is fsynced.
fn move_into_place(from: &Path, to: &Path) -> Result<(), StoreError> {
    effect("rename", to)
        .and_then(|()| std::fs::rename(from, to))
        .map_err(StoreError::system("rename into place", to))
}

/// Removes a file; one that is not there is fine.
fn unlink(path: &Path) -> io::Result<()> {
    match effect("unlink", path).and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames a file or directory, durably.
///
/// # Errors
/// [`StoreError::System`].
pub fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    move_into_place(from, to)?;
    sync_dir(parent(to))
}

/// Removes a directory with all that is in it; one that is not there is fine.
///
/// # Errors
/// [`StoreError::System`].
pub fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match effect("remove tree", path).and_then(|()| std::fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::system("remove the directory", path)(error))
        }
        _ => Ok(()),
    }
}

/// Creates a file (over a left-over of a crash) and fsyncs it.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    unlink(path).map_err(StoreError::system("remove the left-over", path))?;
    effect("create", path).map_err(StoreError::system("create", path))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(StoreError::system("create", path))?;
    effect("write", path).and_then(|()| file.write_all(bytes)).map_err(StoreError::system("write", path))?;
    effect("fsync", path).and_then(|()| file.sync_all()).map_err(StoreError::system("fsync", path))
}

/// Adds `bytes` to the end of a file whose good part is `good_bytes` long (made with mode 0600 if there is
/// none); durable when it returns. What a crash left behind the good part is cut off first.
///
/// # Errors
/// [`StoreError::System`]; some of `bytes` may be behind the good part then.
pub fn append(path: &Path, good_bytes: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let is_new = !path.exists();
    effect("open", path).map_err(StoreError::system("open", path))?;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::system("open", path))?;
    let found_bytes = file.metadata().map_err(StoreError::system("look at", path))?.len();
    if found_bytes > good_bytes {
        effect("truncate", path)
            .and_then(|()| file.set_len(good_bytes))
            .map_err(StoreError::system("cut the left-over off", path))?;
    }
    effect("write", path).and_then(|()| file.write_all(bytes)).map_err(StoreError::system("write", path))?;
    effect("fsync", path).and_then(|()| file.sync_data()).map_err(StoreError::system("fsync", path))?;
    if is_new { sync_dir(parent(path)) } else { Ok(()) }
}

/// Reads a whole file; `None` if there is none.
///
/// # Errors
/// [`StoreError::System`].
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::system("read", path)(error)),
    }
}

/// Removes a file, durably; one that is not there is fine.
///
/// # Errors
/// [`StoreError::System`].
pub fn remove(path: &Path) -> Result<(), StoreError> {
    match effect("unlink", path).and_then(|()| std::fs::remove_file(path)) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::system("remove", path)(error)),
    }
}

/// Makes a directory and those above it, for this user only (0700), durably.
///
/// # Errors
/// [`StoreError::System`].
pub fn create_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if !above.as_os_str().is_empty() {
        create_dir(above)?;
    }
    match effect("mkdir", path).and_then(|()| DirBuilder::new().mode(0o700).create(path)) {
        Ok(()) => sync_dir(above),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::system("make the directory", path)(error)),
    }
}

/// Points the symbolic link `link` at `target` by one rename: readers see the old or the new, never none.
///
/// # Errors
/// [`StoreError::System`]; the link is as it was then.
pub fn point(link: &Path, target: &Path) -> Result<(), StoreError> {
    let new = temporary(link);
    unlink(&new).map_err(StoreError::system("remove the left-over", &new))?;
    effect("symlink", &new)
        .and_then(|()| std::os::unix::fs::symlink(target, &new))
        .map_err(StoreError::system("make the link", &new))?;
    rename(&new, link)
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// [`StoreError::System`].
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    effect("fsync directory", dir)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(StoreError::system("fsync", dir))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn write_replaces_whole_files_with_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/key.pem");
        create_dir(path.parent().unwrap()).unwrap();
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, b"good", 0o600).unwrap();
        // A directory where the temporary should go makes the write fail before the rename.
        std::fs::create_dir(dir.path().join("state.json.tmp")).unwrap();
        assert!(write(&path, b"bad", 0o600).is_err());
        assert_eq!(read(&path).unwrap().unwrap(), b"good");
    }

    #[test]
    fn left_overs_of_a_crash_are_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::write(dir.path().join("state.json.tmp"), "half").unwrap();
        write(&path, b"whole", 0o600).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"whole");

        let link = dir.path().join("current");
        std::os::unix::fs::symlink("nowhere", dir.path().join("current.tmp")).unwrap();
        point(&link, Path::new("state.json")).unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("state.json"));
    }

    #[test]
    fn what_is_appended_follows_the_good_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        append(&path, 0, b"one\n").unwrap();
        append(&path, 4, b"two\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // Half a line, as a crash leaves it.
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        append(&path, 8, b"four\n").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"one\ntwo\nfour\n");
    }

    #[test]
    fn absent_files_are_none_and_may_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("x")).unwrap(), None);
        remove(&dir.path().join("x")).unwrap();
    }
}
