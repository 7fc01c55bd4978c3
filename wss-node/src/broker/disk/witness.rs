//! How many transactions were made, told beside the file that has them: a file that has fewer has lost some.
//!
//! A database that finds its last transaction damaged goes back to the one before, as it must after a power cut in the
//! middle of it. It cannot know that this one was acknowledged; the witness can. It is written without a flush: it
//! outlives the process, and a power cut makes it too low, never too high.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Says that the number is whole.
const MASK: u64 = 0x5ea1_317e_c0de_57ed;

/// The file that tells.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
}

impl Witness {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Self { file: options.open(path)? })
    }

    /// What it has seen; `None`: nothing, or it is not whole.
    pub(super) fn seen(&self) -> io::Result<Option<u64>> {
        let mut bytes = [0; 16];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let (number, check) = bytes.split_at(8);
        let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
        let check = u64::from_le_bytes(check.try_into().unwrap_or_default());
        Ok((number ^ MASK == check).then_some(number))
    }

    /// So many were made.
    pub(super) fn see(&self, number: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&(number ^ MASK).to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}

/// Where the witness of a file is.
pub(super) fn witness_path(path: &Path) -> PathBuf {
    path.with_extension("commits")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_it_saw_unless_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness");
        assert_eq!(Witness::open(&path).unwrap().seen().unwrap(), None);
        let witness = Witness::open(&path).unwrap();
        for number in [1, u64::MAX, 7] {
            witness.see(number).unwrap();
        }
        assert_eq!(Witness::open(&path).unwrap().seen().unwrap(), Some(7));
        witness.file.write_all_at(&[1], 9).unwrap();
        assert_eq!(witness.seen().unwrap(), None);
    }
}
