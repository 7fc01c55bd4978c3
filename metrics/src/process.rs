//! What the operating system says of this process (`/proc/self`, proc(5)).

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// A number of the process that goes up and down.
#[derive(Debug)]
pub struct ProcessGauge {
    /// As [`crate::Metric::name`].
    pub name: &'static str,
    /// As [`crate::Metric::unit`].
    pub unit: &'static str,
    /// For people.
    pub help: &'static str,
    /// Reads it; `None`: this system does not tell.
    pub read: fn() -> Option<u64>,
}

/// All of them.
pub const PROCESS: [ProcessGauge; 4] = [
    ProcessGauge { name: "process.memory.usage", unit: "By", help: "Resident memory", read: resident_bytes },
    ProcessGauge {
        name: "process.open_file_descriptors",
        unit: "{file_descriptor}",
        help: "Open file descriptors",
        read: descriptors,
    },
    ProcessGauge {
        name: "process.max_file_descriptors",
        unit: "{file_descriptor}",
        help: "How many file descriptors the process may have open",
        read: descriptor_limit,
    },
    ProcessGauge {
        name: "process.uptime",
        unit: "s",
        help: "Seconds since the process was started",
        read: uptime_seconds,
    },
];

/// Processor time, whose fractions matter.
pub struct ProcessTime;

impl ProcessTime {
    /// As [`crate::Metric::name`].
    pub const NAME: &'static str = "process.cpu.time";
    /// As [`crate::Metric::unit`].
    pub const UNIT: &'static str = "s";
    /// For people.
    pub const HELP: &'static str = "Processor time used, by the program and by the kernel for it";
    /// The one label.
    pub const LABEL: &'static str = "cpu.mode";

    /// Values of the label with their seconds; `None`: this system does not tell.
    #[must_use]
    pub fn read() -> Option<[(&'static str, f64); 2]> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let (user, system) = cpu_of(&stat, rustix::param::clock_ticks_per_second())?;
        Some([("user", user), ("system", system)])
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

fn descriptors() -> Option<u64> {
    // Since Linux 6.2 the directory's size is their number; counting 20,000 entries takes milliseconds.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok(),
        count => Some(count),
    }
}

fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
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

fn uptime_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let since_boot = u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).ok()?;
    Some(since_boot.saturating_sub(started_at(&stat, rustix::param::clock_ticks_per_second())?))
}

/// Field 22, in seconds since the machine was started.
fn started_at(stat: &str, ticks_per_second: u64) -> Option<u64> {
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_div(ticks_per_second)
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
        assert!(ProcessTime::read().is_some());
        assert!(PROCESS.iter().all(|gauge| (gauge.read)().is_some()));
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_of(stat, 100), Some((2.5, 0.5)));
        assert_eq!(started_at(&format!("{stat} 70000 1"), 100), Some(700));
        assert_eq!((cpu_of("7 (x) S 1", 100), started_at("7 (x) S 1", 100)), (None, None));
    }
}
