//! What is kept, what is gone, and that it is said.

use std::sync::Arc;

use sealwire_tests::channels::{publication, rules};
use sealwire_tests::eventually;
use sealwire_tests::nats::Nats;
use sealwire_tests::world::World;
use wss_node::broker::Broker;
use wss_node::broker::answer::{Append, From, Read, Snapshot};
use wss_node::broker::jetstream::Options;
use wss_node::broker::position::Position;
use wss_node::broker::publication::NewPublication;
use wss_node::broker::rules::Kind;

use super::scene::{PATIENCE, node, options, subscribe, top, try_node};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_begins_a_new_epoch_and_nobody_is_told_that_it_recovered() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    let stream = rules(Kind::Stream);
    let mut before = None;
    for n in 0..5 {
        let append = nodes[0].broker.append("c", &stream, publication(Kind::Stream, "p", n)).await;
        let Append::Appended(position) = append else { panic!("{append:?}") };
        before = Some(position);
    }
    let before = before.unwrap();
    let subscriber = subscribe(&nodes[1], "c", &stream, top(&nodes[1], "c", &stream).await);
    let client = async_nats::connect(nats.urls()).await.unwrap();
    for partition in 0..4 {
        let context = async_nats::jetstream::new(client.clone());
        let name = format!("SW_{partition:02}");
        context.get_stream(name).await.unwrap().purge().await.unwrap();
    }
    let append = nodes[0].broker.append("c", &stream, publication(Kind::Stream, "after", 0)).await;
    let Append::Appended(after) = append else { panic!("{append:?}") };
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    eventually("the subscriber is told", PATIENCE, || async {
        (subscriber.seen.lock().unwrap().lost > 0).then_some(())
    })
    .await;
    for node in &nodes {
        eventually("old positions are refused", PATIENCE, || async {
            let read = node.broker.read("c", &stream, &From::After(before.clone()), 10).await;
            matches!(read, Read::Unrecoverable { top } if top == after).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_the_stream_has_trimmed_is_not_recovered_and_state_is_whole() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let options = Options { history: 3, ..options(&nats) };
    let one = try_node(&options).await.unwrap();
    let map = rules(Kind::Map);
    let mut last = None;
    for n in 0..60 {
        let key = Some(format!("key{}", if n < 5 { n } else { 9 }).into());
        let new = NewPublication { key, ..NewPublication::default() };
        let append = one.broker.append("m", &map, new).await;
        let Append::Appended(position) = append else { panic!("{append:?}") };
        last = Some(position);
    }
    let last = last.unwrap();
    // A node that was not there reads what is left: 3 of "key9", and the others as they are.
    let other = try_node(&options).await.unwrap();
    let read = |offset| {
        let from = From::After(Position { offset, ..last.clone() });
        let (other, map) = (Arc::clone(&other), Arc::clone(&map));
        async move { other.broker.read("m", &map, &from, 10).await }
    };
    assert!(matches!(read(57).await, Read::Page(page) if page.publications.len() == 3));
    assert!(matches!(read(56).await, Read::Unrecoverable { .. }));
    let snapshot = other.broker.snapshot("m", &map, None, 100).await;
    let Snapshot::Page(page) = snapshot else { panic!("{snapshot:?}") };
    assert_eq!(page.entries.len(), 6);
    assert_eq!(page.position, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_history_is_gone_on_all_nodes_and_the_channel_goes_on_under_another_epoch() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let nodes = [node(&nats).await, node(&nats).await];
    for kind in [Kind::Stream, Kind::Value] {
        let (channel, rules) = (format!("{kind:?}"), rules(kind));
        let mut before = top(&nodes[1], &channel, &rules).await;
        let subscriber = subscribe(&nodes[1], &channel, &rules, before.clone());
        for n in 0..5 {
            let append = nodes[0].broker.append(&channel, &rules, publication(kind, "p", n)).await;
            let Append::Appended(position) = append else { panic!("{append:?}") };
            before = position;
        }
        eventually("the subscriber has all", PATIENCE, || async {
            (subscriber.seen.lock().unwrap().publications.len() == 5).then_some(())
        })
        .await;
        nodes[0].broker.begin_anew(&channel, &rules).await.unwrap();
        // Nobody has published since, and all are told.
        eventually("the subscriber is told", PATIENCE, || async {
            (subscriber.seen.lock().unwrap().lost > 0).then_some(())
        })
        .await;
        let begun = top(&nodes[0], &channel, &rules).await;
        assert_eq!(begun.offset, 0);
        assert_ne!(begun.epoch, before.epoch);
        for node in &nodes {
            eventually("old positions are refused", PATIENCE, || async {
                let read = node.broker.read(&channel, &rules, &From::After(before.clone()), 10).await;
                matches!(read, Read::Unrecoverable { top } if top == begun).then_some(())
            })
            .await;
            let state = node.broker.snapshot(&channel, &rules, None, 10).await;
            assert!(matches!(&state, Snapshot::Page(page) if page.entries.is_empty()), "{state:?}");
        }
        // A second time there is nothing to remove.
        nodes[1].broker.begin_anew(&channel, &rules).await.unwrap();
        assert_eq!(top(&nodes[1], &channel, &rules).await, begun);
        // What was published before may be published again; a key of before is no duplicate.
        let append = nodes[1].broker.append(&channel, &rules, publication(kind, "p", 4)).await;
        assert_eq!(append, Append::Appended(Position { offset: 1, ..begun }));
    }
}
