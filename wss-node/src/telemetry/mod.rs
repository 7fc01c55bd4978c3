//! What the node tells operators of itself: metrics for Prometheus and OTLP, spans and log records over OTLP.

mod collector;
mod description;
mod flow;
mod histograms;
mod logs;
mod metrics;
mod parent;
mod sampling;
mod standing;
pub(crate) mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::logs::{BatchConfigBuilder as LogBatches, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatches, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use sealwire_config::LogLayer;

pub(crate) use histograms::Histograms;

use crate::client::Client;
use crate::config::{Config, TelemetryConfig};
use crate::service::Node;
use crate::tls::Reason;
use collector::{Collector, CollectorError};
use flow::{Bounded, Counted, Flow, Signal};
use metrics::Metrics;
use sampling::Sampling;
use trace::{Publishing, Trace, Tracing};

/// Names the origin of instruments and spans.
const SCOPE: &str = "wss-node";
/// Spans, and log records, that wait for the collector: about 2 MiB of each. What is more is dropped and counted.
const QUEUE: usize = 4096;
/// Of a request.
const BATCH: usize = 512;
/// How long spans and records wait for others.
const DELAY: Duration = Duration::from_secs(1);

/// Where the node's numbers, spans and log records go. Made before the node, stopped after it.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    tracing: Option<Tracing>,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    flows: [Arc<Flow>; Signal::ALL.len()],
    timeout: Duration,
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Something about the collector.
    #[error("{0}")]
    Collector(String),
    /// The SDK does not take its settings.
    #[error("telemetry: {0}")]
    Sdk(#[from] OTelSdkError),
}

impl From<CollectorError> for TelemetryError {
    fn from(error: CollectorError) -> Self {
        Self::Collector(error.to_string())
    }
}

impl Telemetry {
    /// As the configuration says. Must be called within a runtime, which then carries what is sent, but not from one
    /// of its tasks.
    ///
    /// # Errors
    /// [`TelemetryError`] names the key.
    pub fn start(config: &Config) -> Result<Self, TelemetryError> {
        let flows = Signal::ALL.map(|signal| Arc::new(Flow::new(signal, QUEUE)));
        let [of_traces, of_metrics, of_logs] = &flows;
        let TelemetryConfig { sample, parents_per_second, interval, timeout, .. } = config.telemetry;
        let wanted = &config.telemetry;
        let resource = resource(config);
        let collector = match &wanted.endpoint {
            Some(url) => Some(Collector::new(wanted, url)?),
            None => None,
        };
        let for_signal = |wants: bool| collector.as_ref().filter(|_| wants);

        let metrics = match for_signal(wanted.metrics) {
            Some(collector) => {
                let exporter = Counted::new(collector.metrics()?, of_metrics);
                let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
                Metrics::new(resource.clone(), |builder| builder.with_reader(reader))?
            }
            None => Metrics::new(resource.clone(), |builder| builder)?,
        };
        let traces = for_signal(wanted.traces).map(|collector| {
            let exporter = Counted::new(collector.spans()?, of_traces);
            let batches = SpanBatches::default()
                .with_max_queue_size(QUEUE)
                .with_max_export_batch_size(BATCH)
                .with_scheduled_delay(DELAY)
                .build();
            let processor = BatchSpanProcessor::new(exporter, batches);
            let provider = SdkTracerProvider::builder()
                // Whoever makes a span has decided already.
                .with_sampler(Sampler::AlwaysOn)
                .with_resource(resource.clone())
                .with_span_processor(Bounded::new(processor, of_traces));
            Ok::<_, CollectorError>(provider.build())
        });
        let traces = traces.transpose()?;
        let logs = for_signal(wanted.logs).map(|collector| {
            let exporter = Counted::new(collector.logs()?, of_logs);
            let batches = LogBatches::default()
                .with_max_queue_size(QUEUE)
                .with_max_export_batch_size(BATCH)
                .with_scheduled_delay(DELAY)
                .build();
            let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
            let provider = SdkLoggerProvider::builder().with_resource(resource);
            Ok::<_, CollectorError>(provider.with_log_processor(Bounded::new(processor, of_logs)).build())
        });
        let logs = logs.transpose()?;
        let sampling = Sampling::new(sample, parents_per_second);
        let tracing = traces.as_ref().map(|provider| Tracing::new(provider.tracer(SCOPE), sampling));
        Ok(Self { metrics, tracing, traces, logs, flows, timeout })
    }

    /// Takes log lines, if they are sent.
    #[must_use]
    pub fn log_layer(&self) -> Option<LogLayer> {
        self.logs.as_ref().map(logs::layer)
    }

    /// Sends what waits, within `telemetry.timeout`. Nothing is told after it.
    pub async fn stop(self: Arc<Self>) {
        // On threads that may wait: a flush does.
        let (traces, metrics, logs) = (Arc::clone(&self), Arc::clone(&self), Arc::clone(&self));
        let timeout = self.timeout;
        let flushes = [
            tokio::task::spawn_blocking(move || {
                traces.traces.as_ref().is_none_or(|it| it.shutdown_with_timeout(timeout).is_ok())
            }),
            tokio::task::spawn_blocking(move || {
                metrics.metrics.provider.shutdown_with_timeout(timeout).is_ok()
            }),
            tokio::task::spawn_blocking(move || {
                logs.logs.as_ref().is_none_or(|it| it.shutdown_with_timeout(timeout).is_ok())
            }),
        ];
        let deadline = tokio::time::Instant::now() + timeout;
        for (signal, flush) in Signal::ALL.into_iter().zip(flushes) {
            let flushed = tokio::time::timeout_at(deadline, flush).await;
            if !matches!(flushed, Ok(Ok(true))) {
                let signal = signal.as_str();
                tracing::warn!(signal, "telemetry: what waited could not be sent within {timeout:?}");
            }
        }
        let waiting: usize = self.flows.iter().map(|flow| flow.waiting()).sum();
        if waiting > 0 {
            tracing::warn!(waiting, "telemetry: spans and log records are lost");
        }
    }

    /// Where durations are recorded.
    pub(crate) fn histograms(&self) -> &Histograms {
        &self.metrics.histograms
    }

    /// What became of what was sent, in the order of [`Signal::ALL`].
    pub(crate) fn flows(&self) -> &[Arc<Flow>] {
        &self.flows
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

    /// Begins the trace of a connection with its first request, if it is traced.
    pub(crate) fn connection(
        &self,
        client: &Client,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Trace> {
        self.tracing.as_ref()?.connection(client, method, path, headers, SystemTime::now())
    }

    /// Traces a connection of which nothing came but a failed handshake, begun at `began`.
    pub(crate) fn failed_handshake(&self, client: &Client, reason: Reason, began: Instant) {
        if let Some(tracing) = &self.tracing {
            tracing.failed_handshake(client, reason, began.elapsed(), SystemTime::now());
        }
    }

    /// Begins the span of a publication, if the session of this task is traced.
    pub(crate) fn publishing(&self, channel: &str) -> Option<Publishing> {
        self.tracing.as_ref()?.publishing(channel)
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
