//! Open files: a connection takes one on each side.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files, which processes started from here inherit.
///
/// # Errors
/// The hard limit is lower, with the number that is needed.
pub fn allow(needed: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    ensure!(
        maximum.is_none_or(|maximum| maximum >= needed),
        "{needed} open files are needed and the limit is {maximum:?}: raise it (ulimit -Hn {needed}), \
         or set SEALWIRE_SESSIONS to fewer"
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).context("ulimit -n")
}
