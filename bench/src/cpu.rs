//! Time that processors spent on a process, from `/proc`: in ticks of ten milliseconds, so that a second of it is exact
//! to a hundredth. And which of them a process may use.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// User and system time of one process with all its threads.
///
/// # Errors
/// There is no such process.
pub fn of(pid: u32) -> Result<Duration> {
    Ok(Stat::of(pid)?.used)
}

/// The same with its children and theirs: some servers work in those.
///
/// # Errors
/// There is no such process.
pub fn of_all(pid: u32) -> Result<Duration> {
    let mut used = of(pid)?;
    for process in std::fs::read_dir("/proc").context("/proc")? {
        let Some(child) = process?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile was none of those that are measured.
        if Stat::of(child).is_ok_and(|stat| stat.parent == pid) {
            used += of_all(child)?;
        }
    }
    Ok(used)
}

/// Keeps this thread, and threads and processes that it starts from now on, on one processor.
///
/// # Errors
/// There is no such processor.
pub fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("processor {core}"))
}

/// The same command, kept on one processor from its first instruction.
#[must_use]
pub fn pinned(command: &Command, core: usize) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.arg("-c").arg(core.to_string()).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(key, value),
            None => pinned.env_remove(key),
        };
    }
    pinned
}

struct Stat {
    parent: u32,
    used: Duration,
}

impl Stat {
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).context(path)?;
        Self::parse(&text, rustix::param::clock_ticks_per_second()).context("a line of /proc/PID/stat")
    }

    /// proc(5): the name in parentheses may hold anything; after it, the second field is the parent, the twelfth and
    /// the thirteenth are user and system time.
    fn parse(text: &str, ticks_per_second: u64) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let used = Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
        Some(Self { parent: fields.get(1)?.parse().ok()?, used })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) b (c) S 42 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0";
        let stat = Stat::parse(line, 100).unwrap();
        assert_eq!((stat.parent, stat.used), (42, Duration::from_secs(2)));
        assert!(Stat::parse("7 (a) S 42", 100).is_none());
    }

    #[test]
    fn what_this_process_and_its_children_use_is_counted() {
        let own = std::process::id();
        let before = of(own).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while of(own).unwrap() < before + Duration::from_millis(20) {
            assert!(Instant::now() < end, "no time passes");
        }
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        while of_all(own).unwrap() < of(own).unwrap() + Duration::from_millis(20) {
            assert!(Instant::now() < end, "the child is not counted");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of(u32::MAX).is_err());
    }

    #[test]
    fn a_pinned_command_is_the_same_command() {
        let mut command = Command::new("echo");
        command.arg("a b").env("X", "1").env_remove("Y");
        let pinned = pinned(&command, 0);
        let arguments: Vec<_> = pinned.get_args().collect();
        assert_eq!(
            (pinned.get_program(), &arguments[..]),
            ("taskset".as_ref(), ["-c", "0", "echo", "a b"].map(std::ffi::OsStr::new).as_slice())
        );
        assert_eq!(pinned.get_envs().count(), 2);
    }
}
