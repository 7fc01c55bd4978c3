//! What subscribers see while networks and nodes fail: the judge finds no gap, no repeat, no other order, no loss of
//! what was acknowledged. `SEALWIRE_SECONDS` makes the runs longer, `SEALWIRE_SEED` repeats one.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use sealwire_proto::v1::agent_message::Body;
use sealwire_proto::v1::{Halt, Resume};
use sealwire_tests::authority::Authority;
use sealwire_tests::client::Settings;
use sealwire_tests::continuity::Trial;
use sealwire_tests::faults::{End, FaultProxy, Flow, Weather};
use sealwire_tests::process::Process;
use sealwire_tests::scripted_agent::Scripted;
use sealwire_tests::session::tls;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, wire};
use wss_node::wire::Framing;

const PAUSE: Duration = Duration::from_millis(8);
/// Publishers here are in a hurry, and all clients come from one address.
const LIMITS: &str = "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n\
                      messages_per_second = 100000\nmessages_burst = 100000\n";

/// For a run that breaks things at random; told, so that it can be repeated.
fn random(what: &str) -> fastrand::Rng {
    let seed = std::env::var("SEALWIRE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{what}: seed {seed}");
    fastrand::Rng::with_seed(seed)
}

/// How long a run goes on.
fn lasts() -> Duration {
    let seconds = std::env::var("SEALWIRE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

struct Setting {
    world: World,
    _agent: Process,
    node: Process,
    tls: Arc<ClientConfig>,
}

impl Setting {
    /// A node with these lines in its configuration; `DIR` is a directory of its own.
    async fn start(extra: &str) -> Self {
        let world = World::new();
        world.configure_agent(&AgentSettings::default());
        let channels = world.path("channels");
        std::fs::create_dir(&channels).unwrap();
        let extra = extra.replace("DIR", &channels.display().to_string());
        let drain = "[drain]\nwindow = \"300ms\"\ntimeout = \"1s\"\n";
        world.configure_node("node-1", 0, &world.delivery_socket(), &format!("{LIMITS}{extra}\n{drain}"));
        let (agent, node) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let tls = tls(&world.roots().await.0).unwrap();
        Self { world, _agent: agent, node, tls }
    }

    fn client(&self, framing: Framing, seed: u64) -> Settings {
        Settings { seed, ..Settings::new(self.world.node_address(), &self.tls, framing) }
    }

    /// Through a proxy.
    fn client_by(&self, proxy: &FaultProxy, framing: Framing, seed: u64) -> Settings {
        Settings { addresses: vec![proxy.address], ..self.client(framing, seed) }
    }

    async fn proxy(&self) -> FaultProxy {
        FaultProxy::start(self.world.address, self.world.node_address()).await
    }

    async fn again(&mut self) {
        self.node = self.world.start_node("node-1");
        self.ready().await;
    }

    async fn ready(&self) {
        let admin = (self.world.address, 9090).into();
        eventually("the node is ready", PATIENCE, || async {
            (wire::admin(admin, "/readyz").await.ok()?.0 == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_fails_in_every_way() {
    let setting = Setting::start("[namespaces.default]\nhistory = 100000\n").await;
    let mut random = random("network");
    let (proxy, other) = (setting.proxy().await, setting.proxy().await);
    let mut trial = Trial::new("news", true);
    for (name, proxy) in [("ann", &proxy), ("bob", &other)] {
        trial.publisher(name, setting.client_by(proxy, Framing::Json, random.u64(..)), PAUSE);
    }
    trial.publisher("eve", setting.client(Framing::Protobuf, 1), PAUSE);
    for (number, framing) in [Framing::Json, Framing::Protobuf, Framing::Json].into_iter().enumerate() {
        let proxy = if number == 2 { &other } else { &proxy };
        trial.reader(&format!("reader {number}"), setting.client_by(proxy, framing, random.u64(..)));
    }
    trial.progress(1).await;
    let end = Instant::now() + lasts();
    let mut happened = std::collections::BTreeSet::new();
    while Instant::now() < end {
        let proxy = if random.bool() { &proxy } else { &other };
        let what = random.u32(0..7);
        happened.insert(what);
        match what {
            0 => drop(proxy.end(End::Cut)),
            1 => drop(proxy.end(End::Reset)),
            2 => {
                if let Some(line) = random.choice(proxy.lines()) {
                    line.end(if random.bool() { End::Cut } else { End::Reset });
                }
            }
            3 => {
                proxy.weather(Weather { to_client: Flow::Held, ..Weather::default() });
                tokio::time::sleep(Duration::from_millis(random.u64(50..300))).await;
                // What is held comes, or never.
                if random.bool() {
                    proxy.end(End::Reset);
                }
            }
            4 => {
                // Half-open: nobody is told, what is sent is lost, and then the path is found to be gone.
                proxy.weather(Weather::both(Flow::Swallowed));
                tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
                proxy.end(End::Reset);
            }
            5 => {
                proxy.refuse(true).await;
                proxy.end(End::Reset);
                tokio::time::sleep(Duration::from_millis(random.u64(50..200))).await;
                proxy.refuse(false).await;
            }
            _ => {
                let latency = Duration::from_millis(random.u64(1..30));
                let bytes_per_second = Some(random.u32(50_000..1_000_000));
                proxy.weather(Weather { latency, bytes_per_second, ..Weather::default() });
                tokio::time::sleep(Duration::from_millis(random.u64(50..300))).await;
            }
        }
        proxy.weather(Weather::default());
        tokio::time::sleep(Duration::from_millis(random.u64(10..250))).await;
    }
    trial.progress(5).await;
    let outcome = trial.end(Some(setting.client(Framing::Json, 0))).await;
    outcome.assert_sound("network");
    let verdict = &outcome.verdict;
    assert!(happened.len() > 3 && verdict.recovered > 5 && verdict.caught_up > 0, "{happened:?} {verdict:?}");
    // The history reaches back: nobody may be told of a loss.
    assert_eq!(verdict.lost, 0, "{:?}", outcome.lives);
    assert_eq!(setting.node.count("panicked"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_disk_all_that_was_acknowledged_outlives_kills_and_drains() {
    let mut setting = Setting::start(
        "[broker]\ndirectory = \"DIR\"\n[namespaces.default]\nhistory = 100000\ndurability = \"disk\"\n",
    )
    .await;
    let mut random = random("disk");
    let mut trial = Trial::new("orders", true);
    for name in ["ann", "bob"] {
        trial.publisher(name, setting.client(Framing::Json, random.u64(..)), PAUSE);
    }
    for (name, framing) in [("reader json", Framing::Json), ("reader protobuf", Framing::Protobuf)] {
        trial.reader(name, setting.client(framing, random.u64(..)));
    }
    trial.progress(5).await;
    let (end, mut rounds) = (Instant::now() + lasts(), 0);
    while rounds < 2 || Instant::now() < end {
        // Alternately, so that both happen however short the run is.
        if rounds % 2 == 0 {
            setting.node.kill();
        } else {
            setting.node.terminate();
            let _ended = setting.node.ended(PATIENCE);
        }
        setting.again().await;
        trial.progress(random.u64(1..20)).await;
        rounds += 1;
    }
    let outcome = trial.end(Some(setting.client(Framing::Json, 0))).await;
    outcome.assert_sound("disk");
    assert_eq!(outcome.verdict.lost, 0, "{:?}", outcome.lives);
    // A reader may be on its way back when the node goes again.
    assert!(outcome.verdict.recovered >= rounds, "{rounds} rounds, {:?}", outcome.verdict);
    for life in outcome.lives.values() {
        assert!(life.closes.contains_key(&3001), "a drain says so: {:?}", life.closes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_a_killed_node_begins_a_new_epoch_and_says_so() {
    let mut setting = Setting::start("[namespaces.default]\nhistory = 100000\n").await;
    let mut trial = Trial::new("news", false);
    trial.publisher("ann", setting.client(Framing::Json, 1), PAUSE);
    for (name, framing) in [("reader json", Framing::Json), ("reader protobuf", Framing::Protobuf)] {
        trial.reader(name, setting.client(framing, 2));
    }
    trial.progress(20).await;
    setting.node.kill();
    setting.again().await;
    trial.progress(20).await;
    let outcome = trial.end(Some(setting.client(Framing::Json, 0))).await;
    outcome.assert_sound("memory");
    assert_eq!(outcome.verdict.lost, 2, "each of them is told once: {:?}", outcome.lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_longer_than_history_is_told() {
    let setting = Setting::start("[namespaces.default]\nhistory = 30\n").await;
    let proxy = setting.proxy().await;
    let mut trial = Trial::new("news", true);
    trial.publisher("ann", setting.client(Framing::Json, 1), Duration::from_millis(2));
    trial.reader("near", setting.client(Framing::Json, 2));
    for (name, framing) in [("far json", Framing::Json), ("far protobuf", Framing::Protobuf)] {
        trial.reader(name, setting.client_by(&proxy, framing, 3));
    }
    trial.progress(5).await;
    for more in [5, 60, 5] {
        proxy.refuse(true).await;
        proxy.end(End::Reset);
        trial.progress(more).await;
        proxy.refuse(false).await;
        let lives = ["far json", "far protobuf"];
        let before: Vec<_> = lives.iter().map(|name| trial.life(name).lines.len()).collect();
        eventually("they are back", PATIENCE, || async {
            let is_back = |(name, before): (&&str, &usize)| {
                let lines = trial.life(name).lines;
                lines[*before..].iter().any(|line| line.starts_with("subscribed"))
            };
            lives.iter().zip(&before).all(is_back).then_some(())
        })
        .await;
    }
    let outcome = trial.end(None).await;
    outcome.assert_sound("overflow");
    // After 60 publications and a history of 30 each has lost something; after 5 it may have, if its pause was long.
    assert!((2..=6).contains(&outcome.verdict.lost), "{:?}", outcome.lives);
    assert!(outcome.lives["near"].closes.is_empty(), "{:?}", outcome.lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_closed_with_3008_and_misses_nothing() {
    let setting = Setting::start(
        "[session]\noutbound_queue_bytes = 262144\n[namespaces.default]\nhistory = 100000\nrecovery_limit = 100000\n\
         retained_bytes = 200000000\n",
    )
    .await;
    let proxy = setting.proxy().await;
    let mut trial = Trial::new("news", true).padded(30_000);
    trial.publisher("ann", setting.client(Framing::Json, 1), Duration::from_millis(1));
    trial.reader("fast", setting.client(Framing::Protobuf, 2));
    trial.reader("slow", setting.client_by(&proxy, Framing::Json, 3));
    trial.progress(5).await;
    proxy.weather(Weather { to_client: Flow::Held, ..Weather::default() });
    let _closed = setting.node.line("code=3008", PATIENCE);
    // Much more than the queue is missing when it comes back.
    trial.progress(30).await;
    proxy.weather(Weather::default());
    eventually("it is back", PATIENCE, || async {
        let lines = trial.life("slow").lines;
        lines.iter().any(|line| line.contains("recovered true")).then_some(())
    })
    .await;
    trial.progress(5).await;
    let outcome = trial.end(Some(setting.client(Framing::Json, 0))).await;
    outcome.assert_sound("slow");
    assert_eq!(outcome.verdict.lost, 0, "{:?}", outcome.lives);
    assert_eq!(outcome.lives["slow"].closes.get(&3008), Some(&1), "{:?}", outcome.lives["slow"].closes);
    assert!(outcome.lives["fast"].closes.is_empty(), "{:?}", outcome.lives["fast"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_breaker_is_open_nothing_is_published_and_then_nothing_is_missing() {
    let extra = format!("{LIMITS}[breaker]\nhold = \"500ms\"\n[namespaces.default]\nhistory = 100000\n");
    let mut scripted = Scripted::start(&extra).await;
    let (world, ca) = (&scripted.world, Authority::new("breaker"));
    scripted.pairing.serve(ca.bundle(world, 1, Duration::from_secs(3600))).await;
    let tls = tls(&ca.anchors()).unwrap();
    let settings = |framing, seed| Settings { seed, ..Settings::new(world.node_address(), &tls, framing) };
    let mut trial = Trial::new("news", true);
    for (name, framing) in [("ann", Framing::Json), ("bob", Framing::Protobuf)] {
        trial.publisher(name, settings(framing, 1), PAUSE);
    }
    for (name, framing) in [("reader json", Framing::Json), ("reader protobuf", Framing::Protobuf)] {
        trial.reader(name, settings(framing, 2));
    }
    trial.progress(10).await;
    let admin = (world.address, 9090).into();
    let ready = |code: u16| async move {
        eventually("the breaker", PATIENCE, || async {
            (wire::admin(admin, "/readyz").await.ok()?.0 == code).then_some(())
        })
        .await;
    };
    // Shorter than the hold, then longer: those who were connected are sent away.
    for away in [false, true] {
        let by = "operator".to_owned();
        scripted.pairing.say(Body::Halt(Halt { by: by.clone(), reason: "a test".into() })).await;
        ready(503).await;
        // An answer that was on its way may have come since; then none does.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = trial.acknowledged();
        if away {
            let _sent = scripted.node.line("code=1013", PATIENCE);
            // All of them: who was not yet sent away stays when it goes on.
            for reader in ["reader json", "reader protobuf"] {
                eventually("they know it", PATIENCE, || async {
                    trial.life(reader).closes.contains_key(&1013).then_some(())
                })
                .await;
            }
        } else {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        assert_eq!(trial.acknowledged(), before, "it halts");
        scripted.pairing.say(Body::Resume(Resume { by })).await;
        ready(200).await;
        trial.progress(10).await;
    }
    let outcome = trial.end(Some(settings(Framing::Json, 0))).await;
    outcome.assert_sound("breaker");
    assert_eq!(outcome.verdict.lost, 0, "{:?}", outcome.lives);
    for (name, life) in &outcome.lives {
        // Whose upgrade was under way when it halted once more is sent away once more.
        assert!(
            life.closes.get(&1013).is_some_and(|times| (1..=2).contains(times)),
            "{name}: {:?}",
            life.closes
        );
    }
}
