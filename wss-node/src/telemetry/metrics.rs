//! Metrics: instruments of OpenTelemetry over the node's own numbers, read when somebody looks. One set of
//! instruments feeds Prometheus and OTLP alike, so that both say the same.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use sealwire_metrics::{Description, PROCESS, ProcessGauge, ProcessTime};

use super::description;
use super::histograms::Histograms;
use super::standing;
#[cfg(test)]
use super::standing::Standing;
use crate::counters::Kind;
use crate::service::Node;

/// The node's instruments, and Prometheus' way to read them.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) provider: SdkMeterProvider,
    registry: Registry,
    meter: Meter,
    pub(super) histograms: Histograms,
}

impl Metrics {
    /// Instruments that Prometheus reads, and whatever `more` adds.
    pub(super) fn new(
        resource: Resource,
        more: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
    ) -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // There is one scope: a label that is always the same says nothing.
            .scope_info_enabled(false)
            .build()?;
        let provider =
            more(SdkMeterProvider::builder().with_resource(resource).with_reader(exporter)).build();
        let meter = provider.meter(super::SCOPE);
        let histograms = Histograms::new(&meter);
        Ok(Self { provider, registry, meter, histograms })
    }

    /// Tells of a node from now on, for as long as it lives.
    pub(super) fn observe(&self, node: &Arc<Node>) {
        for description in description::of_counters(&node.counters) {
            let counters = Arc::clone(&node.counters);
            let name = description.name;
            self.instrument(&description, move |observer| {
                counters.visit(&mut |metric| {
                    if metric.name == name {
                        observer.observe(metric.value, &labels(metric.labels.iter().copied()));
                    }
                });
            });
        }
        for standing in standing::all() {
            // Not the node itself: it holds these instruments.
            let node = Arc::downgrade(node);
            self.instrument(&standing.description(), move |observer| {
                let Some(node) = node.upgrade() else { return };
                (standing.read)(&node, &mut |values, value| {
                    let pairs = standing.labels.iter().copied().zip(values.iter().copied());
                    observer.observe(value, &labels(pairs));
                });
            });
        }
        for gauge in &PROCESS {
            self.instrument(&of_process(gauge), |observer| {
                if let Some(value) = (gauge.read)() {
                    observer.observe(value, &[]);
                }
            });
        }
        let cpu = self.meter.f64_observable_counter(ProcessTime::NAME).with_unit(ProcessTime::UNIT);
        cpu.with_description(ProcessTime::HELP)
            .with_callback(|observer| {
                for (mode, seconds) in ProcessTime::read().into_iter().flatten() {
                    observer.observe(seconds, &[KeyValue::new(ProcessTime::LABEL, mode)]);
                }
            })
            .build();
    }

    fn instrument(
        &self,
        description: &Description,
        read: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        let Description { name, unit, help, .. } = *description;
        // Their callbacks live as long as the provider: the handles are of no use.
        match description.kind {
            Kind::Counter => {
                let builder = self.meter.u64_observable_counter(name).with_unit(unit).with_description(help);
                builder.with_callback(read).build();
            }
            Kind::Gauge | Kind::Histogram => {
                let builder = self.meter.u64_observable_gauge(name).with_unit(unit).with_description(help);
                builder.with_callback(read).build();
            }
        }
    }

    /// All of them in the text format of Prometheus.
    ///
    /// # Errors
    /// A metric that cannot be written: a fault of the program.
    pub(super) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn of_process(gauge: &ProcessGauge) -> Description {
    let ProcessGauge { name, unit, help, .. } = *gauge;
    Description { name, unit, kind: Kind::Gauge, help, labels: Vec::new() }
}

fn labels<'a>(pairs: impl Iterator<Item = (&'static str, &'a str)>) -> Vec<KeyValue> {
    pairs.map(|(key, value)| KeyValue::new(key, value.to_owned())).collect()
}

/// Everything that the node tells, in the order of the names.
#[cfg(test)]
pub(super) fn descriptions() -> Vec<Description> {
    let mut all = description::of_counters(&crate::counters::Counters::default());
    all.extend(standing::all().map(Standing::description));
    all.extend(super::histograms::descriptions());
    all.extend(PROCESS.iter().map(of_process));
    all.push(Description {
        name: ProcessTime::NAME,
        unit: ProcessTime::UNIT,
        kind: Kind::Counter,
        help: ProcessTime::HELP,
        labels: vec![ProcessTime::LABEL],
    });
    all.sort_by_key(|description| description.name);
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use sealwire_metrics::check_page;

    use super::*;
    use crate::certs::validate::tests::{bundle_for, checked};
    use crate::counters::Counters;
    use crate::service::tests::{node, node_and_writer};
    use crate::tls::Reason;

    /// The samples of a metric, as lines.
    fn samples(text: &str, name: &str) -> Vec<String> {
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        text.lines().filter(of).map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn prometheus_reads_what_was_counted() {
        let node = node("");
        Counters::add(&node.counters.publications);
        node.counters.handshake_failed(Reason::PlainHttp);
        node.telemetry.histograms().request(&"BREW".parse().unwrap(), http::StatusCode::NOT_FOUND, TOOK);
        let text = node.telemetry.prometheus().unwrap();
        assert_eq!(samples(&text, "wss_node_publications_total"), ["wss_node_publications_total 1"]);
        let failures = samples(&text, "tls_server_handshake_failures_total");
        assert_eq!(failures.len(), Reason::ALL.len());
        assert!(
            failures
                .contains(&r#"tls_server_handshake_failures_total{error_type="plain_http"} 1"#.to_owned())
        );
        let labels = r#"{http_request_method="_OTHER",http_response_status_code="404"}"#;
        let count = format!("http_server_request_duration_seconds_count{labels} 1");
        assert_eq!(samples(&text, "http_server_request_duration_seconds_count"), [count]);
        assert_eq!(samples(&text, "wss_node_ready"), ["wss_node_ready 0"]);
        assert_eq!(samples(&text, "process_cpu_time_seconds_total").len(), 2);
        Counters::add(&node.counters.publications);
        let text = node.telemetry.prometheus().unwrap();
        assert_eq!(samples(&text, "wss_node_publications_total"), ["wss_node_publications_total 2"]);
    }

    const TOOK: std::time::Duration = std::time::Duration::from_millis(3);

    #[tokio::test]
    async fn a_certificate_is_told_as_soon_as_it_is_served() {
        let (node, mut writer) = node_and_writer("");
        let text = node.telemetry.prometheus().unwrap();
        assert!(samples(&text, "wss_node_certificate_generation").is_empty());
        writer.swap_in(checked(&bundle_for("web", 7, &["a.example"])));
        let text = node.telemetry.prometheus().unwrap();
        let expected = r#"wss_node_certificate_generation{certificate="web"} 7"#;
        assert_eq!(samples(&text, "wss_node_certificate_generation"), [expected]);
        assert_eq!(samples(&text, "wss_node_certificate_expiry_seconds").len(), 1);
    }

    #[tokio::test]
    async fn instruments_keep_no_node_alive() {
        let node = node("");
        let telemetry = Arc::clone(&node.telemetry);
        drop(node);
        assert!(samples(&telemetry.prometheus().unwrap(), "wss_node_ready").is_empty());
    }

    #[test]
    fn names_are_unique() {
        let all = descriptions();
        assert_eq!(all.iter().map(|one| one.name).collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn metrics_page() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        check_page(page.as_ref(), "The node", &descriptions()).unwrap();
    }

    #[tokio::test]
    async fn the_page_has_the_names_that_prometheus_sees() {
        let (node, mut writer) = node_and_writer("");
        writer.swap_in(checked(&bundle_for("web", 7, &["a.example"])));
        node.telemetry.histograms().session(TOOK);
        let text = node.telemetry.prometheus().unwrap();
        let told: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = descriptions();
        let known: BTreeSet<_> =
            all.iter().map(|one| format!("{} {}", one.prometheus_name(), one.kind.as_str())).collect();
        let unknown: Vec<_> = told.iter().filter(|line| !known.contains(**line)).collect();
        assert_eq!(unknown, [&"target_info gauge"]);
        assert!(told.len() > all.len() / 2);
    }
}
