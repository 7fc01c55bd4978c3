//! Bad disks: what is good stays, what is damaged is said and made anew, and no node goes without.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sealwire_proto::v1::GenerationStatus;
use sealwire_tests::eventually;
use sealwire_tests::mount::Mount;
use sealwire_tests::process::{Ran, run};
use sealwire_tests::world::{PATIENCE, World};

fn pair(world: &World) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| std::fs::read(world.path("state/live/web").join(name)).unwrap();
    (read("privkey.pem"), read("fullchain.pem"))
}

/// The digest of the leaf that the node serves.
async fn served(world: &World) -> Vec<u8> {
    let address = world.node_address().to_string();
    let seen = sealwire_proto::probe::handshake(&address, "node.test", Duration::from_secs(5));
    seen.await.unwrap().leaf_sha256.to_vec()
}

/// The generation that is current, when the agent says that the node serves it on the present connection.
async fn proven(world: &World) -> GenerationStatus {
    eventually("proven on a paired node", PATIENCE, || async {
        let web = world.web().await?;
        let paired = web.deliveries.iter().any(|delivery| delivery.connected);
        web.current.filter(|_| web.state == "proven" && paired)
    })
    .await
}

/// Waits until there is an incident about the disk, or none; gives its text.
async fn disk_incident(world: &World, open: bool) -> String {
    eventually(&format!("an incident about the disk: {open}"), PATIENCE, || async {
        let incidents = world.status().await?.incidents;
        let disk = incidents.into_iter().find(|incident| incident.kind == "disk");
        (disk.is_some() == open).then(|| disk.map(|disk| disk.text).unwrap_or_default())
    })
    .await
}

fn renew(world: &World) -> Ran {
    tokio::task::block_in_place(|| world.run(["renew", "--force"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_defect_01_full_disk_destroys_nothing() {
    let world = World::new();
    let Some(_small) = Mount::small(&world.path("state"), 1024) else { return };
    let (mut agent, _node) = world.start().await;
    let before = proven(&world).await;
    let good = pair(&world);

    let ballast = world.path("state/ballast");
    let of = format!("of={}", ballast.display());
    let full = run(Command::new("dd").args(["if=/dev/zero", "bs=4k", &of]));
    assert!(full.err.contains("No space left"), "{full:?}");
    let ran = renew(&world);
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = world.web().await.unwrap().last_error;
    assert!(said.contains("No space left") && said.contains("/state/certificates/web/"), "{said}");
    let said = agent.line("No space left", PATIENCE);
    assert!(said.contains("/state/"), "{said}");
    assert_eq!((pair(&world), served(&world).await), (good.clone(), before.leaf_sha256.clone()));

    // A restart on the full disk serves what there is.
    agent.kill();
    let _agent = world.start_agent();
    assert_eq!(proven(&world).await.serial, before.serial);
    assert_eq!((pair(&world), served(&world).await), (good.clone(), before.leaf_sha256));

    std::fs::remove_file(&ballast).unwrap();
    let ran = renew(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_ne!(pair(&world), good);
    assert_eq!(served(&world).await, proven(&world).await.leaf_sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_stops_no_service() {
    let world = World::new();
    let (agent, _node) = world.start().await;
    let (before, good) = (proven(&world).await, pair(&world));

    let Some(read_only) = Mount::read_only(&world.path("state")) else { return };
    let ran = renew(&world);
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = world.web().await.unwrap().last_error;
    assert!(said.contains("Read-only file system") && said.contains("/state/certificates/web/"), "{said}");
    let said = agent.line("Read-only file system", PATIENCE);
    assert!(said.contains("/state/"), "{said}");
    assert_eq!((pair(&world), served(&world).await), (good.clone(), before.leaf_sha256));
    let disk = |open| disk_incident(&world, open);
    assert!(disk(true).await.contains("Read-only file system"));

    drop(read_only);
    // By itself: what could not be written is tried again.
    disk(false).await;
    let ran = renew(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_ne!(pair(&world), good);
    assert_eq!(served(&world).await, proven(&world).await.leaf_sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_documents_are_moved_aside_and_stop_nothing() {
    let world = World::new();
    let (mut agent, _node) = world.start().await;
    let before = proven(&world).await;
    let documents = [
        "agent.json",
        "deliveries.json",
        "limits.json",
        "certificates/web/memory.json",
        "certificates/web/order.json",
    ];
    for (round, text) in ["", "{ half", "7"].into_iter().enumerate() {
        agent.kill();
        for name in documents {
            std::fs::write(world.path("state").join(name), text).unwrap();
        }
        agent = world.start_agent();
        assert_eq!(proven(&world).await.serial, before.serial, "round {round}");
        assert_eq!(served(&world).await, before.leaf_sha256, "round {round}");
        for name in documents {
            let said = format!("{name}.damaged-");
            let line = agent.line(&said, PATIENCE);
            assert!(line.contains("moved aside"), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_generation_is_made_anew_and_the_older_one_kept() {
    let world = World::new();
    let (mut agent, _node) = world.start().await;
    let mut good = pair(&world);
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 6] = [
        ("empty files", |dir| {
            for name in ["privkey.pem", "fullchain.pem", "metadata.json"] {
                std::fs::write(dir.join(name), "").unwrap();
            }
        }),
        ("truncated PEM", |dir| {
            let path = dir.join("fullchain.pem");
            let text = std::fs::read(&path).unwrap();
            std::fs::write(&path, &text[..text.len() / 3]).unwrap();
        }),
        ("cut between certificates", |dir| {
            let path = dir.join("fullchain.pem");
            let text = std::fs::read_to_string(&path).unwrap();
            let leaf = text.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
            assert_ne!(leaf, text);
            std::fs::write(&path, leaf).unwrap();
        }),
        ("foreign key", |dir| {
            let number: u64 = dir.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let older = dir.with_file_name(format!("{:06}", number - 1));
            std::fs::copy(older.join("privkey.pem"), dir.join("privkey.pem")).unwrap();
        }),
        ("metadata", |dir| std::fs::write(dir.join("metadata.json"), "{").unwrap()),
        ("no current", |dir| {
            std::fs::remove_file(dir.parent().unwrap().with_file_name("current")).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        // So that an older good generation is there.
        assert_eq!(renew(&world).code, 0, "{what}:\n{}", agent.log());
        let older = std::fs::canonicalize(world.path("state/live/web")).unwrap();
        let kept = std::fs::read(older.join("fullchain.pem")).unwrap();
        assert_eq!(renew(&world).code, 0, "{what}:\n{}", agent.log());
        let serial = proven(&world).await.serial;
        agent.kill();
        spoil(&std::fs::canonicalize(world.path("state/live/web")).unwrap());
        agent = world.start_agent();
        let line = agent.line("the stored generation cannot be used", PATIENCE);
        assert!(line.contains("/state/certificates/web/"), "{what}: {line}");
        let _anew = agent.line("STORED", PATIENCE);
        let web = proven(&world).await;
        assert_ne!(web.serial, serial, "{what}");
        assert_eq!(served(&world).await, web.leaf_sha256, "{what}");
        assert_ne!(pair(&world), good, "{what}");
        assert_eq!(std::fs::read(older.join("fullchain.pem")).unwrap(), kept, "{what}: the older stays");
        good = pair(&world);
    }
}
