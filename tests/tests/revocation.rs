//! Revocation and staples with a real OCSP responder (`openssl ocsp`) and CRLs over HTTP.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use sealwire_proto::v1::CertificateStatus;
use sealwire_tests::eventually;
use sealwire_tests::hostile::{CrlSays, Hostile, INTERMEDIATE, Level, Urls};
use sealwire_tests::openssl_ocsp::{OpensslOcsp, Signer};
use sealwire_tests::pebble::{Pebble, manage};
use sealwire_tests::process::run;
use sealwire_tests::publisher::{Page, Publisher};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

/// Sources are asked every second or two: tests do not have the time.
const OFTEN: &str =
    "[revocation]\nmin_interval = \"1s\"\nmax_interval = \"2s\"\ntimeout = \"2s\"\ncrl_timeout = \"2s\"\n";

/// Waits until the current generation is this one, and its revocation is in this state with these words.
async fn known(world: &World, generation: u64, state: &str, words: &str) -> CertificateStatus {
    eventually(&format!("generation {generation}: {state}, {words}"), PATIENCE, || async {
        world.web().await.filter(|web| {
            let known = web.revocation.as_ref();
            web.current.as_ref().is_some_and(|current| current.generation == generation)
                && known.is_some_and(|known| known.state == state && known.detail.contains(words))
        })
    })
    .await
}

fn serial(web: &CertificateStatus) -> String {
    web.current.as_ref().unwrap().serial.clone()
}

/// What `openssl s_client -status` sees on the node.
fn staple_seen(world: &World) -> String {
    let address = world.node_address().to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", "node.test", "-status", "-tls1_3"]);
    run(&mut command).out
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_says_good_and_the_node_staples_it_openssl_says_revoked_and_it_is_replaced() {
    let world = World::new();
    let responder = OpensslOcsp::new(&world, &world.path("intermediate.pem"));
    // Pebble gives out its key only if that is RSA.
    let extra = format!("\"keyAlgorithm\": \"rsa\", \"ocspResponderURL\": \"{}\",", responder.url);
    let Some(pebble) = Pebble::start_with(&world, &[], &extra, "").await else { return };
    world.write("intermediate.pem", &manage(&world, "intermediates/0", None));
    world.write("intermediate.key", &manage(&world, "intermediate-keys/0", None));
    let signer = Signer { certificate: world.path("intermediate.pem"), key: world.path("intermediate.key") };
    world.configure_agent(&AgentSettings {
        issuers: format!("{OFTEN}{}", pebble.issuer),
        certificate: "reuse_key = true".to_owned(),
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let web = world.proven().await;
    let first = serial(&web);
    known(&world, 1, "unknown", "cannot be reached").await;

    // Up, and it does not know the certificate yet.
    let unknowing = responder.start(&signer, &[]);
    known(&world, 1, "unknown", "does not know the certificate").await;
    drop(unknowing);
    responder.good(&first);
    let knowing = responder.start(&signer, &[]);
    let good = known(&world, 1, "good", &responder.url).await;
    assert_eq!(good.orders, 1);
    eventually("the staple on the node", PATIENCE, || async {
        let seen = staple_seen(&world);
        (seen.contains("OCSP Response Status: successful") && seen.contains("Cert Status: good"))
            .then_some(())
    })
    .await;
    // Down: what was good is presented until its end.
    drop(knowing);
    let before = agent.count("no OCSP response");
    eventually("an error of the responder", PATIENCE, || async {
        (agent.count("no OCSP response") > before).then_some(())
    })
    .await;
    known(&world, 1, "good", &responder.url).await;
    assert!(staple_seen(&world).contains("Cert Status: good"));

    responder.revoked(&first);
    let _revoking = responder.start(&signer, &[]);
    let second = eventually("another generation", PATIENCE, || async {
        world.web().await.filter(|web| web.state == "proven" && web.current.as_ref().unwrap().generation == 2)
    })
    .await;
    assert_eq!((second.orders, pebble.orders()), (2, 2));
    assert_ne!(serial(&second), first);
    let history = world.run(["history", "web"]).out;
    assert!(history.contains("distrusted") && history.contains("keyCompromise"), "{history}");
    let keys = [1, 2].map(|number| {
        let path = world.path(&format!("state/certificates/web/generations/{number:06}/privkey.pem"));
        std::fs::read_to_string(path).unwrap()
    });
    assert_ne!(keys[0], keys[1], "the key that may be stolen is not used again");
    let why = world.run(["why", "web"]).out;
    assert!(why.contains("does not know the certificate"), "{why}");
}

/// A CA whose leaves and intermediate name CRLs at the publisher, and an agent with a certificate that goes nowhere.
struct Crls {
    world: World,
    publisher: Publisher,
    ca: Hostile,
}

impl Crls {
    async fn start(more: &str) -> Self {
        let world = World::new();
        let publisher = Publisher::start(world.address).await;
        let urls = Urls {
            leaf_crls: vec![publisher.url("/leaf.crl")],
            intermediate_crls: vec![publisher.url("/intermediate.crl")],
        };
        let ca = Hostile::start_naming(&world, &urls).await;
        world.configure_agent(&AgentSettings {
            issuers: format!("{OFTEN}{more}{}", ca.issuer),
            certificate: "nodes = []".to_owned(),
            ..AgentSettings::default()
        });
        Self { world, publisher, ca }
    }

    fn publish(&self, level: Level, number: u64, revoked: &[String]) {
        self.publish_as(level, number, revoked, None);
    }

    fn publish_as(&self, level: Level, number: u64, revoked: &[String], shard: Option<String>) {
        let path = if level == Level::Leaves { "/leaf.crl" } else { "/intermediate.crl" };
        let der = self.ca.crl(&CrlSays { level, number, revoked, shard });
        self.publisher.publish(path, Page::Body("application/pkix-crl", der));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crls_find_a_revoked_leaf_and_an_older_one_does_not_bring_it_back() {
    let crls = Crls::start("").await;
    crls.publish(Level::Leaves, 5, &[]);
    crls.publish(Level::Intermediate, 1, &[]);
    let _agent = crls.world.start_agent();
    let web = known(&crls.world, 1, "good", "/leaf.crl").await;

    // Another shard says nothing of our leaf, whatever is on it; the last answer that counts still holds.
    let shard = Some(crls.publisher.url("/other.crl"));
    crls.publish_as(Level::Leaves, 6, &[serial(&web)], shard);
    known(&crls.world, 1, "unknown", "another shard").await;
    // Back to number 5, which is older than what was seen.
    crls.publish(Level::Leaves, 5, &[]);
    known(&crls.world, 1, "unknown", "older than one seen before").await;
    assert_eq!(crls.world.web().await.unwrap().orders, 1);

    crls.publish_as(Level::Leaves, 7, &[serial(&web)], Some(crls.publisher.url("/leaf.crl")));
    let replaced = known(&crls.world, 2, "good", "/leaf.crl").await;
    assert_eq!((replaced.orders, replaced.state.as_str()), (2, "stored"));
    assert!(crls.world.run(["history", "web"]).out.contains("the leaf is revoked since"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_intermediate_that_is_revoked_has_issued_is_replaced_but_not_by_the_same() {
    let crls = Crls::start("").await;
    crls.publish(Level::Leaves, 1, &[]);
    crls.publish(Level::Intermediate, 1, &[]);
    let _agent = crls.world.start_agent();
    known(&crls.world, 1, "good", "/leaf.crl").await;
    crls.publish(Level::Intermediate, 2, &[INTERMEDIATE.to_owned()]);
    known(&crls.world, 1, "revoked", "the intermediate CN=Hostile two is revoked").await;
    let failing =
        eventually("the gate", PATIENCE, || async { crls.world.web().await.filter(|web| web.failures > 0) })
            .await;
    assert!(failing.last_error.contains("did not pass the gate: the intermediate"), "{}", failing.last_error);
    assert_eq!((failing.state.as_str(), failing.orders), ("revoked", 2), "no tight loop");
}

#[tokio::test(flavor = "multi_thread")]
async fn crls_that_are_down_stuck_broken_or_too_long_leave_the_last_answer_and_restarts_need_no_network() {
    let crls = Crls::start("crl_max_bytes = 4096\n").await;
    crls.publish(Level::Leaves, 1, &[]);
    crls.publish(Level::Intermediate, 1, &[]);
    let mut agent = crls.world.start_agent();
    known(&crls.world, 1, "good", "/leaf.crl").await;
    let long: Vec<_> = (0..200).map(|serial| format!("{serial:04x}")).collect();
    let too_long = crls.ca.crl(&CrlSays { level: Level::Leaves, number: 9, revoked: &long, shard: None });
    assert!(too_long.len() > 4096);
    let kind = "application/pkix-crl";
    for (page, word) in [
        (Page::Status(503), "answers 503"),
        (Page::Stuck, "cannot be reached"),
        (Page::Body(kind, b"<html>no</html>".to_vec()), "not a CRL"),
        (Page::Body(kind, too_long), "more than 4096 bytes"),
    ] {
        crls.publisher.publish("/leaf.crl", page);
        eventually(word, PATIENCE, || async { (agent.count(word) > 0).then_some(()) }).await;
        known(&crls.world, 1, "good", "/leaf.crl").await;
    }
    agent.kill();
    let asked = crls.publisher.asked("/leaf.crl");
    let agent = crls.world.start_agent();
    known(&crls.world, 1, "good", "/leaf.crl").await;
    assert!(Path::new(&crls.world.path("state/revocation/crl")).is_dir());
    assert!(crls.publisher.asked("/leaf.crl") <= asked + 1, "the first answer is from the disk");
    drop(agent);
}
