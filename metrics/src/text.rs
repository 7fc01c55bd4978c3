//! The text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use crate::Metric;
use crate::description::{prometheus_label, prometheus_name};

/// Collects metrics and writes them as Prometheus reads them: all samples of a name together, under what it means.
#[derive(Debug, Default)]
pub struct Text {
    families: BTreeMap<&'static str, String>,
}

impl Text {
    /// The media type of [`Text::finish`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Takes one sample.
    pub fn add<V: Display>(&mut self, metric: &Metric<'_, V>) {
        let Metric { name, unit, kind, help, labels, value } = metric;
        let exposed = prometheus_name(name, unit, *kind);
        let family = self.families.entry(name).or_insert_with(|| {
            let help = escaped(help, false);
            format!("# HELP {exposed} {help}\n# TYPE {exposed} {}\n", kind.as_str())
        });
        family.push_str(&exposed);
        let mut before = '{';
        for (key, text) in *labels {
            // A String takes everything.
            let _ = write!(family, "{before}{}=\"{}\"", prometheus_label(key), escaped(text, true));
            before = ',';
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(family, "{end} {value}");
    }

    /// All that was taken, in the order of the names.
    #[must_use]
    pub fn finish(self) -> String {
        self.families.into_values().collect()
    }
}

/// Values of labels stand in quotes, help does not.
fn escaped(text: &str, quoted: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quoted { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn samples_of_a_name_stand_together_and_labels_are_escaped() {
        let mut text = Text::default();
        let odd = [("error.type", "a \"b\"\\\n"), ("x", "")];
        let metric = |name, labels, value| Metric {
            name,
            unit: "s",
            kind: Kind::Gauge,
            help: "Some\n\"help\"",
            labels,
            value,
        };
        text.add(&metric("b.c", &odd, 1.5));
        text.add(&metric("a", &[], -2.0));
        text.add(&metric("b.c", &[], 3.0));
        let expected = r#"# HELP a_seconds Some\n"help"
# TYPE a_seconds gauge
a_seconds -2
# HELP b_c_seconds Some\n"help"
# TYPE b_c_seconds gauge
b_c_seconds{error_type="a \"b\"\\\n",x=""} 1.5
b_c_seconds 3
"#;
        assert_eq!(text.finish(), expected);
    }
}
