//! Descriptors: a node that has none left can neither accept nor read a file. A tenth is kept for all that is no
//! connection of a client.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit (RLIMIT_NOFILE) to the hard one, as the system allows to everybody; tells what it is now.
pub(crate) fn raise() -> Option<u64> {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: now.maximum, maximum: now.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => now.maximum,
        // A hard limit of infinity may be more than the system gives: as it is then.
        Err(_) => now.current,
    }
}

/// The first descriptor that no client gets. Descriptors are given from the lowest that is free, so one with this
/// number says that so many are in use.
pub(super) fn reserve() -> u64 {
    getrlimit(Resource::Nofile).current.map_or(u64::MAX, |limit| limit / 10 * 9)
}
