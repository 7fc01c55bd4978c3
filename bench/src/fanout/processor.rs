//! What a process has used of the processors, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, Result};

/// User and system time of all threads of a process so far, in steps of a tick (10 ms).
///
/// # Errors
/// It is gone.
pub(super) fn time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).context(path)?;
    let ticks = ticks(&text).context("/proc/PID/stat is not as proc(5) says")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// utime + stime: the 14th and 15th field; the second may hold anything between its parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 10 20 30 40 111 222 3 4 20 0 2 0 1 2 3";
        assert_eq!(ticks(stat), Some(333));
        assert_eq!(ticks("7 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_used_some() {
        let began = time(std::process::id()).unwrap();
        while time(std::process::id()).unwrap() == began {
            std::hint::spin_loop();
        }
    }
}
