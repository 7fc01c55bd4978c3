//! Publishers and subscribers on every node, while something happens; then what all have seen is compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sealwire_tests::channels::{Acknowledged, check, log, publication, rules};
use sealwire_tests::eventually;
use wss_node::broker::Broker;
use wss_node::broker::answer::Append;
use wss_node::broker::position::Position;
use wss_node::broker::rules::Kind;

use super::scene::{Node, PATIENCE, subscribe, top};

/// Publishes until told to stop, each publication until it is acknowledged, and writes down where it went.
pub(super) fn publisher(
    node: &Arc<Node>,
    name: &str,
    channel: &str,
    kind: Kind,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Vec<Acknowledged>> {
    let (node, name, channel, stop) =
        (Arc::clone(node), name.to_owned(), channel.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let rules = rules(kind);
        let mut acknowledged = Vec::new();
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let position = loop {
                match node.broker.append(&channel, &rules, publication(kind, &name, n)).await {
                    Append::Appended(position) | Append::Duplicate(position) => break position,
                    Append::Unavailable(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => panic!("{other:?}"),
                }
            };
            acknowledged.push(Acknowledged {
                channel: channel.clone(),
                epoch: position.epoch.as_str().to_owned(),
                offset: position.offset,
                payload: format!("{name}.{n}"),
            });
            n += 1;
        }
        acknowledged
    })
}

pub(super) const CHANNELS: [(&str, Kind); 3] =
    [("stream", Kind::Stream), ("map", Kind::Map), ("other", Kind::Stream)];

/// Publishers and subscribers on every node, while `faults` happen. Then: every log is what was acknowledged, all nodes
/// have the same, and every subscriber has seen all of it, once and in order.
pub(super) async fn under<F: Future<Output = ()>>(nodes: &[Arc<Node>], faults: F) -> Vec<Acknowledged> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
    for (number, node) in nodes.iter().enumerate() {
        for (channel, kind) in CHANNELS {
            let from = top(node, channel, &rules(kind)).await;
            let begin = Position { offset: 0, ..from };
            subscribers.push((channel, subscribe(node, channel, &rules(kind), begin)));
            publishers.push(publisher(node, &format!("{number}"), channel, kind, &stop));
        }
    }
    faults.await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.unwrap());
    }
    for (channel, kind) in CHANNELS {
        let mut logs = BTreeMap::new();
        for (number, node) in nodes.iter().enumerate() {
            check(&node.broker, channel, &rules(kind), &acknowledged).await;
            let page = log(&node.broker, channel, &rules(kind)).await;
            let epoch = page.top.epoch.as_str().to_owned();
            let texts = page.publications.iter().map(|it| String::from_utf8_lossy(&it.data).into_owned());
            let texts: Vec<_> =
                texts.enumerate().map(|(n, text)| (epoch.clone(), n as u64 + 1, text)).collect();
            logs.insert(number, texts);
        }
        let expected = &logs[&0];
        assert!(logs.values().all(|log| log == expected), "{channel}: two nodes have two logs");
        for (_, subscriber) in subscribers.iter().filter(|(of, _)| *of == channel) {
            eventually("a subscriber has seen everything", PATIENCE, || async {
                (subscriber.seen.lock().unwrap().publications.len() >= expected.len()).then_some(())
            })
            .await;
            let seen = subscriber.seen.lock().unwrap();
            assert_eq!(seen.publications, *expected, "{channel}: a hole, a duplicate or another order");
            assert_eq!(seen.lost, 0, "{channel}: nothing was lost, and it was told otherwise");
        }
    }
    acknowledged
}
