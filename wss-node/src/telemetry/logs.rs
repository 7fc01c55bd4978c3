//! Log lines as OTLP records.

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use sealwire_config::LogLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

/// Crates that are at work when records are sent: what they log would be sent, and logged again.
const SENDERS: [&str; 9] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "opentelemetry_http",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "reqwest",
    "tonic",
];

/// A layer that turns what is logged into records.
pub(super) fn layer(provider: &SdkLoggerProvider) -> LogLayer {
    let bridge = OpenTelemetryTracingBridge::new(provider);
    bridge.with_filter(filter_fn(|metadata| !is_of_sender(metadata.target()))).boxed()
}

fn is_of_sender(target: &str) -> bool {
    SENDERS.contains(&target.split("::").next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_senders_log_is_not_sent() {
        assert!(is_of_sender("h2::client") && is_of_sender("opentelemetry_sdk"));
        assert!(!is_of_sender("wss_node::session") && !is_of_sender("audit") && !is_of_sender("h2o"));
    }
}
