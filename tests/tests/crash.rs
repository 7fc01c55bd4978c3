//! SIGKILL of the real agent at random instants of an issuance: each issuance costs the CA one order, and
//! whoever reads the pair in `live/` finds a whole one at any time.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sealwire_tests::eventually;
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::Process;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

/// At instants drawn over the whole length of an issuance.
const KILLS: usize = 50;
/// And while the order has no URL on the disk, a window that few of those strike.
const KILLS_WITHOUT_URL: usize = 10;
/// About as long as the CA takes to accept an order.
const ACCEPTANCE: Duration = Duration::from_millis(10);

/// The leaf of the pair in a directory; what is wrong with the pair, otherwise. The directory is resolved
/// once, as a server does that follows `live/NAME`: both files are of one generation.
fn leaf_of_pair(dir: &Path) -> Result<Vec<u8>, String> {
    let dir = std::fs::canonicalize(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let read = || {
        let chain = CertificateDer::pem_file_iter(dir.join("fullchain.pem"))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_file(dir.join("privkey.pem")).map_err(|error| error.to_string())?;
        let leaf = chain.first().ok_or("no certificate")?.to_vec();
        let provider = rustls::crypto::CryptoProvider::get_default().ok_or("no provider")?;
        // Refuses a key that is not the leaf's.
        CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())?;
        Ok::<_, String>(leaf)
    };
    read().map_err(|error| format!("{}: {error}", dir.display()))
}

/// Reads the pair again and again until it finds a bad one or is stopped.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), String>>,
}

impl Reader {
    fn start(live: PathBuf) -> Self {
        let (stop, reads) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&reads));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                leaf_of_pair(&live)?;
                count.fetch_add(1, Ordering::Relaxed);
                // Leaves the processor to those who change what is read.
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        Self { stop, reads, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
        self.reads.load(Ordering::Relaxed)
    }
}

/// What the agent left on the disk of an order under way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Journal {
    None,
    WithoutUrl,
    WithUrl,
}

fn journal(world: &World) -> Journal {
    let Ok(text) = std::fs::read(world.path("state/certificates/web/order.json")) else {
        return Journal::None;
    };
    let journal: serde_json::Value = serde_json::from_slice(&text).unwrap();
    if journal["order_url"].is_string() { Journal::WithUrl } else { Journal::WithoutUrl }
}

fn seed() -> u64 {
    match std::env::var("SEALWIRE_TEST_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("SEALWIRE_TEST_SEED {text}: {error}")),
        Err(_) => fastrand::u64(..),
    }
}

fn renew(world: &World) {
    let ran = tokio::task::block_in_place(|| world.run(["renew", "--force"]));
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_instant_it_places_one_order_and_keeps_a_whole_pair() {
    let seed = seed();
    eprintln!("SEALWIRE_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[("PEBBLE_WFE_NONCEREJECT", "0")]).await else { return };
    world.configure_agent(&AgentSettings {
        // Fifty forced renewals in a minute are no honest use of a CA.
        issuers: format!(
            "{}[acme.pebble.limits]\norders = \"off\"\nper_domain = \"off\"\nper_set = \"off\"\n\
             failed_authorizations = \"off\"\n",
            pebble.issuer
        ),
        certificate: "nodes = []".to_owned(),
        ..AgentSettings::default()
    });
    let live = world.path("state/live/web");
    let mut agent = world.start_agent();
    let _stored = agent.line("STORED", PATIENCE);
    eventually("the first order is done", PATIENCE, || async {
        (journal(&world) == Journal::None).then_some(())
    })
    .await;
    let mut orders = 1;
    assert_eq!(pebble.orders(), orders);
    let reader = Reader::start(live.clone());

    // The longest of three, so that the last steps of a slow one are struck too.
    let mut length = Duration::ZERO;
    for _ in 0..3 {
        let started = Instant::now();
        renew(&world);
        length = length.max(started.elapsed());
        orders += 1;
    }
    eprintln!("an issuance takes {length:?}");

    let mut struck: [usize; 4] = [0; 4];
    for round in 1..=KILLS + KILLS_WITHOUT_URL {
        let before = leaf_of_pair(&live).unwrap();
        let mut started = Instant::now();
        let renewal = Process::start("renew", &mut world.sealwire(["renew", "--force"]));
        let instant = if round <= KILLS {
            length.mul_f64(random.f64())
        } else {
            while journal(&world) == Journal::None {
                assert!(started.elapsed() < PATIENCE, "no journal:\n{}", agent.log());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            started = Instant::now();
            ACCEPTANCE.mul_f64(random.f64())
        };
        tokio::time::sleep(instant.saturating_sub(started.elapsed())).await;
        agent.kill();
        drop(renewal);
        orders += 1;

        let left = journal(&world);
        let stored = leaf_of_pair(&live).unwrap() != before;
        struck[if stored { 3 } else { left as usize }] += 1;
        let what = format!("seed {seed}, kill {round} after {instant:?}: {left:?}, stored: {stored}");
        agent = world.start_agent();
        if left == Journal::WithUrl {
            // The agent takes it up by itself. Before the attempt has ended, a renewal would only follow it.
            eventually(&what, PATIENCE, || async { (agent.count(" DONE ") > 0).then_some(()) }).await;
            assert_eq!(journal(&world), Journal::None, "{what}");
        } else if !stored {
            drop(world.admin().await);
            renew(&world);
        } else {
            drop(world.admin().await);
        }
        assert_ne!(leaf_of_pair(&live).unwrap(), before, "{what}");
        // The CA came for the answer to its challenge while nobody was there to give it: that order has failed at
        // the CA, and only another one can mend it.
        if left == Journal::WithUrl && agent.count("it has failed or expired") > 0 {
            orders += 1;
        }
        eventually(&what, PATIENCE, || async { (pebble.orders() >= orders).then_some(()) }).await;
        assert_eq!(pebble.orders(), orders, "{what}\n{}", agent.log());
        assert!(!reader.thread.is_finished(), "{what}: {:?}", reader.stop());
    }
    eprintln!(
        "killed before the journal {}, before the URL was on disk {}, with it {}, stored {}",
        struck[0], struck[1], struck[2], struck[3]
    );
    let reads = reader.stop();
    assert!(reads > 1000, "only {reads} reads");
    // Whether one struck in the few milliseconds before the URL is on disk is luck; obtain_crash_tests.rs goes there
    // without any.
    assert!(struck[2] > 0, "no kill struck an order under way: {struck:?}");
}
