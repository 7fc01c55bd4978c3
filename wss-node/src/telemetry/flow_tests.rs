#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::*;

/// Sends nothing until it is told, and then as it is told.
#[derive(Debug)]
struct Scripted(Mutex<std::sync::mpsc::Receiver<OTelSdkResult>>);

impl SpanExporter for Scripted {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().recv().unwrap()
    }
}

#[test]
fn a_stuck_collector_costs_no_more_than_the_queue_and_all_that_is_lost_is_counted() {
    let (outcomes, script) = std::sync::mpsc::channel();
    let flow = Arc::new(Flow::new(Signal::Traces, 3));
    let exporter = Counted::new(Scripted(Mutex::new(script)), &flow);
    let batches = opentelemetry_sdk::trace::BatchConfigBuilder::default()
        .with_max_queue_size(8)
        .with_max_export_batch_size(8)
        .with_scheduled_delay(Duration::from_hours(1))
        .build();
    let processor = opentelemetry_sdk::trace::BatchSpanProcessor::new(exporter, batches);
    let provider = SdkTracerProvider::builder().with_span_processor(Bounded::new(processor, &flow)).build();
    let tracer = provider.tracer("test");
    for _ in 0..10 {
        drop(tracer.start("span"));
    }
    assert_eq!((flow.waiting(), flow.outcomes()[2]), (3, ("dropped", 7)));
    outcomes.send(Err(OTelSdkError::InternalFailure("no".to_owned()))).unwrap();
    assert!(provider.force_flush().is_err());
    assert_eq!(flow.outcomes(), [("sent", 0), ("failed", 3), ("dropped", 7)]);
    drop(tracer.start("span"));
    outcomes.send(Ok(())).unwrap();
    provider.force_flush().unwrap();
    assert_eq!(flow.outcomes(), [("sent", 1), ("failed", 3), ("dropped", 7)]);
    assert_eq!(flow.waiting(), 0);
}
