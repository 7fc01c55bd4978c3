//! The instants at which a crash could fall: every effect on the disk passes here first. In production
//! nothing happens; a test stops the thread's store at one of them, as if the process had died there.

#[cfg(not(test))]
#[inline]
#[allow(clippy::unnecessary_wraps)]
pub(super) fn effect(_kind: &'static str, _path: &std::path::Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use script::effect;
#[cfg(test)]
pub(crate) use script::{crash_at, seen};

#[cfg(test)]
mod script {
    use std::cell::RefCell;
    use std::io;
    use std::path::{Path, PathBuf};

    /// An effect: what, and on which path.
    pub(crate) type Effect = (&'static str, PathBuf);

    struct Script {
        crash_at: usize,
        seen: Vec<Effect>,
    }

    thread_local! {
        static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
    }

    /// While it lives, effects of this thread are recorded.
    pub(crate) struct Traced;

    impl Traced {
        /// Ends it (a restart of the process) and returns what was recorded.
        pub(crate) fn end(self) -> Vec<Effect> {
            SCRIPT.with_borrow_mut(Option::take).map(|script| script.seen).unwrap_or_default()
        }
    }

    impl Drop for Traced {
        fn drop(&mut self) {
            SCRIPT.set(None);
        }
    }

    /// From effect number `crash_at` on, counted from 0, none happens any more.
    pub(crate) fn crash_at(crash_at: usize) -> Traced {
        SCRIPT.set(Some(Script { crash_at, seen: Vec::new() }));
        Traced
    }

    /// How many effects were asked for so far.
    pub(crate) fn seen() -> usize {
        SCRIPT.with_borrow(|script| script.as_ref().map_or(0, |script| script.seen.len()))
    }

    pub(in crate::store) fn effect(kind: &'static str, path: &Path) -> io::Result<()> {
        SCRIPT.with_borrow_mut(|script| {
            let Some(script) = script else { return Ok(()) };
            script.seen.push((kind, path.to_owned()));
            if script.seen.len() > script.crash_at {
                return Err(io::Error::other("the process died here"));
            }
            Ok(())
        })
    }
}
