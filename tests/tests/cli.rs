//! The command line as an operator sees it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use sealwire_tests::process::run;
use sealwire_tests::tools;
use sealwire_tests::world::{AgentSettings, World};

#[tokio::test(flavor = "multi_thread")]
async fn renew_status_inspect_and_root_agree() {
    let world = World::new();
    let (_agent, node) = world.start().await;
    let sealwire = |arguments: &[&str]| tokio::task::block_in_place(|| world.run(arguments.iter().copied()));

    let ran = sealwire(&["renew", "web"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let words: Vec<_> = ran.out.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(words[..3], ["started", "key", "issued"], "{}", ran.out);
    for word in ["stored", "pushed", "acked", "proven", "done"] {
        assert!(ran.out.lines().any(|line| line.contains(&format!("#2     {word} "))), "{word}: {}", ran.out);
    }

    let ran = sealwire(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let web = &status["certificates"][0];
    assert_eq!((&web["state"], &web["current"]["generation"]), (&"proven".into(), &2.into()), "{}", ran.out);
    let delivery = &web["deliveries"][0];
    for number in ["desired", "acknowledged", "serving"] {
        assert_eq!(delivery[number], 2, "{number}");
    }
    let text = sealwire(&["status"]).out;
    assert!(text.starts_with("CERTIFICATE") && text.contains("node-1"), "{text}");

    // The same leaf by name, at the server, and in the file for other servers.
    let serial = web["current"]["serial"].as_str().unwrap();
    let live = world.path("state/live/web/fullchain.pem").display().to_string();
    let server = world.node_address().to_string();
    for what in ["web", &server, &live] {
        let ran = sealwire(&["inspect", what]);
        assert!(ran.code == 0 && ran.out.contains(&format!("serial      {serial}")), "{ran:?}");
    }
    let key = std::fs::metadata(world.path("state/live/web/privkey.pem")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&key) & 0o777, 0o600);

    // The root verifies what is in the file, by openssl's judgement.
    let root = world.write("root.pem", &sealwire(&["ca", "root"]).out);
    if let Some(openssl) = tools::find("openssl") {
        let mut verify = Command::new(openssl);
        verify.args(["verify", "-purpose", "sslserver", "-x509_strict", "-CAfile"]).arg(root);
        let ran = run(verify.args(["-untrusted", &live, &live]));
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    for (arguments, code, text) in [
        (["renew", "nope"].as_slice(), 2, "no certificate is named \"nope\"; configured: web"),
        (&["inspect", "nope"], 2, "no certificate is named"),
        (&["inspect", "127.0.0.1:1"], 1, "cannot connect"),
        (&["ca", "root", "nope"], 2, "no internal issuer is named"),
        (&["renew", "web", "--all"], 2, "cannot be used with"),
    ] {
        let ran = sealwire(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(text), "{arguments:?}: {ran:?}");
    }
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_is_served_nowhere_is_not_done() {
    let world = World::new();
    let delivery = "ack_timeout = \"1s\"\nproof_timeout = \"1s\"".to_owned();
    world.configure_agent(&AgentSettings { delivery, ..AgentSettings::default() });
    let _agent = world.start_agent();
    world.state("unproven").await;
    let ran = tokio::task::block_in_place(|| world.run(["renew"]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("stored, but not proven: no node that must serve it is paired"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_other_servers_needs_no_node() {
    let world = World::new();
    world.configure_agent(&AgentSettings { certificate: "nodes = []".into(), ..AgentSettings::default() });
    let _agent = world.start_agent();
    world.state("stored").await;
    let ran = tokio::task::block_in_place(|| world.run(["renew"]));
    assert_eq!((ran.code, ran.out.contains("it goes to no node")), (0, true), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_renew_by_themselves() {
    let world = World::new();
    // A hundredth of two minutes and a bit: due a second or so after it was issued.
    world.configure_agent(&AgentSettings {
        issuers: "[internal.pki]\nleaf_lifetime = \"2m\"\n".into(),
        certificate: "renew_at = 0.12".into(),
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (_agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let first = world.proven().await.current.unwrap();
    sealwire_tests::eventually("a later generation is proven", sealwire_tests::world::PATIENCE, || async {
        let web = world.web().await?;
        let later = web.current.as_ref()?.generation > first.generation;
        (later && web.state == "proven").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_tells_from_the_state_directory_alone_what_can_be_served() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let sealwire = |arguments: &[&str]| tokio::task::block_in_place(|| world.run(arguments.iter().copied()));
    let ran = sealwire(&["ready"]);
    assert!(ran.code == 1 && ran.err.contains("web: no generation yet"), "{ran:?}");
    assert!(!world.path("state").exists(), "looking makes nothing");
    let ran = sealwire(&["ready", "web", "nope"]);
    assert!(ran.code == 2 && ran.err.contains("\"nope\"; configured: web"), "{ran:?}");

    let mut agent = world.start_agent();
    world.state("unproven").await;
    agent.kill();
    for arguments in [["ready"].as_slice(), &["ready", "web"]] {
        let ran = sealwire(arguments);
        assert!(ran.code == 0 && ran.out.starts_with("web: generation 1, valid until 2"), "{ran:?}");
    }
    std::fs::write(world.path("state/certificates/web/generations/000001/fullchain.pem"), "").unwrap();
    let ran = sealwire(&["ready"]);
    assert!(ran.code == 1 && ran.err.contains("fullchain.pem"), "{ran:?}");
}
