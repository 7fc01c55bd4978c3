//! Channels and the brokers that have them.

use super::Standing;
use crate::broker::any::AnyBroker;
use crate::counters::Kind;

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// All of them.
pub(super) const CHANNELS: &[Standing] = &[
    Standing {
        name: "wss_node.channels",
        unit: "{channel}",
        kind: Kind::Gauge,
        help: "Channels that a broker has in the memory of this node",
        labels: &["broker"],
        read: |node, see| {
            for broker in node.channels.brokers() {
                see(&[broker.name()], number(broker.usage().channels));
            }
        },
    },
    Standing {
        name: "wss_node.channels.subscribed",
        unit: "{channel}",
        kind: Kind::Gauge,
        help: "Channels that have subscribers on this node",
        labels: &[],
        read: |node, see| see(&[], number(node.channels.hub.channels())),
    },
    Standing {
        name: "wss_node.channels.memory",
        unit: "By",
        kind: Kind::Gauge,
        help: "What all channels of this node take, and what they may (`broker.memory_bytes`)",
        labels: &["of"],
        read: |node, see| {
            let budget = &node.channels.budget;
            see(&["used"], number(budget.used_bytes()));
            see(&["limit"], number(budget.limit_bytes()));
        },
    },
    Standing {
        name: "wss_node.channels.given_up",
        unit: "{publication}",
        kind: Kind::Counter,
        help: "Publications that were dropped from history because memory was short",
        labels: &["broker"],
        read: |node, see| {
            for broker in node.channels.brokers() {
                see(&[broker.name()], broker.usage().given_up);
            }
        },
    },
    Standing {
        name: "wss_node.channels.refused",
        unit: "{call}",
        kind: Kind::Counter,
        help: "Publications and new channels that were refused because memory was short",
        labels: &["broker"],
        read: |node, see| {
            for broker in node.channels.brokers() {
                see(&[broker.name()], broker.usage().refused);
            }
        },
    },
    Standing {
        name: "wss_node.disk.trouble",
        unit: "",
        kind: Kind::Gauge,
        help: "1 while nothing can be written to `broker.directory`, else 0; no value without it",
        labels: &[],
        read: |node, see| {
            for broker in node.channels.brokers() {
                if let AnyBroker::Disk(disk) = broker {
                    see(&[], u64::from(disk.trouble().is_some()));
                }
            }
        },
    },
    Standing {
        name: "wss_node.cluster.stale_partitions",
        unit: "{partition}",
        kind: Kind::Gauge,
        help: "Partitions of the NATS cluster that are not followed at present: what is read of them may be old; no value \
               without `broker.nats`",
        labels: &[],
        read: |node, see| {
            for broker in node.channels.brokers() {
                if let AnyBroker::Cluster(cluster) = broker {
                    see(&[], number(cluster.stale_partitions()));
                }
            }
        },
    },
    Standing {
        name: "wss_node.cluster.survives_power_cut",
        unit: "",
        kind: Kind::Gauge,
        help: "1 if the NATS servers said at the start that they flush each write, 0 if they said that they do not; no \
               value if they did not say",
        labels: &[],
        read: |node, see| {
            for broker in node.channels.brokers() {
                if let AnyBroker::Cluster(cluster) = broker
                    && let Some(survives) = cluster.survives_power_cut()
                {
                    see(&[], u64::from(survives));
                }
            }
        },
    },
    Standing {
        name: "wss_node.cluster.moves_untold",
        unit: "{move}",
        kind: Kind::Counter,
        help: "Clients that came to a channel or left it without other nodes' being told, because there was no connection \
               to the NATS cluster; no value unless a namespace of the cluster has `join_leave`",
        labels: &[],
        read: |node, see| {
            if let Some(untold) = node.channels.moves_untold() {
                see(&[], untold);
            }
        },
    },
];
