//! Channels on disk under kill and a full disk: what was acknowledged is there, where it was said to be.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use sealwire_tests::channels::{Acknowledged, check, log, open, publication, rules};
use sealwire_tests::eventually;
use sealwire_tests::mount::Mount;
use sealwire_tests::process::{Process, binary};
use wss_node::broker::Broker;
use wss_node::broker::answer::Append;
use wss_node::broker::rules::Kind;

const PATIENCE: Duration = Duration::from_secs(30);
const CHANNELS: [(&str, Kind); 3] = [("stream", Kind::Stream), ("map", Kind::Map), ("other", Kind::Stream)];

#[tokio::test]
async fn a_kill_at_any_instant_loses_nothing_that_was_acknowledged() {
    let seed =
        std::env::var("SEALWIRE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("SEALWIRE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for run in 0..8 {
        let mut command = Command::new(binary("sealwire-disk-publisher"));
        command.arg(directory.path()).arg(run.to_string());
        let mut publisher = Process::start("publisher", &mut command);
        let _ = publisher.line("acknowledged", PATIENCE);
        std::thread::sleep(Duration::from_micros(random.u64(0..400_000)));
        publisher.kill();
        // Everything it wrote is in the pipe; its end is read before the count stands still.
        let mut before = usize::MAX;
        eventually("its log is read to the end", PATIENCE, || {
            let now = publisher.count("");
            let done = std::mem::replace(&mut before, now) == now;
            async move { done.then_some(()) }
        })
        .await;
        acknowledged.extend(publisher.log().lines().filter_map(Acknowledged::parse));
        let broker = open(directory.path()).unwrap();
        for (channel, kind) in CHANNELS {
            check(&broker, channel, &rules(kind), &acknowledged).await;
        }
    }
    let count = acknowledged.len();
    eprintln!("{count} publications were acknowledged");
    assert!(count > 100, "{count}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("small");
    let Some(_mount) = Mount::small(&path, 6 * 1024) else { return };
    let filler = path.join("filler");
    std::fs::write(&filler, vec![1; 2 * 1024 * 1024]).unwrap();
    let broker = open(&path).unwrap();
    let rules = rules(Kind::Stream);
    let mut acknowledged = Vec::new();
    let told = |offset: u64, epoch: &str, n: u64| Acknowledged {
        channel: "stream".into(),
        epoch: epoch.into(),
        offset,
        payload: format!("p.{n}"),
    };
    let padded = |n| {
        let mut new = publication(Kind::Stream, "p", n);
        new.info = vec![b'x'; 50_000].into();
        new
    };
    let mut n = 0;
    let refused = loop {
        match broker.append("stream", &rules, padded(n)).await {
            Append::Appended(position) => {
                acknowledged.push(told(position.offset, position.epoch.as_str(), n))
            }
            Append::Unavailable(why) => break why,
            other => panic!("{other:?}"),
        }
        n += 1;
        assert!(n < 200, "10 MB do not fit into 4");
    };
    assert!(acknowledged.len() > 5, "{}", acknowledged.len());
    let file = path.join("channels.redb").display().to_string();
    assert!(refused.reason.contains(&file), "{refused}");
    assert!(broker.trouble().is_some());
    // Readers go on.
    assert_eq!(log(&broker, "stream", &rules).await.top.offset, acknowledged.len() as u64);
    // And so do refusals, at once, with the reason.
    let began = Instant::now();
    assert!(matches!(broker.append("stream", &rules, padded(n)).await, Append::Unavailable(_)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    std::fs::remove_file(&filler).unwrap();
    // The same publication again: once, wherever the failed one ended up.
    let position = eventually("there is room", PATIENCE, || async {
        match broker.append("stream", &rules, padded(n)).await {
            Append::Appended(position) | Append::Duplicate(position) => Some(position),
            _ => None,
        }
    })
    .await;
    acknowledged.push(told(position.offset, position.epoch.as_str(), n));
    assert_eq!(broker.trouble(), None);
    check(&broker, "stream", &rules, &acknowledged).await;
    drop(broker);
    check(&open(&path).unwrap(), "stream", &rules, &acknowledged).await;
}
