//! Files that hold secrets.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Longest secret, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

/// Reads a secret that nobody but its owner and its group may read: what file systems of secrets make. An end of line
/// after it is none of it.
///
/// # Errors
/// In words, with the file and what to do.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o037 != 0 {
        let fix = format!("run: chmod o= {shown} && chmod g-wx {shown}");
        return Err(format!("others may read or write {shown} (mode {mode:04o}); {fix}"));
    }
    let mut secret = Zeroizing::new(Vec::with_capacity(4096 + 1));
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut secret).map_err(failed)?;
    if secret.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("{shown}: expected at most {MAX_SECRET_BYTES} bytes"));
    }
    while secret.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        secret.pop();
    }
    if secret.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Ok(secret)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_others_cannot_read_is_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(read_secret(&path).unwrap_err().starts_with("cannot read "));
        write(&path, "secret\r\n").unwrap();
        for (mode, sound) in [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o620, false)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = read_secret(&path);
            assert_eq!(read.is_ok(), sound, "{mode:o}");
            match read {
                Ok(secret) => assert_eq!(**secret, *b"secret"),
                Err(error) => assert!(error.contains("chmod"), "{error}"),
            }
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write(&path, "\n").unwrap();
        assert!(read_secret(&path).unwrap_err().ends_with("is empty"));
        write(&path, "x".repeat(5000)).unwrap();
        assert!(read_secret(&path).unwrap_err().contains("at most 4096"));
    }
}
