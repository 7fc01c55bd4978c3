//! A metric, with and without its value.

/// A number as it is told to others.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a, V = u64> {
    /// By the conventions of OpenTelemetry: dots between the parts, no unit, no `total`.
    pub name: &'static str,
    /// UCUM: `{session}`, `By`, `s`; empty when there is nothing to count.
    pub unit: &'static str,
    /// What its value does.
    pub kind: Kind,
    /// For people.
    pub help: &'static str,
    /// What tells this number from others of its name.
    pub labels: &'a [(&'static str, &'a str)],
    /// The number.
    pub value: V,
}

/// What a metric's value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Spread over buckets.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// As [`Metric::name`].
    pub name: &'static str,
    /// As [`Metric::unit`].
    pub unit: &'static str,
    /// What its value does.
    pub kind: Kind,
    /// For people.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: Vec<&'static str>,
}

impl Description {
    /// That of one metric.
    #[must_use]
    pub fn of<V>(metric: &Metric<'_, V>) -> Self {
        let Metric { name, unit, kind, help, labels, .. } = metric;
        Self { name, unit, kind: *kind, help, labels: labels.iter().map(|(key, _)| *key).collect() }
    }

    /// As Prometheus calls it.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        prometheus_name(self.name, self.unit, self.kind)
    }
}

/// The name by OpenTelemetry's rules for Prometheus: underscores, the unit as a word, `_total` after counters. Units
/// in braces are words for people and left out.
pub(crate) fn prometheus_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut made = prometheus_label(name);
    made.push_str(match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        "1" => "_ratio",
        _ => "",
    });
    if kind == Kind::Counter {
        made.push_str("_total");
    }
    made
}

/// A label's name as Prometheus takes it.
pub(crate) fn prometheus_label(name: &str) -> String {
    name.replace(|character: char| !character.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_unit_and_counters_their_total() {
        let name = |name, unit, kind| prometheus_name(name, unit, kind);
        assert_eq!(name("a.b", "{session}", Kind::Gauge), "a_b");
        assert_eq!(name("a.b", "", Kind::Counter), "a_b_total");
        assert_eq!(name("a.io", "By", Kind::Counter), "a_io_bytes_total");
        assert_eq!(name("a.b_c", "s", Kind::Histogram), "a_b_c_seconds");
    }
}
