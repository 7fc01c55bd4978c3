//! What a metric is, without its value: what exporters and docs/metrics.md are told.

use crate::counters::{Counters, Kind, Metric};

/// A metric without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// By the conventions of OpenTelemetry.
    pub(crate) name: &'static str,
    /// UCUM: `{session}`, `By`, `s`.
    pub(crate) unit: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) labels: Vec<&'static str>,
}

impl Description {
    pub(crate) fn of(metric: &Metric<'_>) -> Self {
        let Metric { name, unit, kind, help, labels, .. } = *metric;
        Self { name, unit, kind, help, labels: labels.iter().map(|(key, _)| *key).collect() }
    }
}

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
