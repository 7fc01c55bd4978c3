//! The whole path against Pebble, which refuses 30 % of all nonces: obtained by HTTP-01, served by the node,
//! renewed under 200 open sessions.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::CertificateStatus;
use sealwire_tests::handshakes::Handshakes;
use sealwire_tests::load::{Load, Summary};
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::run;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, session, tools};

/// A third of good nonces is refused, and nearly every order is validated anew: Pebble compares with "greater
/// than", so that even at 0 it hands out one valid authorization in a hundred again.
const HARSH: [(&str, &str); 2] = [("PEBBLE_WFE_NONCEREJECT", "30"), ("PEBBLE_AUTHZREUSE", "0")];

fn settings(pebble: &Pebble) -> AgentSettings {
    AgentSettings { issuers: pebble.issuer.clone(), ..AgentSettings::default() }
}

fn current(certificate: &CertificateStatus) -> (String, [u8; 32]) {
    let current = certificate.current.clone().unwrap();
    (current.serial, current.leaf_sha256.try_into().unwrap())
}

/// The serial that `openssl s_client` sees, as openssl prints it but in lower case.
fn openssl_serial(world: &World) -> String {
    let address = world.node_address();
    let script = format!(
        "openssl s_client -connect {address} -servername node.test -CAfile {} -verify_return_error </dev/null \
         2>/dev/null | openssl x509 -noout -serial",
        world.path("pebble-root.pem").display()
    );
    let ran = run(Command::new("bash").args(["-o", "pipefail", "-c", &script]));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.trim().trim_start_matches("serial=").to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn obtained_served_and_renewed_under_200_sessions() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &HARSH).await else { return };
    if tools::find("openssl").is_none() {
        return;
    }
    world.configure_agent(&settings(&pebble));
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let _served = agent.line("http-01 for node.test", PATIENCE);
    let (first_serial, first_leaf) = current(&world.proven().await);
    assert_eq!(openssl_serial(&world), first_serial);

    let anchors = Anchors::from_pem_file(&world.path("pebble-root.pem")).unwrap();
    let tls = session::tls(&anchors).unwrap();
    let load = Load::start(world.node_address(), &tls, 200, Duration::from_millis(50)).await.unwrap();
    let handshakes = Handshakes::start(world.node_address(), "node.test");
    let mut leaf = first_leaf;
    for _ in 0..3 {
        let ran = tokio::task::block_in_place(|| world.run(["renew"]));
        let proven_at = Instant::now();
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("authorized") && ran.out.contains("proven"), "{}", ran.out);
        let (serial, new_leaf) = current(&world.proven().await);
        assert_ne!(leaf, new_leaf);
        assert_eq!(openssl_serial(&world), serial);
        eventually("handshakes after the proof", PATIENCE, || async {
            (handshakes.between(proven_at, Instant::now()).len() >= 20).then_some(())
        })
        .await;
        let after: Vec<_> = handshakes.between(proven_at, Instant::now());
        assert!(after.iter().all(|seen| *seen == Ok(new_leaf)), "an older leaf after the proof");
        leaf = new_leaf;
    }
    assert_eq!(handshakes.failures(), Vec::<String>::new());
    let Summary { kept, published, lost, disordered } = load.stop().await;
    assert_eq!((kept, lost, disordered), (200, 0, 0));
    assert!(published > 0);
    assert_eq!(pebble.orders(), 4);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_in_the_middle_of_an_order_resumes_it() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &HARSH).await else { return };
    world.configure_agent(&settings(&pebble));
    let mut agent = world.start_agent();
    let _placed = agent.line("ORDERED", PATIENCE);
    agent.kill();
    assert_eq!(pebble.orders(), 1);

    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    assert_eq!(pebble.orders(), 1, "no second order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_identifier_is_told_with_the_cas_words() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    let identifiers = vec!["blocked.test".to_owned()];
    world.configure_agent(&AgentSettings { identifiers, ..settings(&pebble) });
    let _agent = world.start_agent();
    let failing = world.state("failing").await;
    assert_eq!(failing.failures, 1);
    assert!(failing.last_error.contains("blocked.test"), "{}", failing.last_error);

    let ran = tokio::task::block_in_place(|| world.run(["renew"]));
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("in a back-off until") && ran.out.contains("--force"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_reached_is_one_clear_line() {
    let world = World::new();
    let issuers = format!(
        "[acme.away]\ndirectory = \"https://{}:14000/dir\"\nterms_of_service_agreed = true\n",
        world.address
    );
    world.configure_agent(&AgentSettings { issuers, ..AgentSettings::default() });
    let _agent = world.start_agent();
    let failing = world.state("failing").await;
    let text = failing.last_error;
    assert!(
        text.contains("cannot reach the ACME directory") && text.contains("Connection refused"),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
    let ran = tokio::task::block_in_place(|| world.run(["renew", "--force"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("FAILED"), "{ran:?}");
}
