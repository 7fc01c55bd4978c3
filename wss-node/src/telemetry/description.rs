//! What everything that is counted means: what exporters and docs/metrics.md are told.

use sealwire_metrics::Description;

use crate::counters::Counters;

/// Of everything that is counted, each once.
pub(crate) fn of_counters(counters: &Counters) -> Vec<Description> {
    let mut found: Vec<Description> = Vec::new();
    counters.visit(&mut |metric| {
        if found.iter().all(|other| other.name != metric.name) {
            found.push(Description::of(metric));
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_means_the_same_wherever_it_is_seen() {
        let counters = Counters::default();
        let descriptions = of_counters(&counters);
        assert!(descriptions.len() > 5);
        counters.visit(&mut |metric| {
            let alike = descriptions.iter().filter(|known| known.name == metric.name);
            assert_eq!(alike.collect::<Vec<_>>(), [&Description::of(metric)], "{metric:?}");
        });
    }
}
