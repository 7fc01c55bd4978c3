//! The keys of applications. Only their digests are kept, and compared in constant time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::auth::read_secret;

/// Between two looks at whether the file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A key that is shorter could be guessed.
const LEAST_BYTES: usize = 16;

/// The keys that are good at present.
#[derive(Debug)]
pub(super) struct Keys {
    path: PathBuf,
    digests: ArcSwap<Vec<[u8; 32]>>,
}

impl Keys {
    /// Those in a file.
    ///
    /// # Errors
    /// In words, with the file and what to do.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        Ok(Self { path: path.to_owned(), digests: ArcSwap::from_pointee(read(path)?) })
    }

    /// Whether this is one of them.
    pub(super) fn know(&self, key: &[u8]) -> bool {
        let presented = digest(&SHA256, key);
        // All of them, so that the time does not tell which.
        self.digests
            .load()
            .iter()
            .fold(false, |known, one| known | verify_slices_are_equal(one, presented.as_ref()).is_ok())
    }

    /// Takes the file again whenever it changes, until it is dropped. Keys stay as they are while it cannot be used.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            ticks.tick().await;
            let keys = Arc::clone(&self);
            let before = seen;
            let look = tokio::task::spawn_blocking(move || {
                let now = changed(&keys.path);
                if now != before {
                    keys.read_again();
                }
                now
            });
            seen = look.await.unwrap_or(seen);
        }
    }

    fn read_again(&self) {
        match read(&self.path) {
            Ok(digests) if digests == **self.digests.load() => {}
            Ok(digests) => {
                tracing::info!(keys = digests.len(), file = %self.path.display(), "api.keys_file was read again");
                self.digests.store(Arc::new(digests));
            }
            Err(error) => tracing::error!(error, "api.keys_file cannot be used; the keys stay as they were"),
        }
    }
}

/// What tells that a file is another than before.
fn changed(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read(path: &Path) -> Result<Vec<[u8; 32]>, String> {
    let text = read_secret(path)?;
    let mut digests = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let key = line.trim_ascii();
        if key.is_empty() || key.starts_with(b"#") {
            continue;
        }
        let fault = |what: &str| Err(format!("{}:{number}: {what}", path.display()));
        if key.len() < LEAST_BYTES {
            return fault("the key is too short; make one with: openssl rand -hex 32");
        }
        if !key.iter().all(u8::is_ascii_graphic) {
            return fault("expected printable characters without spaces: it is the value of an HTTP header");
        }
        let mut one = [0; 32];
        one.copy_from_slice(digest(&SHA256, key).as_ref());
        digests.push(one);
    }
    if digests.is_empty() {
        return Err(format!("{}: no key in it", path.display()));
    }
    Ok(digests)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210-";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        write(&path, text).unwrap();
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        (dir, path)
    }

    #[test]
    fn each_line_is_a_key() {
        let (_dir, path) = file(&format!("# the shop's\n{ONE}\n\n  {TWO}\r\n"));
        let keys = Keys::load(&path).unwrap();
        assert!(keys.know(ONE.as_bytes()) && keys.know(TWO.as_bytes()));
        for wrong in ["", "# the shop's", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!keys.know(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{keys:?}").contains(ONE));
    }

    #[test]
    fn errors_name_the_line_and_not_the_key() {
        for (text, expected) in [
            ("short", ":1: the key is too short"),
            ("0123456789abcdef\n0123456789 abcdef", ":2: expected printable"),
            ("# nothing", "no key in it"),
        ] {
            let (_dir, path) = file(text);
            let error = Keys::load(&path).unwrap_err();
            assert!(error.contains(expected) && !error.contains("0123456789"), "{error}");
        }
        let (_dir, path) = file(ONE);
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(Keys::load(&path).unwrap_err().contains("chmod"));
    }

    #[test]
    fn keys_are_changed_while_the_node_runs_and_a_bad_file_changes_nothing() {
        let (_dir, path) = file(ONE);
        let keys = Keys::load(&path).unwrap();
        let was = changed(&path);
        write(&path, TWO).unwrap();
        assert_ne!(was, changed(&path));
        keys.read_again();
        assert!(keys.know(TWO.as_bytes()) && !keys.know(ONE.as_bytes()));
        write(&path, "short").unwrap();
        keys.read_again();
        assert!(keys.know(TWO.as_bytes()));
    }
}
