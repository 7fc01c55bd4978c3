//! What is measured when somebody looks: certificates, breaker, readiness. Nothing is kept for it.

mod channels;

use jiff::Timestamp;
use sealwire_metrics::Description;

use super::flow::Signal;
use crate::counters::Kind;
use crate::service::Node;

/// Takes the labels' values, in the order of the description, and the number.
type See<'a> = dyn FnMut(&[&str], u64) + 'a;

/// A number and how to read it.
pub(crate) struct Standing {
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// Reads it.
    pub(super) read: fn(&Node, &mut See<'_>),
}

impl Standing {
    pub(super) fn description(&self) -> Description {
        let Self { name, unit, kind, help, labels, .. } = *self;
        Description { name, unit, kind, help, labels: labels.to_vec() }
    }
}

/// The breaker's states, as [`crate::guard::Guard::report`] numbers them.
const BREAKER_STATES: [(i32, &str); 3] = [(1, "closed"), (2, "open"), (3, "half_open")];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Standing> {
    STANDING.iter().chain(channels::CHANNELS)
}

const STANDING: &[Standing] = &[
    Standing {
        name: "wss_node.ready",
        unit: "",
        kind: Kind::Gauge,
        help: "1 while the node should get traffic, else 0",
        labels: &[],
        read: |node, see| see(&[], u64::from(node.readiness.obstacle().is_none())),
    },
    Standing {
        name: "wss_node.draining",
        unit: "",
        kind: Kind::Gauge,
        help: "1 from the signal to stop on, else 0",
        labels: &[],
        read: |node, see| see(&[], u64::from(node.readiness.is_draining())),
    },
    Standing {
        name: "wss_node.breaker.state",
        unit: "",
        kind: Kind::Gauge,
        help: "1 for the state that the breaker is in, 0 for the others",
        labels: &["state"],
        read: |node, see| {
            let now = node.guard.report().state;
            BREAKER_STATES.iter().for_each(|(number, name)| see(&[name], u64::from(*number == now)));
        },
    },
    Standing {
        name: "wss_node.certificate.expiry",
        unit: "s",
        kind: Kind::Gauge,
        help: "Seconds until the certificate that is served ends; 0 once it has",
        labels: &["certificate"],
        read: |node, see| {
            let now = Timestamp::now().as_second();
            for served in node.reader.all() {
                see(&[&served.certificate], u64::try_from(served.leaf.not_after - now).unwrap_or(0));
            }
        },
    },
    Standing {
        name: "wss_node.certificate.not_after",
        unit: "s",
        kind: Kind::Gauge,
        help: "When the certificate that is served ends, in seconds since 1970",
        labels: &["certificate"],
        read: |node, see| {
            for served in node.reader.all() {
                see(&[&served.certificate], u64::try_from(served.leaf.not_after).unwrap_or(0));
            }
        },
    },
    Standing {
        name: "wss_node.certificate.generation",
        unit: "",
        kind: Kind::Gauge,
        help: "The generation that is served",
        labels: &["certificate"],
        read: |node, see| {
            node.reader.all().iter().for_each(|served| see(&[&served.certificate], served.generation));
        },
    },
    Standing {
        name: "wss_node.certificate.proven",
        unit: "",
        kind: Kind::Gauge,
        help: "1 if a handshake on the node's own listener has seen the generation that is served, else 0",
        labels: &["certificate"],
        read: |node, see| {
            for served in node.reader.all() {
                let proven = node.readiness.proven_generation(&served.certificate);
                see(&[&served.certificate], u64::from(proven == Some(served.generation)));
            }
        },
    },
    Standing {
        name: "wss_node.certificate.staple_expiry",
        unit: "s",
        kind: Kind::Gauge,
        help: "Seconds until the staple that is served ends; no value without a staple",
        labels: &["certificate"],
        read: |node, see| {
            let now = Timestamp::now().as_second();
            for served in node.reader.all() {
                if let Some(until) = served.stapled_until() {
                    see(&[&served.certificate], u64::try_from(until - now).unwrap_or(0));
                }
            }
        },
    },
    Standing {
        name: "wss_node.sessions.queued",
        unit: "By",
        kind: Kind::Gauge,
        help: "What waits to be written to clients: of all sessions together (`all`), and of the one with the most (`most`)",
        labels: &["of"],
        read: |node, see| {
            let (all, most) = node.registry.queued_bytes();
            see(&["all"], u64::try_from(all).unwrap_or(u64::MAX));
            see(&["most"], u64::try_from(most).unwrap_or(u64::MAX));
        },
    },
    Standing {
        name: "wss_node.telemetry.items",
        unit: "{item}",
        kind: Kind::Counter,
        help: "Spans, log records and collections of metrics by what became of them: `sent`, `failed` at the collector \
               or on the way to it, `dropped` because too many waited",
        labels: &["signal", "outcome"],
        read: |node, see| {
            for flow in node.telemetry.flows() {
                let signal = flow.signal().as_str();
                flow.outcomes().iter().for_each(|(outcome, count)| see(&[signal, outcome], *count));
            }
        },
    },
    Standing {
        name: "wss_node.telemetry.waiting",
        unit: "{item}",
        kind: Kind::Gauge,
        help: "Spans and log records that wait to be sent",
        labels: &["signal"],
        read: |node, see| {
            for flow in node.telemetry.flows().iter().filter(|flow| flow.signal() != Signal::Metrics) {
                see(&[flow.signal().as_str()], u64::try_from(flow.waiting()).unwrap_or(u64::MAX));
            }
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::node;

    #[tokio::test]
    async fn each_value_has_as_many_labels_as_its_description_says() {
        let node = node("");
        for standing in all() {
            let mut seen = 0;
            (standing.read)(&node, &mut |labels, _| {
                assert_eq!(labels.len(), standing.labels.len(), "{}", standing.name);
                seen += 1;
            });
            let of_nothing = ["wss_node.certificate.", "wss_node.disk.", "wss_node.cluster."];
            let is_there = !of_nothing.iter().any(|absent| standing.name.starts_with(absent));
            assert_eq!(seen > 0, is_there, "{}", standing.name);
        }
    }
}
