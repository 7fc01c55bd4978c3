//! The pairing on a thread of its own. A bundle is checked, and its proof made, in turns of half a millisecond: on a
//! worker of the runtime that serves connections, the handshakes that had come to that worker would wait behind it.

use std::io;
use std::thread;

use tokio::runtime::{self, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::receive::Receiver;

/// Takes certificates until the guard is dropped; by the handle others may ask whether the thread turns.
///
/// # Errors
/// The system has no thread to give, or no descriptors for its events.
pub(crate) fn start(receiver: Receiver) -> io::Result<(DropGuard, Handle)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let stopping = CancellationToken::new();
    let stopped = stopping.clone();
    thread::Builder::new()
        .name("pairing".to_owned())
        .spawn(move || runtime.block_on(stopped.run_until_cancelled_owned(receiver.run())))?;
    Ok((stopping.drop_guard(), handle))
}
