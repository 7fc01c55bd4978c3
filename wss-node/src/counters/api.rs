//! What applications asked of the node, and what came of it.

use std::sync::atomic::AtomicU64;

use super::{Counters, Kind, Metric};
use crate::api::{METHODS, OUTCOMES, Refused};

/// Calls by method and outcome, and requests that came to no method.
#[derive(Debug)]
pub(crate) struct Api {
    calls: [[AtomicU64; OUTCOMES.len()]; METHODS.len()],
    refused: [AtomicU64; Refused::ALL.len()],
}

impl Default for Api {
    fn default() -> Self {
        let none = |_| AtomicU64::new(0);
        Self { calls: std::array::from_fn(|_| std::array::from_fn(none)), refused: std::array::from_fn(none) }
    }
}

impl Api {
    /// A method was called; what is not in the lists of names is not counted.
    pub(crate) fn called(&self, method: &str, outcome: &str) {
        let method = METHODS.iter().position(|known| *known == method);
        let outcome = OUTCOMES.iter().position(|known| *known == outcome);
        if let Some((method, outcome)) = method.zip(outcome) {
            Counters::add(&self.calls[method][outcome]);
        }
    }

    /// A request came to no method.
    pub(crate) fn refused(&self, why: Refused) {
        Counters::add(&self.refused[why as usize]);
    }

    pub(super) fn visit(&self, see: &mut dyn FnMut(&Metric<'_>)) {
        for (method, counts) in METHODS.into_iter().zip(&self.calls) {
            for (outcome, count) in OUTCOMES.into_iter().zip(counts) {
                let value = Counters::get(count);
                // What is hoped for is told before it occurs.
                if value == 0 && outcome != OUTCOMES[0] {
                    continue;
                }
                see(&Metric {
                    name: "wss_node.api.calls",
                    unit: "{call}",
                    kind: Kind::Counter,
                    help: "Methods of the server API that were called, those in a batch too, by what came of it",
                    labels: &[("method", method), ("outcome", outcome)],
                    value,
                });
            }
        }
        for (why, count) in Refused::ALL.into_iter().zip(&self.refused) {
            see(&Metric {
                name: "wss_node.api.refused",
                unit: "{request}",
                kind: Kind::Counter,
                help: "Requests to the server API that came to no method, or whose answer did not come in time",
                labels: &[("reason", why.as_str())],
                value: Counters::get(count),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_outcome() {
        let api = Api::default();
        api.called("publish", "ok");
        api.called("publish", "conflict");
        api.called("publish", "conflict");
        api.called("no_such", "ok");
        api.refused(Refused::Unauthorized);
        let mut found = Vec::new();
        api.visit(&mut |metric| {
            if metric.value > 0 {
                let labels: Vec<_> = metric.labels.iter().map(|(_, value)| *value).collect();
                found.push(format!("{} {}", labels.join(" "), metric.value));
            }
        });
        assert_eq!(found, ["publish ok 1", "publish conflict 2", "unauthorized 1"]);
    }
}
