//! One order for all, whoever publishes and whatever happens to a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sealwire_tests::channels::{check, rules};
use sealwire_tests::nats::Nats;
use sealwire_tests::world::World;
use wss_node::broker::Broker;
use wss_node::broker::answer::Append;
use wss_node::broker::publication::{Expect, NewPublication};
use wss_node::broker::rules::Kind;

use super::scene::node;
use super::under::{CHANNELS, under};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_see_one_order_and_a_third_that_comes_later_too() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let acknowledged = under(&nodes, tokio::time::sleep(Duration::from_secs(2))).await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let late = node(&nats).await;
    for (channel, kind) in CHANNELS {
        check(&late.broker, channel, &rules(kind), &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_rivals_on_two_nodes_one_wins_each_time() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let map = rules(Kind::Map);
    let rivals = (0..4).map(|rival| {
        let (node, map) = (Arc::clone(&nodes[rival % 2]), Arc::clone(&map));
        tokio::spawn(async move {
            let mut wins = Vec::new();
            let mut expect = Expect::Absent;
            while wins.len() < 25 {
                let key = Some("k".into());
                let new = NewPublication { key, expect: expect.clone(), ..NewPublication::default() };
                match node.broker.append("c", &map, new).await {
                    Append::Appended(position) => {
                        wins.push((expect, position.clone()));
                        expect = Expect::Position(position);
                    }
                    Append::Conflict { current: Some(current) } => expect = Expect::Position(current),
                    other => panic!("{other:?}"),
                }
            }
            wins
        })
    });
    let mut chain = BTreeMap::new();
    for rival in rivals.collect::<Vec<_>>() {
        for (expected, position) in rival.await.unwrap() {
            let before = match expected {
                Expect::Position(before) => before.offset,
                _ => 0,
            };
            assert_eq!(chain.insert(before, position.offset), None, "two writes over the same one");
        }
    }
    assert!(chain.into_iter().eq((0..100).map(|offset| (offset, offset + 1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_server_loses_nothing_that_was_acknowledged() {
    let world = World::new();
    let Some(mut nats) = Nats::start(&world, 3, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let leader = leader(&nats).await;
    let acknowledged = under(&nodes, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        nats.kill(leader);
        tokio::time::sleep(Duration::from_secs(8)).await;
        nats.run(leader);
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Another, while it does not answer but is there.
        let frozen = (leader + 1) % 3;
        nats.servers[frozen].as_ref().unwrap().freeze();
        tokio::time::sleep(Duration::from_secs(6)).await;
        nats.servers[frozen].as_ref().unwrap().go_on();
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    eprintln!("{} publications were acknowledged", acknowledged.len());
}

/// The server that leads the stream of the first channel.
async fn leader(nats: &Nats) -> usize {
    let client = async_nats::connect(nats.urls()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("SW_00").await.unwrap();
    let name = stream.cached_info().cluster.as_ref().unwrap().leader.clone().unwrap();
    name.trim_start_matches('s').parse().unwrap()
}
