//! Durations and their percentiles. Pure.

use std::time::Duration;

/// Measured durations, in order.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    sorted: Vec<Duration>,
}

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl Sample {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The smallest duration that this part (0 to 1) of all does not exceed (nearest rank); zero without any.
    #[must_use]
    pub fn at(&self, part: f64) -> Duration {
        let rank = (self.sorted.len() as f64 * part).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).or(self.sorted.last()).copied().unwrap_or_default()
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.at(0.5)
    }

    /// What 99 of 100 do not exceed.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.at(0.99)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.at(1.0)
    }
}

/// How many times `other` a duration is; nothing is infinitely many times nothing.
#[must_use]
pub fn ratio(duration: Duration, other: Duration) -> f64 {
    duration.as_secs_f64() / other.as_secs_f64()
}

/// The middle one of some ratios (of an even number, the lower one of the two); NaN without any.
#[must_use]
pub fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// `1.23 ms`.
#[must_use]
pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: impl IntoIterator<Item = u64>) -> Sample {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks_in_any_order_of_arrival() {
        let hundred = sample((1..=100).rev());
        let of = |part| hundred.at(part).as_millis();
        assert_eq!((of(0.0), of(0.5), of(0.99), of(0.991), of(1.0)), (1, 50, 99, 100, 100));
        let thirty = sample(1..=30);
        assert_eq!((thirty.median().as_millis(), thirty.p99().as_millis()), (15, 30));
        assert_eq!(sample([7]).p99().as_millis(), 7);
        assert_eq!(sample([]).median(), Duration::ZERO);
    }

    #[test]
    fn ratios() {
        assert!((ratio(Duration::from_millis(3), Duration::from_millis(2)) - 1.5).abs() < 1e-9);
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(median(vec![]).is_nan());
    }
}
