//! Programs of the operator's: they end in time with all that they started, and of what they say only the beginning
//! is kept.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// For the last words of a program that has ended. What it left running in the background may hold its output open
/// for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What is kept of a program's output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// So many bytes of its standard error.
    Errors(usize),
    /// So many bytes of both its outputs.
    All(usize),
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How.
    pub(crate) status: ExitStatus,
    /// The beginning of what it said.
    pub(crate) said: Vec<u8>,
}

/// Ends the program and what it started, whichever way we stop waiting for it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs a program to its end, in a process group of its own, with nothing to read. Dropping the future ends it.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub(crate) async fn run(command: &mut Command, keep: Keep) -> std::io::Result<Ran> {
    let (stdout, room) = match keep {
        Keep::Errors(bytes) => (Stdio::null(), bytes),
        Keep::All(bytes) => (Stdio::piped(), bytes),
    };
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let said = Arc::new(Mutex::new(Vec::new()));
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut reading = Box::pin(async { tokio::join!(read(out, &said, room), read(err, &said, room)) });
    let status = tokio::select! {
        status = child.wait() => {
            let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
            status
        }
        _ = &mut reading => child.wait().await,
    }?;
    drop(reading);
    // It ended by itself, and its number may be another's by now.
    group.0 = None;
    let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Ran { status, said })
}

/// Reads to the end, or the program would block on a full pipe; keeps the beginning.
async fn read(pipe: Option<impl AsyncRead + Unpin>, said: &Mutex<Vec<u8>>, room: usize) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let left = room.saturating_sub(said.len());
        said.extend_from_slice(&buffer[..length.min(left)]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn shell(script: &str, keep: Keep) -> Ran {
        run(Command::new("/bin/sh").args(["-c", script]), keep).await.unwrap()
    }

    #[tokio::test]
    async fn the_beginning_of_what_it_says_is_kept() {
        let ran = shell("echo out; echo err >&2; exit 3", Keep::Errors(100)).await;
        assert_eq!((ran.status.code(), &ran.said[..]), (Some(3), &b"err\n"[..]));
        let ran = shell("yes | head -c 1000000; exit 0", Keep::All(64)).await;
        assert!(ran.status.success());
        assert_eq!(ran.said.len(), 64);
    }

    #[tokio::test]
    async fn what_it_left_in_the_background_is_not_waited_for() {
        let began = std::time::Instant::now();
        let ran = shell("echo started; sleep 600 & echo $!", Keep::All(100)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "it waited for the background");
        let said = String::from_utf8(ran.said).unwrap();
        let pid = said.lines().nth(1).unwrap().parse().unwrap();
        // Daemons outlive the program that started them.
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn nothing_of_it_is_left_when_nobody_waits() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let running = tokio::spawn(async move { run(&mut command, Keep::All(10)).await });
        let pid = loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break pid;
            }
        };
        running.abort();
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z ")
        };
        for _ in 0..1000 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {pid} is still there");
    }
}
