//! File systems of a test, with little room or read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

/// Unmounted when dropped, also by a panic.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// `None`, said aloud, where mounting is not permitted; never in CI.
    ///
    /// # Panics
    /// In CI, where it must be permitted.
    #[must_use]
    pub fn new(path: &Path, how: &[&str]) -> Option<Self> {
        let ran = run(Command::new("mount").args(how).arg(path));
        if ran.code == 0 {
            return Some(Self(path.to_owned()));
        }
        let message = format!("mounting needs root (CAP_SYS_ADMIN): {}", ran.err.trim());
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("\n*** TEST NOT RUN: {message} ***\n");
        None
    }

    /// An empty one with a room of so many KiB.
    ///
    /// # Panics
    /// When its directory cannot be made.
    #[must_use]
    pub fn small(path: &Path, kib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::new(path, &["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "tmpfs"])
    }

    /// Makes a directory in use read-only, also for root: what is open stays open, but every path is looked
    /// up in the mount.
    ///
    /// # Panics
    /// When it cannot be made read-only.
    #[must_use]
    pub fn read_only(path: &Path) -> Option<Self> {
        let mount = Self::new(path, &["--bind", &path.to_string_lossy()])?;
        let ran = run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(path));
        assert_eq!(ran.code, 0, "{ran:?}");
        Some(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the agent may hold files still.
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}
