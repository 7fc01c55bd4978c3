//! Why the file cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use redb::{DatabaseError, StorageError};

use super::witness::witness_path;

/// The newest format that is known.
pub(super) const FORMAT: u64 = 1;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system says no.
    #[error("cannot {what} {path}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use by another process: give each node a broker.directory of its own")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// Its content is not what was written.
    #[error(
        "{path} is damaged: {what}. Restore it from a backup; or move it and {witness} away to begin without channels, \
         and clients are told that their history is lost"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The file beside it.
        witness: PathBuf,
        /// What was found.
        what: String,
    },
    /// Written by a later version.
    #[error("{path} has format {found}, this version knows up to {FORMAT}: run the version that wrote it")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

impl OpenError {
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), witness: witness_path(path), what: what.into() }
    }

    /// What the database says when it opens a file.
    pub(super) fn opening(path: &Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse { path: path.to_owned() },
            // A file that is none of the database's is told so.
            DatabaseError::Storage(StorageError::Io(source))
                if source.kind() != io::ErrorKind::InvalidData =>
            {
                Self::System { what: "open", path: path.to_owned(), source }
            }
            error => Self::damaged(path, error.to_string()),
        }
    }

    /// What it says when it reads.
    pub(super) fn reading(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(source) => Self::System { what: "read", path: path.to_owned(), source },
            error => Self::damaged(path, error.to_string()),
        }
    }
}
