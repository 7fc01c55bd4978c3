//! Files that hold secrets.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::store::{StoreError, durable};

/// Nothing for group and others: what we write ourselves.
const OURS: u32 = 0o077;
/// The group may read: so secrets come out of volumes of Kubernetes (`fsGroup`) and of systemd's credentials.
const GIVEN: u32 = 0o037;

/// Reads a file that we wrote, and that only its owner may read; `None` if there is none.
///
/// # Errors
/// [`StoreError::TooOpen`] with the command that mends it, [`StoreError::System`].
pub(crate) fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    read_unless(OURS, path)
}

/// Reads a file that an operator gave us, which its group may read too; `None` if there is none.
///
/// # Errors
/// As [`read_secret`].
pub(crate) fn read_given_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    read_unless(GIVEN, path)
}

fn read_unless(forbidden: u32, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let Some(bytes) = durable::read(path)?.map(Zeroizing::new) else { return Ok(None) };
    let mode = std::fs::metadata(path).map_err(StoreError::system("look at", path))?.mode() & 0o7777;
    if mode & forbidden != 0 {
        let fix = format!("chmod 0600 {}", path.display());
        return Err(StoreError::TooOpen { path: path.to_owned(), mode, fix });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_group_may_read_what_was_given_and_nothing_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, "x").unwrap();
        for (mode, ours, given) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o604, false, false),
            (0o610, false, false),
        ] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secret(&path).is_ok(), ours, "{mode:o}");
            assert_eq!(read_given_secret(&path).is_ok(), given, "{mode:o}");
        }
        let message = read_given_secret(&path).unwrap_err().to_string();
        assert!(message.contains("chmod 0600"), "{message}");
        assert!(read_given_secret(&dir.path().join("none")).unwrap().is_none());
    }
}
