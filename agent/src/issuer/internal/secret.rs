//! Files that hold private keys.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::store::{StoreError, durable};

/// Reads a file that only its owner may read; `None` if there is none.
///
/// # Errors
/// [`StoreError::TooOpen`] with the command that mends it, [`StoreError::System`].
pub(crate) fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let Some(bytes) = durable::read(path)?.map(Zeroizing::new) else { return Ok(None) };
    let mode = std::fs::metadata(path).map_err(StoreError::system("look at", path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let fix = format!("chmod 0600 {}", path.display());
        return Err(StoreError::TooOpen { path: path.to_owned(), mode, fix });
    }
    Ok(Some(bytes))
}
