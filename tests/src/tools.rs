//! Real components that `tests/tools/install` puts into `target/tools`. In CI a missing one fails the test;
//! elsewhere the test names it aloud and ends.

use std::path::{Path, PathBuf};

/// Where the components are.
#[must_use]
pub fn dir() -> PathBuf {
    match std::env::var_os("SEALWIRE_TOOLS") {
        Some(dir) => dir.into(),
        None => repository().join("target/tools"),
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The library that gives a process another clock, for `LD_PRELOAD`: the command of the same name forks.
///
/// # Panics
/// In CI, when it is missing.
#[must_use]
pub fn faketime() -> Option<PathBuf> {
    find("faketime")?;
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|path| path.is_file());
    assert!(found.is_some(), "faketime is here, but not /usr/lib/*/faketime/libfaketimeMT.so.1");
    found
}

/// A component below [`dir`], or a command on the path.
///
/// # Panics
/// In CI, when it is missing.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let own = dir().join(name);
    if own.exists() {
        return Some(own);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()) {
        return Some(found);
    }
    let message = format!("{name} is missing: run tests/tools/install (or `make test`, which does)");
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("\n*** TEST NOT RUN: {message} ***\n");
    None
}
