//! What scanners of other people say of the node's TLS: sslyze against Mozilla's "modern" profile, and testssl.sh.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use sealwire_tests::process::run;
use sealwire_tests::tools;
use sealwire_tests::world::World;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn mozillas_modern_profile() {
    let Some(sslyze) = tools::find("sslyze/bin/sslyze") else { return };
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let (_, root) = world.roots().await;
    let mut command = Command::new(sslyze);
    command.args(["--mozilla_config=modern", "--sni", "node.test", "--certinfo_ca_file"]).arg(root);
    command.arg(world.node_address().to_string());
    let ran = tokio::task::block_in_place(|| run(&mut command));
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("OK - Compliant."), "{}", ran.out);
}

/// Findings that are known, with the reason why they stay.
const ACCEPTED: [(&str, &str); 3] = [
    ("cert_expirationStatus", "leaves of the embedded CA live for ten minutes here, and are renewed in time"),
    ("cert_notAfter", "the same"),
    ("cert_revocation", "the embedded CA publishes lists and answers only where it is told to"),
];

#[tokio::test(flavor = "multi_thread")]
async fn testssl_finds_nothing_in_protocols_and_ciphers() {
    let Some(testssl) = tools::find("testssl") else { return };
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let (_, root) = world.roots().await;
    let report = world.path("testssl.json");
    let mut command = Command::new(testssl);
    // Debian's openssl knows TLS 1.3; the one that comes with the script does not.
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--openssl", "/usr/bin/openssl"]);
    command.args(["--protocols", "--std", "--server-preference", "--server-defaults", "--vulnerable"]);
    command.arg(format!("--add-ca={}", root.display())).arg(format!("--ip={}", world.address));
    command.arg("--jsonfile").arg(&report).arg(format!("node.test:{}", world.node_address().port()));
    let ran = tokio::task::block_in_place(|| run(&mut command));
    let findings: Vec<Value> = serde_json::from_str(
        &std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {ran:?}")),
    )
    .unwrap();
    let said = |id: &str| {
        let found = findings.iter().find(|finding| finding["id"] == id);
        found.unwrap_or_else(|| panic!("testssl.sh says nothing of {id}:\n{}", ran.out))["finding"]
            .to_string()
    };
    // That it saw the node at all.
    assert!(said("TLS1_3").starts_with("\"offered"), "{}", said("TLS1_3"));
    for old in ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"] {
        assert!(said(old).starts_with("\"not offered"), "{old}: {}", said(old));
    }
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| {
            let known = ACCEPTED.iter().any(|(id, _)| finding["id"] == *id);
            !known
                && ["MEDIUM", "HIGH", "CRITICAL", "FATAL"].iter().any(|level| finding["severity"] == *level)
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}\n{}", ran.out);
}
