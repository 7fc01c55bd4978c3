//! A real node over its socket: bundles in two phases, staples, drills. The agent is a script.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use sealwire_proto::ocsp::Status;
use sealwire_proto::probe;
use sealwire_proto::v1::agent_message::Body;
use sealwire_proto::v1::{
    Bundle, BundleUse, Commit, Discard, NackReason, Rollback, Staple, StaplePolicy, Trust, node_message,
};
use sealwire_proto::validate::sha256;
use sealwire_tests::authority::Authority;
use sealwire_tests::process::{Ran, run};
use sealwire_tests::scripted_agent::Scripted;
use sealwire_tests::world::{PATIENCE, World};
use sealwire_tests::{eventually, tools};

const HOUR: Duration = Duration::from_secs(3600);

fn commit(generation: u64) -> Body {
    Body::Commit(Commit { certificate: "web".into(), generation })
}

fn discard(generation: u64) -> Body {
    Body::Discard(Discard { certificate: "web".into(), generation })
}

fn staple(response: Vec<u8>) -> Body {
    let policy = StaplePolicy::Prefer.into();
    Body::Staple(Staple { certificate: "web".into(), generation: 1, response, policy, grace_s: 0 })
}

async fn leaf(world: &World) -> [u8; 32] {
    let address = world.node_address().to_string();
    probe::handshake(&address, "node.test", PATIENCE).await.unwrap().leaf_sha256
}

fn digest(bundle: &Bundle) -> [u8; 32] {
    sha256(&bundle.chain[0])
}

fn for_use(bundle: &Bundle, purpose: BundleUse) -> Bundle {
    let mut bundle = bundle.clone();
    bundle.r#use = purpose.into();
    bundle
}

fn s_client(world: &World, arguments: &[&str]) -> Option<Ran> {
    let mut command = Command::new(tools::find("openssl")?);
    command.args(["s_client", "-connect", &world.node_address().to_string(), "-servername", "node.test"]);
    command.arg("-CAfile").arg(world.path("root.pem")).arg("-verify_return_error");
    Some(run(command.args(arguments)))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phases_and_the_way_back() {
    let mut scripted = Scripted::start("").await;
    let (world, ca) = (&scripted.world, Authority::new("two phases"));
    let node = &mut scripted.pairing;
    assert_eq!(node.hello.protocol_version, 2);
    let bundles: Vec<_> = (1..=3).map(|generation| ca.bundle(world, generation, HOUR)).collect();
    let serving = node.serve(bundles[0].clone()).await;
    assert_eq!(serving.leaf_sha256, digest(&bundles[0]));

    node.say(Body::Bundle(for_use(&bundles[1], BundleUse::Prepare))).await;
    let node_message::Body::Prepared(prepared) = node.answer().await else { panic!("expected Prepared") };
    assert_eq!(prepared.generation, 2);
    assert_eq!(leaf(world).await, digest(&bundles[0]), "prepared is not served");
    node.say(commit(2)).await;
    assert_eq!(node.ack().await.generation, 2);
    assert_eq!(leaf(world).await, digest(&bundles[1]), "the first handshake after the ack sees it");
    assert_eq!(node.proof().await.generation, 2);

    node.say(Body::Bundle(for_use(&bundles[2], BundleUse::Prepare))).await;
    node.answer().await;
    node.say(discard(3)).await;
    node.say(commit(3)).await;
    assert_eq!(node.nack().await.reason(), NackReason::NotPrepared);

    let back = for_use(&bundles[0], BundleUse::Prepare);
    node.say(Body::Rollback(Rollback { bundle: Some(back) })).await;
    assert!(matches!(node.answer().await, node_message::Body::Prepared(_)));
    node.say(commit(1)).await;
    assert_eq!(node.ack().await.generation, 1);
    assert_eq!(node.proof().await.leaf_sha256, digest(&bundles[0]));

    // What is prepared does not outlive the stream; what is served does, and is told.
    node.say(Body::Bundle(for_use(&bundles[2], BundleUse::Prepare))).await;
    node.answer().await;
    let mut node = scripted.again().await;
    let held = &node.hello.holds[0];
    assert_eq!((held.generation, held.leaf_sha256.as_slice()), (1, digest(&bundles[0]).as_slice()));
    node.say(commit(3)).await;
    assert_eq!(node.nack().await.reason(), NackReason::NotPrepared);
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_defect_6_staples_are_seen_by_openssl_and_gone_when_they_end() {
    let mut scripted = Scripted::start("").await;
    let (world, ca) = (&scripted.world, Authority::new("staples"));
    ca.write(world);
    let node = &mut scripted.pairing;
    let mut bundle = ca.bundle(world, 1, HOUR);
    bundle.staple_policy = StaplePolicy::Prefer.into();
    bundle.staple = ca.staple(&bundle, |_| {});
    assert_eq!(node.serve(bundle.clone()).await.staple_sha256, sha256(&bundle.staple));
    let Some(seen) = s_client(world, &["-status"]) else { return };
    assert!(seen.code == 0 && seen.out.contains("OCSP Response Status: successful"), "{seen:?}");
    assert!(seen.out.contains("Cert Status: good") && seen.out.contains("Verify return code: 0"), "{seen:?}");

    let stranger = Authority::new("another CA");
    for (response, reason) in [
        (stranger.staple(&bundle, |_| {}), NackReason::BadStaple),
        (
            ca.staple(&bundle, |answer| answer.next_update = Some(answer.this_update + 1)),
            NackReason::BadStaple,
        ),
        (
            ca.staple(&bundle, |answer| {
                answer.status = Status::Revoked { at: 1_700_000_000, reason: Some(1) }
            }),
            NackReason::Revoked,
        ),
    ] {
        node.say(staple(response)).await;
        let nack = node.nack().await;
        assert_eq!((nack.reason(), nack.staple), (reason, true));
        let seen = s_client(world, &["-status"]).unwrap();
        assert!(seen.out.contains("Cert Status: good"), "the old one is served still: {seen:?}");
    }

    // A new one for some seconds; then the responder is down for ever.
    let soon = ca.staple(&bundle, |answer| answer.next_update = Some(answer.this_update + 60 + 3));
    node.say(staple(soon.clone())).await;
    assert!(
        matches!(node.answer().await, node_message::Body::Stapled(said) if said.staple_sha256 == sha256(&soon))
    );
    assert_eq!(node.proof().await.staple_sha256, sha256(&soon));
    let address = world.node_address().to_string();
    eventually("the staple is gone", PATIENCE, || async {
        let seen = probe::handshake(&address, "node.test", PATIENCE).await.unwrap();
        seen.staple.is_none().then_some(())
    })
    .await;
    let seen = s_client(world, &["-status"]).unwrap();
    assert!(seen.code == 0 && seen.out.contains("OCSP response: no response sent"), "{seen:?}");
    let again = scripted.again().await;
    assert!(again.hello.holds[0].staple_sha256.is_empty(), "and the agent is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_is_rehearsed_beside_what_is_served() {
    let mut scripted = Scripted::start("").await;
    let (world, ca) = (&scripted.world, Authority::new("drill"));
    ca.write(world);
    let node = &mut scripted.pairing;
    let (served, shadow) = (ca.bundle(world, 7, HOUR), ca.bundle(world, 8, HOUR));
    node.serve(served.clone()).await;
    node.say(Body::Bundle(for_use(&shadow, BundleUse::Shadow))).await;
    assert_eq!(node.ack().await.generation, 8);
    let proof = node.proof().await;
    assert!(proof.shadow && proof.leaf_sha256 == digest(&shadow));
    let address = world.node_address().to_string();
    assert_eq!(probe::drill(&address, "node.test", PATIENCE).await.unwrap().leaf_sha256, digest(&shadow));
    assert_eq!(leaf(world).await, digest(&served));
    let Some(drill) = s_client(world, &["-alpn", "sealwire-drill/1,http/1.1"]) else { return };
    assert!(drill.out.contains("ALPN protocol: sealwire-drill/1"), "{drill:?}");
    // No session begins there: the connection ends by itself, whatever is asked.
    assert!(!drill.out.contains("HTTP/1.1"), "{drill:?}");
    node.say(discard(8)).await;
    eventually("the shadow is gone", PATIENCE, || async {
        probe::drill(&address, "node.test", PATIENCE).await.err()
    })
    .await;
    assert_eq!(leaf(world).await, digest(&served));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_say_of_the_certificate_is_counted_by_reason_and_reported() {
    let mut scripted = Scripted::start("").await;
    let (world, ca) = (&scripted.world, Authority::new("trusted by few"));
    let node = &mut scripted.pairing;
    node.serve(ca.bundle(world, 1, HOUR)).await;
    Authority::new("another CA").write(world);
    let Some(refused) = s_client(world, &[]) else { return };
    assert_ne!(refused.code, 0, "{refused:?}");
    ca.write(world);
    let far = s_client(world, &["-attime", "4102444800"]).unwrap();
    assert_ne!(far.code, 0, "{far:?}");
    for reason in ["unknown_ca", "certificate_expired"] {
        let failures = eventually(reason, PATIENCE, || async {
            node.report().map(|report| report.failures).filter(|failures| failures.contains_key(reason))
        })
        .await;
        assert_eq!(failures[reason], 1, "{failures:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_changed_with_overlap() {
    let mut scripted = Scripted::start("").await;
    let world = &scripted.world;
    let (old, new) = (Authority::new("old root"), Authority::new("new root"));
    let node = &mut scripted.pairing;
    node.serve(old.bundle(world, 1, HOUR)).await;
    let mut early = new.bundle(world, 2, HOUR);
    early.trust_anchors = vec![old.der()];
    node.say(Body::Bundle(early.clone())).await;
    assert_eq!(node.nack().await.reason(), NackReason::UntrustedChain);
    let roots = vec![old.der(), new.der()];
    node.say(Body::Trust(Trust { issuer: "pki".into(), roots: roots.clone() })).await;
    let node_message::Body::Trusted(trusted) = node.answer().await else { panic!("expected Trusted") };
    let digests: Vec<u8> = roots.iter().flat_map(|root| sha256(root)).collect();
    assert_eq!((trusted.issuer.as_str(), trusted.roots_sha256), ("pki", sha256(&digests).to_vec()));
    assert_eq!(node.serve(early).await.generation, 2);
}
