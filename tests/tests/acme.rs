//! What ACME offers beyond a plain order, against Pebble: external accounts, profiles, chains, renewals that
//! say so, accounts and their keys, revocation, kinds of keys.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::ChainRequest;
use sealwire_proto::validate::trust;
use sealwire_tests::pebble::{Pebble, manage};
use sealwire_tests::process::{Process, Ran, run};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};

const CALM: [(&str, &str); 1] = [("PEBBLE_WFE_NONCEREJECT", "0")];

/// Lines for `[acme.pebble]`, and for the `[[certificate]]`.
fn configure(world: &World, pebble: &Pebble, issuer: &str, certificate: &str) {
    world.configure_agent(&AgentSettings {
        issuers: format!("{}{issuer}\n", pebble.issuer),
        certificate: certificate.to_owned(),
        ..AgentSettings::default()
    });
}

fn start(world: &World) -> (Process, Process) {
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    (world.start_agent(), world.start_node("node-1"))
}

/// Runs a `sealwire` command that must succeed.
fn good<const N: usize>(world: &World, arguments: [&str; N]) -> Ran {
    let ran = tokio::task::block_in_place(|| world.run(arguments));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// Renews, back-off or not, with the agent's present configuration.
async fn renew(world: &World) -> Ran {
    // The agent may be about to start.
    let _listening = world.admin().await;
    tokio::task::block_in_place(|| world.run(["renew", "--force"]))
}

async fn chain(world: &World) -> Vec<CertificateDer<'static>> {
    let request = ChainRequest { certificate: "web".into() };
    let reply = world.admin().await.chain(request).await.unwrap().into_inner();
    reply.chain.into_iter().map(CertificateDer::from).collect()
}

async fn serial(world: &World) -> String {
    world.proven().await.current.unwrap().serial
}

/// What Pebble says of a serial: "Valid" or "Revoked", with the reason.
fn ca_status(world: &World, serial: &str) -> String {
    manage(world, &format!("cert-status-by-serial/{serial}"), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_account_is_bound_and_its_key_stays_secret() {
    const SECRET: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let world = World::new();
    let extra = format!(
        r#""externalAccountBindingRequired": true, "externalAccountMACKeys": {{"kid-1": "{SECRET}"}},"#
    );
    let Some(pebble) = Pebble::start_with(&world, &CALM, &extra, "").await else { return };
    configure(&world, &pebble, "", "");
    let agent = world.start_agent();
    let failing = world.state("failing").await;
    assert!(failing.last_error.contains("`key_file` in [acme.pebble.eab]"), "{}", failing.last_error);
    drop(agent);

    let file = world.write("eab.key", &format!("{SECRET}\n"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let table = format!("[acme.pebble.eab]\nkid = \"kid-1\"\nkey_file = \"{}\"", file.display());
    configure(&world, &pebble, &table, "");
    let (agent, _node) = start(&world);
    let ran = renew(&world).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    world.proven().await;
    assert!(!agent.log().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_ordered_and_their_promises_kept() {
    let world = World::new();
    let profiles = r#""shortlived": {"description": "6 days", "validityPeriod": 518400},"#;
    let Some(pebble) = Pebble::start_with(&world, &CALM, "", profiles).await else { return };
    configure(&world, &pebble, "profile = \"short\"", "");
    let agent = world.start_agent();
    let text = world.state("failing").await.last_error;
    assert!(text.contains("no profile \"short\"; it offers default, shortlived"), "{text}");
    assert_eq!(pebble.orders(), 0);
    drop(agent);

    let lifetimes = |hours: u32| format!("[acme.pebble.lifetimes]\nshortlived = \"{hours}h\"");
    configure(&world, &pebble, &lifetimes(72), "profile = \"shortlived\"");
    let agent = world.start_agent();
    let ran = renew(&world).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("the leaf lives for 144.0 h, its profile promises 72.0 h"), "{ran:?}");
    drop(agent);

    configure(&world, &pebble, &lifetimes(144), "profile = \"shortlived\"");
    let (_agent, _node) = start(&world);
    assert_eq!(renew(&world).await.code, 0);
    let current = world.proven().await.current.unwrap();
    let hours = (current.not_after_ms - current.not_before_ms) / 3_600_000;
    assert!((143..=144).contains(&hours), "{hours} h");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preferred_chain_is_served() {
    let world = World::new();
    let environment = [CALM[0], ("PEBBLE_ALTERNATE_ROOTS", "2"), ("PEBBLE_CHAIN_LENGTH", "3")];
    let Some(mut pebble) = Pebble::start(&world, &environment).await else { return };
    if tools::find("openssl").is_none() {
        return;
    }
    let roots: Vec<String> = (0..3).map(|n| manage(&world, &format!("roots/{n}"), None)).collect();
    let all = world.write("all-roots.pem", &roots.concat());
    pebble.issuer = pebble
        .issuer
        .replace(&world.path("pebble-root.pem").display().to_string(), &all.display().to_string());
    let second = world.write("second-root.pem", &roots[2]);
    let shown = run(Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-nameopt", "multiline", "-in"])
        .arg(&second));
    let name = shown.out.lines().find_map(|line| line.trim().strip_prefix("commonName")).unwrap();
    let name = name.trim_start_matches([' ', '=']).to_owned();

    configure(&world, &pebble, &format!("preferred_chain = \"{name}\""), "");
    let (agent, node) = start(&world);
    world.proven().await;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let second = Anchors::from_pem_file(&second).unwrap();
    let served = chain(&world).await;
    assert_eq!(served.len(), 4, "leaf and three intermediates");
    trust(&served, &second, now).unwrap();
    drop((agent, node));

    // One that nobody offers is told, and nothing waits for it.
    configure(&world, &pebble, "preferred_chain = \"No Such Root\"", "");
    let (agent, _node) = start(&world);
    assert_eq!(renew(&world).await.code, 0);
    trust(&chain(&world).await, &second, now).unwrap_err();
    let _told = agent.line("no chain to the preferred root", PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_nonces_of_ten_refused_and_every_authorization_reused() {
    let world = World::new();
    let environment = [("PEBBLE_WFE_NONCEREJECT", "70"), ("PEBBLE_AUTHZREUSE", "100")];
    let Some(pebble) = Pebble::start(&world, &environment).await else { return };
    configure(&world, &pebble, "", "");
    let (agent, _node) = start(&world);
    world.proven().await;
    let challenges = agent.count("CHALLENGE_READY");
    for _ in 0..3 {
        let ran = good(&world, ["renew"]);
        assert!(ran.out.contains("as a renewal"), "{}", ran.out);
    }
    assert_eq!(agent.count("CHALLENGE_READY"), challenges, "valid authorizations need no challenge");
    assert_eq!(pebble.orders(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_url_was_lost_is_found_in_the_accounts_list() {
    let world = World::new();
    let environment = [("PEBBLE_WFE_NONCEREJECT", "70"), ("PEBBLE_WFE_ORDERS_PER_PAGE", "1")];
    let Some(pebble) = Pebble::start(&world, &environment).await else { return };
    configure(&world, &pebble, "", "");
    let mut agent = world.start_agent();
    let _placed = agent.line("ORDERED", PATIENCE);
    agent.kill();
    // As after a crash between the CA's answer and the journal.
    let journal = "state/certificates/web/order.json";
    let text = std::fs::read_to_string(world.path(journal)).unwrap();
    let mut order: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(order["order_url"].is_string());
    order["order_url"] = serde_json::Value::Null;
    world.write(journal, &order.to_string());

    let (agent, _node) = start(&world);
    world.proven().await;
    assert_eq!(agent.count("placed unawares"), 1);
    assert_eq!(pebble.orders(), 1, "no second order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_changes_its_key_and_goes_on_until_it_is_ended() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    configure(&world, &pebble, "", "");
    let (agent, node) = start(&world);
    world.proven().await;
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.trim_start_matches(name).trim().to_owned()
    };
    let before = good(&world, ["account", "show"]).out;
    assert_eq!(field(&before, "status"), "valid");
    assert_eq!(field(&before, "contacts"), "mailto:ops@example.com");
    let after = good(&world, ["account", "rollover", "--issuer", "pebble"]).out;
    assert_eq!(field(&after, "account"), field(&before, "account"));
    assert_ne!(field(&after, "thumbprint"), field(&before, "thumbprint"));
    assert!(!world.path("state/accounts/pebble/account.key.next.pem").exists());
    good(&world, ["renew"]);
    drop(agent);

    // A rollover that broke off: the old key is in account.json, the CA has the new one.
    let dir = world.path("state/accounts/pebble");
    let old = std::fs::read(dir.join("account.json")).unwrap();
    let agent = world.start_agent();
    world.proven().await;
    let after = good(&world, ["account", "rollover"]).out;
    drop(agent);
    std::fs::rename(dir.join("account.key.pem"), dir.join("account.key.next.pem")).unwrap();
    std::fs::write(dir.join("account.json"), old).unwrap();
    let agent = world.start_agent();
    world.proven().await;
    let found = good(&world, ["account", "show"]).out;
    assert_eq!(field(&found, "thumbprint"), field(&after, "thumbprint"));
    assert!(!dir.join("account.key.next.pem").exists() && dir.join("account.key.pem").exists());
    good(&world, ["renew"]);

    let ran = tokio::task::block_in_place(|| world.run(["account", "deactivate"]));
    assert_eq!(ran.code, 2, "{ran:?}");
    let ended = good(&world, ["account", "deactivate", "--yes"]).out;
    assert_eq!(field(&ended, "status"), "deactivated");
    let ran = renew(&world).await;
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("was deactivated at"), "{ran:?}");

    // As the message says. The old account's certificates are no renewals to the new one.
    std::fs::rename(&dir, world.path("state/accounts/old")).unwrap();
    let ran = renew(&world).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains("as a renewal"), "{ran:?}");
    let anew = good(&world, ["account", "show"]).out;
    assert_ne!(field(&anew, "account"), field(&before, "account"));
    drop((agent, node));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_replaced_at_once_with_another_key() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &CALM).await else { return };
    configure(&world, &pebble, "", "reuse_key = true");
    let (_agent, _node) = start(&world);
    let first = serial(&world).await;
    let key = |generation: &str| {
        std::fs::read(world.path(&format!("state/certificates/web/generations/{generation}/privkey.pem")))
            .unwrap()
    };
    good(&world, ["renew"]);
    assert_eq!(key("000001"), key("000002"), "reuse_key");
    let second = serial(&world).await;

    let ran = good(&world, ["revoke", "web", "--reason", "key-compromise"]);
    assert!(ran.out.contains(&second) && ran.out.contains("a new one is being ordered"), "{ran:?}");
    let status = ca_status(&world, &second);
    assert!(status.contains("\"Revoked\"") && status.contains("\"Reason\": 1"), "{status}");
    let third = eventually("a third generation", PATIENCE, || async {
        let current = world.web().await?.current?;
        (current.generation == 3).then_some(current.serial)
    })
    .await;
    assert_ne!(key("000002"), key("000003"), "the key of what was revoked is not used again");
    assert!(ca_status(&world, &third).contains("\"Valid\""));

    // An older one: nothing is ordered for it.
    world.proven().await;
    let ran = good(&world, ["revoke", "web", "--generation", "1"]);
    assert!(ran.out.contains(&first) && !ran.out.contains("ordered"), "{ran:?}");
    assert!(ca_status(&world, &first).contains("\"Revoked\""));
    assert_eq!(pebble.orders(), 3);
    let ran = tokio::task::block_in_place(|| world.run(["revoke", "web", "--generation", "77"]));
    assert!(ran.code == 2 && ran.err.contains("not stored any more"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_ca_revokes_but_has_no_account() {
    let world = World::new();
    let (_agent, _node) = world.start().await;
    let ran = good(&world, ["revoke", "web"]);
    assert!(ran.out.contains("web #1 revoked at pki: serial "), "{ran:?}");
    let ran = tokio::task::block_in_place(|| world.run(["account", "show"]));
    assert!(ran.code == 2 && ran.err.contains("no ACME issuer is configured"), "{ran:?}");
}

/// The public key that the node shows, in openssl's words.
fn served_key(world: &World) -> String {
    let script = format!(
        "openssl s_client -connect {} -servername node.test </dev/null 2>/dev/null | openssl x509 -noout -text",
        world.node_address()
    );
    let ran = run(Command::new("bash").args(["-o", "pipefail", "-c", &script]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = ran.out.lines().filter(|line| line.contains("Public"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_is_served() {
    if tools::find("openssl").is_none() {
        return;
    }
    let expected = [
        ("p384", "id-ecPublicKey", "(384 bit)"),
        ("rsa2048", "rsaEncryption", "(2048 bit)"),
        ("rsa3072", "rsaEncryption", "(3072 bit)"),
        ("rsa4096", "rsaEncryption", "(4096 bit)"),
        ("p256", "id-ecPublicKey", "(256 bit)"),
    ];
    let (pebbles, internals) = (World::new(), World::new());
    let Some(pebble) = Pebble::start(&pebbles, &CALM).await else { return };
    for (world, acme) in [(&pebbles, true), (&internals, false)] {
        for (index, (kind, algorithm, bits)) in expected.iter().enumerate() {
            let certificate = format!("key_type = \"{kind}\"");
            if acme {
                configure(world, &pebble, "", &certificate);
            } else {
                world.configure_agent(&AgentSettings { certificate, ..AgentSettings::default() });
            }
            let (_agent, _node) = start(world);
            // Another type of key in the configuration is reason enough for a renewal.
            eventually(&format!("generation {} ({kind})", index + 1), PATIENCE, || async {
                let web = world.web().await.filter(|web| web.state == "proven")?;
                (web.current?.generation == index as u64 + 1).then_some(())
            })
            .await;
            let served = served_key(world);
            assert!(served.contains(algorithm) && served.contains(bits), "{kind}: {served}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_the_ca_counts_already_is_ordered_as_something_new() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &CALM).await else { return };
    configure(&world, &pebble, "", "");
    let (agent, node) = start(&world);
    world.proven().await;
    let ran = good(&world, ["renew"]);
    assert!(ran.out.contains("as a renewal"), "{}", ran.out);
    drop((agent, node));
    // Somebody restores a backup: the first generation is current again, and was replaced at the CA.
    let current = world.path("state/certificates/web/current");
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("generations/000001", &current).unwrap();
    let (agent, _node) = start(&world);
    world.proven().await;
    let ran = good(&world, ["renew"]);
    assert!(!ran.out.contains("as a renewal"), "{}", ran.out);
    let _told = agent.line("the CA does not take the order as a renewal", Duration::from_secs(1));
    assert_eq!(pebble.orders(), 3);
}
