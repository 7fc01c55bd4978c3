//! What is spread over buckets: how long things took.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::client::TlsFacts;

/// A full handshake takes 0.3 ms of processor time, and a client on another continent a second.
const HANDSHAKE_BUCKETS: [f64; 14] =
    [0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// The conventions' own for `http.server.request.duration`, and three below: an upgrade without a token takes
/// microseconds.
const REQUEST_BUCKETS: [f64; 17] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// A second to a week.
const SESSION_BUCKETS: [f64; 11] =
    [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0];

struct Spread {
    name: &'static str,
    help: &'static str,
    /// For docs/metrics.md, which a test makes.
    #[cfg_attr(not(test), expect(dead_code))]
    labels: &'static [&'static str],
    buckets: &'static [f64],
}

const HANDSHAKE: Spread = Spread {
    name: "tls.server.handshake.duration",
    help: "From the accept to the end of the handshake, of those that succeeded",
    labels: &["tls.curve", "tls.resumed"],
    buckets: &HANDSHAKE_BUCKETS,
};
const REQUEST: Spread = Spread {
    name: "http.server.request.duration",
    help: "From the head of a request to the head of its answer; of an upgrade, to the 101",
    labels: &["http.request.method", "http.response.status_code"],
    buckets: &REQUEST_BUCKETS,
};
const SESSION: Spread = Spread {
    name: "wss_node.session.duration",
    help: "From the upgrade to the end of the session",
    labels: &[],
    buckets: &SESSION_BUCKETS,
};
const DRAIN: Spread = Spread {
    name: "wss_node.drain.duration",
    help: "From the signal to the end of the last session",
    labels: &[],
    buckets: &SESSION_BUCKETS,
};

/// Of all of them.
#[cfg(test)]
pub(super) fn descriptions() -> impl Iterator<Item = sealwire_metrics::Description> {
    use sealwire_metrics::{Description, Kind};
    [HANDSHAKE, REQUEST, SESSION, DRAIN].into_iter().map(|Spread { name, help, labels, .. }| Description {
        name,
        unit: "s",
        kind: Kind::Histogram,
        help,
        labels: labels.to_vec(),
    })
}

/// Where durations are recorded. Labels are static strings and numbers: recording takes no memory once a
/// combination was seen.
#[derive(Debug)]
pub(crate) struct Histograms {
    handshake: Histogram<f64>,
    request: Histogram<f64>,
    session: Histogram<f64>,
    drain: Histogram<f64>,
}

impl Histograms {
    pub(super) fn new(meter: &Meter) -> Self {
        let made = |spread: &Spread| {
            let builder = meter.f64_histogram(spread.name).with_unit("s").with_description(spread.help);
            builder.with_boundaries(spread.buckets.to_vec()).build()
        };
        Self {
            handshake: made(&HANDSHAKE),
            request: made(&REQUEST),
            session: made(&SESSION),
            drain: made(&DRAIN),
        }
    }

    /// A handshake succeeded.
    pub(crate) fn handshake(&self, facts: &TlsFacts) {
        let labels = [KeyValue::new("tls.curve", facts.group), KeyValue::new("tls.resumed", facts.resumed)];
        self.handshake.record(facts.took.as_secs_f64(), &labels);
    }

    /// A request was answered.
    pub(crate) fn request(&self, method: &http::Method, status: http::StatusCode, took: Duration) {
        let labels = [
            KeyValue::new("http.request.method", method_name(method)),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
        ];
        self.request.record(took.as_secs_f64(), &labels);
    }

    /// A session ended.
    pub(crate) fn session(&self, took: Duration) {
        self.session.record(took.as_secs_f64(), &[]);
    }

    /// The last session of a stopping node has ended, or was cut off.
    pub(crate) fn drain(&self, took: Duration) {
        self.drain.record(took.as_secs_f64(), &[]);
    }
}

/// Those that clients send; anything else would let them make label values of their own.
fn method_name(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}
