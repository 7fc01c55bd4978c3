//! How long deliveries took: counted by many at once, each to within 1/64 of its value.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps between a power of two and the next, as a power of two.
const FINE: u32 = 6;
/// Microseconds from 0 to 2^32, which is over an hour.
const BUCKETS: usize = (33 - FINE as usize) << FINE;

/// Counts of durations.
#[derive(Debug)]
pub(super) struct Histogram {
    counts: Vec<AtomicU64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect() }
    }
}

impl Histogram {
    /// Counts one.
    pub(super) fn add(&self, took: Duration) {
        self.counts[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// What this part (0 to 1) of all does not exceed, rounded up to the end of its step; zero without any.
    #[must_use]
    pub(super) fn at(&self, part: f64) -> Duration {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let rank = ((counts.iter().sum::<u64>() as f64 * part).ceil() as u64).max(1);
        let mut sum = 0;
        let found = counts.iter().position(|count| {
            sum += count;
            sum >= rank
        });
        found.map_or(Duration::ZERO, end)
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    let power = micros.checked_ilog2().unwrap_or(0);
    if power < FINE {
        return micros as usize;
    }
    // The highest bit says which power of two, the next FINE bits which step of it.
    let shift = power - FINE;
    ((shift as usize + 1) << FINE) + (micros >> shift) as usize - (1 << FINE)
}

/// The longest duration of a bucket.
fn end(bucket: usize) -> Duration {
    let micros = match (bucket >> FINE) as u32 {
        0 => bucket as u64,
        power => (((bucket as u64 & ((1 << FINE) - 1)) + (1 << FINE) + 1) << (power - 1)) - 1,
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_within_a_step() {
        let histogram = Histogram::default();
        assert_eq!(histogram.at(0.5), Duration::ZERO);
        for millis in 1..=1000 {
            histogram.add(Duration::from_millis(millis));
        }
        for (part, millis) in [(0.001, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.at(part).as_secs_f64() * 1000.0;
            assert!((millis..=millis * (1.0 + 1.0 / 64.0)).contains(&found), "{part}: {found}");
        }
        histogram.clear();
        assert_eq!(histogram.at(1.0), Duration::ZERO);
    }

    #[test]
    fn every_duration_is_in_the_bucket_that_ends_at_or_after_it() {
        let micros = (0..200).chain([1000, 4095, 4096, 4097, 1 << 20, u64::from(u32::MAX)]);
        for took in micros.map(Duration::from_micros) {
            let bucket = bucket(took);
            assert!(end(bucket) >= took, "{took:?}");
            assert!(bucket == 0 || end(bucket - 1) < took, "{took:?}");
        }
        assert_eq!(bucket(Duration::from_secs(1 << 40)), BUCKETS - 1);
    }
}
