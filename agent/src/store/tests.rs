#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use zeroize::Zeroizing;

use super::generation::New;
use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    Fixture { dir, store }
}

fn put(store: &CertificateStore) -> Generation {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let metadata = Metadata {
        profile: None,
        key_type: Default::default(),
        issuer: "pki".into(),
        identifiers: vec!["a.example".into()],
        stored_at: Timestamp::UNIX_EPOCH,
    };
    store.put(&New { chain: &[leaf.der().clone()], key_pem: &key.serialize_pem(), metadata }).unwrap()
}

#[test]
fn generations_are_numbered_kept_and_pruned() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    assert!(web.load(&Memory::default()).unwrap().generation.is_none());
    for expected in 1..=6 {
        let generation = put(&web);
        assert_eq!(generation.number, expected);
        web.make_current(expected).unwrap();
    }
    assert_eq!(web.numbers().unwrap(), [3, 4, 5, 6]);
    let loaded = web.load(&Memory::default()).unwrap().generation.unwrap();
    assert_eq!(loaded.number, 6);

    let live = fixture.store.dir().join("live/web");
    let pem = std::fs::read(live.join("fullchain.pem")).unwrap();
    assert_eq!(chain_from_pem(&pem).unwrap(), loaded.chain.to_vec());
    let key = std::fs::metadata(live.join("privkey.pem")).unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);

    // Back, as after a quarantine: what is newer stays, and its number is not used again.
    web.make_current(5).unwrap();
    assert_eq!(web.load(&Memory::default()).unwrap().generation.unwrap().number, 5);
    assert_eq!(put(&web).number, 7);
}

#[test]
fn a_stored_but_not_current_generation_changes_nothing() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    put(&web);
    web.make_current(1).unwrap();
    put(&web);
    // A crash between writing and renaming leaves a ".new" that the next attempt replaces.
    std::fs::create_dir(web.dir().join("generations/.new")).unwrap();
    std::fs::write(web.dir().join("generations/.new/privkey.pem"), "half").unwrap();
    assert_eq!(web.load(&Memory::default()).unwrap().generation.unwrap().number, 1);
    assert_eq!(put(&web).number, 3);
}

#[test]
fn damage_is_told_and_the_newest_whole_generation_is_used() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    for number in 1..=3 {
        put(&web);
        web.make_current(number).unwrap();
    }
    let chain = web.dir().join("generations/000003/fullchain.pem");
    let whole = std::fs::read(&chain).unwrap();
    std::fs::write(&chain, &whole[..whole.len() / 2]).unwrap();
    let loaded = web.load(&Memory::default()).unwrap();
    assert_eq!(loaded.generation.unwrap().number, 2);
    let damage = loaded.damage.unwrap();
    assert!(damage.contains("000003/fullchain.pem is damaged"), "{damage}");

    // A key of another generation is damage too, and a quarantined generation is no way out.
    std::fs::write(&chain, &whole).unwrap();
    std::fs::copy(
        web.dir().join("generations/000001/privkey.pem"),
        web.dir().join("generations/000003/privkey.pem"),
    )
    .unwrap();
    let quarantine = Quarantine { generation: 2, reason: "x".into(), at: Timestamp::UNIX_EPOCH };
    let memory = Memory { quarantined: vec![quarantine], ..Memory::default() };
    assert_eq!(web.load(&memory).unwrap().generation.unwrap().number, 1);
}

#[test]
fn a_chain_that_was_cut_between_two_certificates_is_damage() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    let first = put(&web);
    let dir = web.dir().join("generations/000001");
    let key_pem = std::fs::read_to_string(dir.join("privkey.pem")).unwrap();
    let chain = [first.chain.leaf().clone(), first.chain.leaf().clone()];
    let two = web.put(&New { chain: &chain, key_pem: &key_pem, metadata: first.metadata.clone() }).unwrap();
    assert_eq!((two.chain.to_vec().len(), &two.metadata), (2, &first.metadata));
    let place = web.dir().join("generations/000002/fullchain.pem");
    std::fs::write(&place, pem_of(&chain[..1])).unwrap();
    let error = web.generation(2).unwrap_err().to_string();
    assert!(error.contains("000002/fullchain.pem is damaged"), "{error}");

    // Stored before there were digests.
    let metadata = web.dir().join("generations/000002/metadata.json");
    std::fs::write(metadata, serde_json::to_vec(&first.metadata).unwrap()).unwrap();
    assert_eq!(web.generation(2).unwrap().chain.to_vec().len(), 1);
}

#[test]
fn keys_open_to_others_are_refused_with_the_fix() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    put(&web);
    web.make_current(1).unwrap();
    let key = web.dir().join("generations/000001/privkey.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = web.load(&Memory::default()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("chmod 0600 {}", key.display())), "{error}");

    let open = fixture.dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Store::open(&open).unwrap_err().to_string().contains("chmod 0700"));
}

#[test]
fn a_second_agent_is_refused_and_a_dead_one_is_not_waited_for() {
    let fixture = fixture();
    let dir = fixture.store.dir().to_owned();
    let error = Store::open(&dir).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by another agent (pid {})", std::process::id())), "{error}");
    drop(fixture.store);
    Store::open(&dir).unwrap();
}

#[test]
fn journal_and_memory_come_back() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    assert!(web.journal().unwrap().is_none());
    let journal = Journal {
        profile: None,
        key_type: Default::default(),
        key_pem: Zeroizing::new("key".into()),
        issuer: "ca".into(),
        identifiers: vec!["a.example".into()],
        started_at: Timestamp::UNIX_EPOCH,
        order_url: Some("https://ca.example/order/1".into()),
    };
    web.save_journal(&journal).unwrap();
    let back = web.journal().unwrap().unwrap();
    assert_eq!((back.key_pem, back.order_url), (journal.key_pem, journal.order_url));
    web.clear_journal().unwrap();
    assert!(web.journal().unwrap().is_none());
    assert!(!web.dir().join("order.pem").exists());

    let memory = Memory { failures: 3, orders: 9, ..Memory::default() };
    web.save_memory(&memory).unwrap();
    assert_eq!(web.memory().unwrap(), memory);
    std::fs::write(web.dir().join("memory.json"), "{ half").unwrap();
    assert_eq!(web.memory().unwrap(), Memory::default());
    let aside =
        |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("memory.json.damaged-");
    assert!(std::fs::read_dir(web.dir()).unwrap().map(Result::unwrap).any(aside));
}

#[test]
fn pem_survives_the_round_trip() {
    let fixture = fixture();
    let generation = put(&fixture.store.certificate("web").unwrap());
    let pem = pem_of(&generation.chain.to_vec());
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert_eq!(chain_from_pem(pem.as_bytes()).unwrap(), generation.chain.to_vec());
    assert!(chain_from_pem(b"nothing").is_err());
}

#[test]
fn a_missing_or_foreign_current_is_damage_and_the_next_generation_mends_it() {
    let fixture = fixture();
    let web = fixture.store.certificate("web").unwrap();
    put(&web);
    web.make_current(1).unwrap();
    let link = web.dir().join("current");
    std::fs::remove_file(&link).unwrap();
    let loaded = web.load(&Memory::default()).unwrap();
    assert_eq!(loaded.generation.unwrap().number, 1);
    assert!(loaded.damage.unwrap().ends_with("current is missing"));

    std::fs::create_dir(&link).unwrap();
    let loaded = web.load(&Memory::default()).unwrap();
    assert_eq!(loaded.generation.unwrap().number, 1);
    assert!(loaded.damage.unwrap().contains("not a symbolic link"));
    put(&web);
    web.make_current(2).unwrap();
    let loaded = web.load(&Memory::default()).unwrap();
    assert_eq!((loaded.generation.unwrap().number, loaded.damage), (2, None));
}

#[test]
fn a_glance_tells_what_can_be_served_and_what_is_in_the_way() {
    let fixture = fixture();
    let dir = fixture.store.dir().to_owned();
    let now = Timestamp::now();
    let usable = |now| Glance::at(&dir, "web").unwrap().usable(now).map(|generation| generation.number);
    assert!(usable(now).unwrap_err().contains("is the agent running"), "{:?}", usable(now));

    let web = fixture.store.certificate("web").unwrap();
    let generation = put(&web);
    web.make_current(generation.number).unwrap();
    assert_eq!(usable(now), Ok(1));
    let after = generation.not_after() + jiff::SignedDuration::from_secs(1);
    assert!(usable(after).unwrap_err().contains("generation 1 has expired on"), "{:?}", usable(after));
    let before = generation.not_before() - jiff::SignedDuration::from_secs(1);
    assert!(usable(before).unwrap_err().contains("check the clock"), "{:?}", usable(before));

    std::fs::write(web.dir().join("generations/000001/fullchain.pem"), "").unwrap();
    let damaged = usable(now).unwrap_err();
    assert!(
        damaged.contains("fullchain.pem") && damaged.contains("no stored generation is whole"),
        "{damaged}"
    );
}
