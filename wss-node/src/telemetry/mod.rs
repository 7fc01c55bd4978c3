//! What the node tells operators of itself: metrics for Prometheus and OTLP, spans and log records over OTLP.

mod description;
mod histograms;
mod metrics;
mod process;
mod standing;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;

pub(crate) use histograms::Histograms;

use crate::config::Config;
use crate::service::Node;
use metrics::Metrics;

/// Where the node's numbers, spans and log records go. Made before the node, stopped after it.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
#[error("telemetry: {0}")]
pub struct TelemetryError(#[from] OTelSdkError);

impl Telemetry {
    /// As the configuration says.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn start(config: &Config) -> Result<Self, TelemetryError> {
        Ok(Self { metrics: Metrics::new(resource(config), |builder| builder)? })
    }

    /// Where durations are recorded.
    pub(crate) fn histograms(&self) -> &Histograms {
        &self.metrics.histograms
    }

    /// Tells of a node from now on.
    pub(crate) fn observe(&self, node: &Arc<Node>) {
        self.metrics.observe(node);
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// A metric that cannot be written: a fault of the program.
    pub(crate) fn prometheus(&self) -> Result<String, prometheus::Error> {
        self.metrics.text()
    }
}

/// Who speaks (OpenTelemetry's conventions for resources).
fn resource(config: &Config) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "wss-node"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", config.node_id.clone()),
        ])
        .build()
}
