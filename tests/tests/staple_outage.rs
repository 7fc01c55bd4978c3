//! An OCSP responder that is down for longer than the grace, with a real agent and node, Pebble's certificates and
//! `openssl ocsp`: a required staple halts the node until there is one, a preferred one does not.
#![allow(missing_docs, clippy::unwrap_used)]

use sealwire_proto::anchors::Anchors;
use sealwire_tests::eventually;
use sealwire_tests::openssl_ocsp::{OpensslOcsp, Signer};
use sealwire_tests::pebble::{Pebble, manage};
use sealwire_tests::process::Process;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::talk::Talk;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::json;

/// Responders are asked every second or two: tests do not have the time.
const OFTEN: &str = "[revocation]\nmin_interval = \"1s\"\nmax_interval = \"2s\"\ntimeout = \"2s\"\n";

/// An agent and a node with a certificate whose responder is down.
struct Outage {
    world: World,
    responder: OpensslOcsp,
    _pebble: Pebble,
    processes: (Process, Process),
}

impl Outage {
    /// `None`: there is no Pebble here, which was said.
    async fn start(policy: &str) -> Option<Self> {
        let world = World::new();
        let responder = OpensslOcsp::new(&world, &world.path("intermediate.pem"));
        // Pebble gives out its key only if that is RSA.
        let extra = format!("\"keyAlgorithm\": \"rsa\", \"ocspResponderURL\": \"{}\",", responder.url);
        let pebble = Pebble::start_with(&world, &[], &extra, "").await?;
        world.write("intermediate.pem", &manage(&world, "intermediates/0", None));
        world.write("intermediate.key", &manage(&world, "intermediate-keys/0", None));
        world.configure_agent(&AgentSettings {
            issuers: format!("{OFTEN}{}", pebble.issuer),
            certificate: format!("ocsp = \"{policy}\"\nocsp_grace = \"3s\""),
            ..AgentSettings::default()
        });
        world.configure_node("node-1", 0, &world.delivery_socket(), "");
        let processes = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        Some(Self { world, responder, _pebble: pebble, processes })
    }

    async fn breaker(&self, state: &str) -> String {
        eventually(&format!("the breaker is {state}"), PATIENCE, || async {
            let status = self.world.status().await?;
            let node = status.nodes.into_iter().find(|node| node.breaker == state)?;
            Some(node.breaker_detail)
        })
        .await
    }

    /// The responder comes up and knows the certificate.
    async fn answer(&self) -> Process {
        let web = self.world.web().await.unwrap();
        self.responder.good(&web.current.unwrap().serial);
        let signer = Signer {
            certificate: self.world.path("intermediate.pem"),
            key: self.world.path("intermediate.key"),
        };
        self.responder.start(&signer, &[])
    }

    async fn stapled(&self) {
        eventually("a handshake saw the staple", PATIENCE, || async {
            let web = self.world.web().await?;
            web.deliveries.iter().all(|delivery| delivery.stapled).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_staple_that_is_missing_past_the_grace_halts_the_node_and_nobody_loses_anything() {
    let Some(outage) = Outage::start("require").await else { return };
    let roots = Anchors::from_pem_file(&outage.world.path("pebble-root.pem")).unwrap();
    let tls = tls(&roots).unwrap();
    let mut talk = Talk::begin(&outage.world, &tls).await;
    assert_eq!(talk.publish(json!("within the grace")).await, None);

    let detail = outage.breaker("open").await;
    assert!(detail.contains("staple"), "{detail}");
    let refusal = talk.publish(json!("refused")).await.unwrap();
    assert_eq!((&refusal["code"], &refusal["temporary"]), (&json!(100), &json!(true)));
    assert!(Session::open(outage.world.node_address(), tls.clone()).await.is_err(), "no new sessions");
    let incidents = tokio::task::block_in_place(|| outage.world.run(["incidents"])).out;
    assert!(incidents.contains("breaker_open") && incidents.contains("staple_stale"), "{incidents}");

    let _responder = outage.answer().await;
    outage.breaker("closed").await;
    outage.stapled().await;
    assert_eq!(talk.publish(json!("afterwards")).await, None);
    assert_eq!(talk.all_has_come().await, ["open", "closed"]);
    Session::open(outage.world.node_address(), tls).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preferred_staple_that_is_missing_halts_nobody() {
    let Some(outage) = Outage::start("prefer").await else { return };
    let roots = Anchors::from_pem_file(&outage.world.path("pebble-root.pem")).unwrap();
    // It is asked every second at most: by then the grace that "require" would have is over.
    eventually("the responder was missed many times", PATIENCE, || async {
        (outage.processes.0.count("no OCSP response") >= 4).then_some(())
    })
    .await;
    assert_eq!(outage.breaker("closed").await, "");
    let mut talk = Talk::begin(&outage.world, &tls(&roots).unwrap()).await;
    assert_eq!(talk.publish(json!("all along")).await, None);
    assert_eq!(talk.all_has_come().await, Vec::<serde_json::Value>::new());
    let _responder = outage.answer().await;
    outage.stapled().await;
}
