//! What the operating system says of this process (`/proc/self`, proc(5)).

use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

/// Resident memory, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// Open file descriptors.
pub(super) fn descriptors() -> Option<u64> {
    // Since Linux 6.2 the directory's size is their number; counting 20,000 entries takes milliseconds.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok(),
        count => Some(count),
    }
}

/// How many descriptors the process may have open.
pub(super) fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Processor time used, in seconds: by the program, by the kernel for it.
pub(super) fn cpu_seconds() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    cpu_of(&stat, rustix::param::clock_ticks_per_second())
}

/// Fields 14 and 15; the second is in parentheses and may hold anything.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<(f64, f64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds = || {
        let ticks: u32 = fields.next()?.parse::<u64>().ok()?.try_into().ok()?;
        Some(f64::from(ticks) / f64::from(u32::try_from(ticks_per_second).ok()?))
    };
    Some((seconds()?, seconds()?))
}

/// Seconds since the first call, which the node makes when it starts.
pub(super) fn uptime_seconds() -> u64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    STARTED.get_or_init(Instant::now).elapsed().as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        let before = descriptors().unwrap();
        let _file = fs::File::open("/proc/self/stat").unwrap();
        assert!(before >= 3 && before <= descriptor_limit().unwrap());
        assert!(cpu_seconds().is_some());
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_of(stat, 100), Some((2.5, 0.5)));
        assert_eq!(cpu_of("7 (x) S 1", 100), None);
    }
}
