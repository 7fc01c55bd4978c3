//! What the servers are asked for, and what happens when they have it not.

use std::sync::Arc;
use std::time::Duration;

use sealwire_tests::channels::{log, publication, rules};
use sealwire_tests::nats::Nats;
use sealwire_tests::world::World;
use wss_node::broker::Broker;
use wss_node::broker::answer::Append;
use wss_node::broker::jetstream::Options;
use wss_node::broker::rules::Kind;

use super::scene::{node, options, try_node};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_configured_otherwise_or_not_there_is_told() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "authorization { user: a, password: b }").await else { return };
    let refused = try_node(&options(&nats)).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains(&nats.urls()[0]), "{refused}");
    drop(nats);
    let other = World::new();
    let Some(nats) = Nats::start(&other, 1, "").await else { return };
    let _node = node(&nats).await;
    let otherwise = Options { partitions: 8, ..options(&nats) };
    let refused = try_node(&otherwise).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("SW_00") && refused.contains("made for 4 partitions"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_does_not_answer_holds_up_no_other() {
    let world = World::new();
    let Some(nats) = Nats::start(&world, 1, "").await else { return };
    let node = node(&nats).await;
    let stream = rules(Kind::Stream);
    // Channels of every partition.
    let channels: Vec<_> = (0..40).map(|n| format!("channel{n}")).collect();
    for channel in &channels {
        let append = node.broker.append(channel, &stream, publication(Kind::Stream, "p", 0)).await;
        assert!(matches!(append, Append::Appended(_)), "{append:?}");
    }
    let client = async_nats::connect(nats.urls()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let mut stream_of = context.get_stream("SW_02").await.unwrap();
    let lost = stream_of.info().await.unwrap().state.messages as usize / 2;
    context.delete_stream("SW_02").await.unwrap();
    let began = std::time::Instant::now();
    let mut appends = tokio::task::JoinSet::new();
    for channel in channels.clone() {
        let (node, stream) = (Arc::clone(&node), Arc::clone(&stream));
        appends.spawn(async move {
            let append = node.broker.append(&channel, &stream, publication(Kind::Stream, "p", 1)).await;
            (channel, append)
        });
    }
    let mut refused = Vec::new();
    for n in 0..channels.len() {
        let (channel, append) = appends.join_next().await.unwrap().unwrap();
        if let Append::Unavailable(_) = append {
            refused.push(channel);
        } else {
            assert!(matches!(append, Append::Appended(_)), "{append:?}");
            assert!(refused.is_empty(), "{n}: others have waited");
            assert!(began.elapsed() < Duration::from_secs(8), "{channel} has waited");
        }
    }
    assert_eq!(refused.len(), lost, "those of the lost partition, and no others");
    assert!(lost > 0);
    // Readers have what they had.
    let page = log(&node.broker, &refused[0], &stream).await;
    assert_eq!(page.top.offset, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_acknowledgement_is_worth_is_asked_of_the_servers() {
    for (always, expected) in [(true, Some(true)), (false, Some(false))] {
        let world = World::new();
        let store = world.path("nats0");
        let sync = if always { "sync_interval: always" } else { "" };
        let lines = format!("jetstream {{ store_dir: \"{}\", {sync} }}", store.display());
        let Some(nats) = Nats::start(&world, 1, &lines).await else { return };
        let monitor = format!("http://{}:8222", world.address);
        let asked = Options { monitors: vec![monitor.clone()], ..options(&nats) };
        assert_eq!(try_node(&asked).await.unwrap().broker.survives_power_cut(), expected);
        let unasked = try_node(&options(&nats)).await.unwrap();
        assert_eq!(unasked.broker.survives_power_cut(), None);
        // One that does not say leaves it open, unless another says no.
        let one_silent = Options { monitors: vec![monitor, "http://127.0.0.1:1".into()], ..options(&nats) };
        let known = try_node(&one_silent).await.unwrap().broker.survives_power_cut();
        assert_eq!(known, if always { None } else { Some(false) });
    }
}
