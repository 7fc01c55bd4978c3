//! A move from certbot, lego or Caddy: the real client obtains a certificate from Pebble, `sealwire import` takes
//! its account and its certificate over, and no order is placed until the next renewal, which that account places.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sealwire_proto::probe;
use sealwire_proto::validate::sha256;
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::{Process, Ran, run};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};
use serde_json::Value;

/// Nonces are good, for the clients' sake. Names are validated, and nearly always anew: the answers to challenges
/// are made with the account's key too.
const EASY: [(&str, &str); 2] = [("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")];

const EMAIL: &str = "ops@example.com";

/// What a client left behind.
struct Left {
    /// As `sealwire import` takes it.
    dir: PathBuf,
    /// PEM.
    chain: PathBuf,
    /// JSON, and where in it the account's URL is.
    account: (PathBuf, &'static str),
}

fn directory(world: &World) -> String {
    format!("https://{}:14000/dir", world.address)
}

fn good(command: &mut Command) -> Ran {
    let ran = tokio::task::block_in_place(|| run(command));
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    ran
}

fn certbot(program: &Path, world: &World) -> Left {
    let dir = world.path("letsencrypt");
    let mut command = Command::new(program);
    command
        .env("REQUESTS_CA_BUNDLE", world.path("pebble-ca.pem"))
        .args(["certonly", "--standalone", "--non-interactive", "--agree-tos", "--no-eff-email"])
        .args(["--http-01-port", "5002", "--http-01-address", &world.address.to_string()])
        .args(["--server", &directory(world), "--email", EMAIL, "--domain", "node.test", "--config-dir"])
        .arg(&dir)
        .arg("--work-dir")
        .arg(world.path("certbot-work"))
        .arg("--logs-dir")
        .arg(world.path("certbot-logs"));
    good(&mut command);
    let accounts = dir.join(format!("accounts/{}:14000/dir", world.address));
    let id = std::fs::read_dir(accounts).unwrap().next().unwrap().unwrap().path();
    Left { chain: dir.join("live/node.test/fullchain.pem"), account: (id.join("regr.json"), "/uri"), dir }
}

fn lego(program: &Path, world: &World) -> Left {
    let dir = world.path("lego");
    let mut command = Command::new(program);
    command
        .env("LEGO_CA_CERTIFICATES", world.path("pebble-ca.pem"))
        .args(["--server", &directory(world), "--accept-tos", "--email", EMAIL, "--domains", "node.test"])
        // The account's key is of this type as well.
        .args(["--key-type", "ec384", "--path"])
        .arg(&dir)
        .args(["--http", "--http.port", &format!("{}:5002", world.address), "run"]);
    good(&mut command);
    let account = dir.join(format!("accounts/{}_14000/{EMAIL}/account.json", world.address));
    Left { chain: dir.join("certificates/node.test.crt"), account: (account, "/registration/uri"), dir }
}

async fn caddy(program: &Path, world: &World) -> Left {
    let (address, dir) = (world.address, world.path("caddy"));
    let config = world.write(
        "Caddyfile",
        &format!(
            "{{\n admin off\n http_port 5002\n https_port 5443\n default_bind {address}\n email {EMAIL}\n \
             acme_ca {}\n acme_ca_root {}\n storage file_system {}\n \
             cert_issuer acme {{\n  disable_tlsalpn_challenge\n }}\n}}\nnode.test {{\n respond ok\n}}\n",
            directory(world),
            world.path("pebble-ca.pem").display(),
            dir.display()
        ),
    );
    let ca = format!("{address}-14000-dir");
    let own = dir.join(format!("certificates/{ca}/node.test"));
    let is_there = || ["crt", "key", "json"].iter().all(|end| own.join(format!("node.test.{end}")).exists());
    // Debian's Caddy takes no date for a Retry-After, which every other answer of Pebble has, and waits a minute
    // before it tries again: a new process tries at once.
    for _ in 0..30 {
        let mut command = Command::new(program);
        command.env("HOME", world.path("home")).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&config);
        let mut process = Process::start("caddy", &mut command);
        eventually("Caddy's certificate, or its excuse", PATIENCE, || async {
            (is_there() || process.count("invalid Retry-After header") > 0).then_some(())
        })
        .await;
        // Its last words to the disk.
        process.terminate();
        let _status = process.ended(PATIENCE);
        if is_there() {
            break;
        }
    }
    assert!(is_there(), "Caddy has no certificate");
    let account = dir.join(format!("acme/{ca}/users/{EMAIL}/ops.json"));
    Left { chain: own.join("node.test.crt"), account: (account, "/location"), dir }
}

/// A line of `sealwire account show`.
fn shown(world: &World, name: &str) -> String {
    let ran = good(&mut world.sealwire(["account", "show"]));
    let line = ran.out.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned());
    line.unwrap_or_else(|| panic!("no {name}: {}", ran.out))
}

async fn served(world: &World) -> [u8; 32] {
    let address = world.node_address().to_string();
    probe::handshake(&address, "node.test", Duration::from_secs(10)).await.unwrap().leaf_sha256
}

fn configure(world: &World, pebble: &Pebble) {
    let identifiers = vec!["node.test".to_owned()];
    world.configure_agent(&AgentSettings {
        issuers: pebble.issuer.clone(),
        identifiers,
        ..AgentSettings::default()
    });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    // The clients do not obtain certificates for addresses.
    let node = std::fs::read_to_string(world.path("node-1.toml")).unwrap();
    let both = format!("server_names = [\"node.test\", \"{}\"]", world.address);
    assert!(node.contains(&both), "{node}");
    world.write("node-1.toml", &node.replace(&both, "server_names = [\"node.test\"]"));
}

/// From what the client left to the second renewal.
async fn moves(client: &str, world: &World, pebble: &Pebble, left: Left) {
    let (file, member) = &left.account;
    let account: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let url = account.pointer(member).unwrap().as_str().unwrap().to_owned();
    let pem = std::fs::read(&left.chain).unwrap();
    let leaf = sha256(&CertificateDer::from_pem_slice(&pem).unwrap());
    // Caddy may have needed several.
    let orders = pebble.orders();
    assert!(orders >= 1);
    let accounts = || pebble.server.count("accounts in memory");
    assert_eq!(accounts(), 1);

    configure(world, pebble);
    let dir = left.dir.to_str().unwrap();
    let ran = good(&mut world.sealwire(["import", client, dir, "--dry-run"]));
    let account_line = format!("would be imported as that of pebble: {url}");
    assert!(
        ran.out.contains(&account_line) && ran.out.contains("node.test: would be imported as web"),
        "{ran:?}"
    );
    assert!(!world.path("state").exists(), "a dry run writes nothing");
    let ran = good(&mut world.sealwire(["import", client, dir]));
    assert!(ran.out.contains(&format!(": imported as that of pebble: {url}")), "{ran:?}");
    assert!(ran.out.contains("node.test: imported as web"), "{ran:?}");
    let ran = good(&mut world.sealwire(["import", client, dir]));
    assert!(
        ran.out.contains("skipped, pebble has it already") && ran.out.contains("is valid as long"),
        "{ran:?}"
    );

    let (agent, _node) = (world.start_agent(), world.start_node("node-1"));
    let current = world.proven().await.current.unwrap();
    assert_eq!(current.leaf_sha256, leaf);
    assert_eq!(served(world).await, leaf, "the client's certificate is served");
    assert_eq!(shown(world, "account "), url);
    assert_eq!(shown(world, "status"), "valid");
    assert_eq!(pebble.orders(), orders, "no order was placed");

    let thumbprint = shown(world, "thumbprint");
    let ran = good(&mut world.sealwire(["renew"]));
    assert!(ran.out.contains("as a renewal"), "{ran:?}");
    let renewed = world.proven().await.current.unwrap();
    assert_ne!(renewed.leaf_sha256, leaf);
    assert_eq!(served(world).await.as_slice(), renewed.leaf_sha256);

    // The account gets a key of ours, and stays the same account.
    good(&mut world.sealwire(["account", "rollover"]));
    assert_eq!(shown(world, "account "), url);
    assert_ne!(shown(world, "thumbprint"), thumbprint);
    let ran = good(&mut world.sealwire(["renew"]));
    assert!(ran.out.contains("as a renewal"), "{ran:?}");
    assert_eq!((pebble.orders(), accounts()), (orders + 2, 1), "no other account was registered");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_certbot_with_an_rsa_account() {
    let Some(program) = tools::find("certbot") else { return };
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &EASY).await else { return };
    let left = certbot(&program, &world);
    moves("certbot", &world, &pebble, left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_lego_with_an_account_on_p384() {
    let Some(program) = tools::find("lego") else { return };
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &EASY).await else { return };
    let left = lego(&program, &world);
    moves("lego", &world, &pebble, left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_caddy() {
    let Some(program) = tools::find("caddy") else { return };
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &EASY).await else { return };
    let left = caddy(&program, &world).await;
    moves("caddy", &world, &pebble, left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_told_and_the_rest_is() {
    let Some(program) = tools::find("lego") else { return };
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &EASY).await else { return };
    let left = lego(&program, &world);
    configure(&world, &pebble);
    let issuers = format!("{}[internal.pki]\n", pebble.issuer);
    let dir = left.dir.to_str().unwrap().to_owned();
    std::fs::write(left.dir.join("certificates/bad.test.crt"), "").unwrap();
    std::fs::write(left.dir.join("certificates/bad.test.json"), "{\"certUrl\"").unwrap();
    std::fs::create_dir_all(left.dir.join("accounts/other.example/nobody@example.com/keys")).unwrap();
    let ran = tokio::task::block_in_place(|| world.run(["import", "lego", &dir]));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("bad.test.json is not JSON"), "{ran:?}");
    assert!(ran.out.contains("(other.example): skipped, no [acme.NAME]"), "{ran:?}");
    assert!(ran.out.contains("node.test: imported as web"), "{ran:?}");

    let identifiers = vec!["node.test".to_owned()];
    let certificate = "issuers = [\"pebble\"]".to_owned();
    world.configure_agent(&AgentSettings { issuers, identifiers, certificate, ..AgentSettings::default() });
    for (arguments, expected) in [
        (["--issuer", "pki"], "[internal.pki] is an embedded CA"),
        (["--issuer", "nobody"], "there is no [acme.nobody]"),
        (["--account", "x@example.com"], "--account x@example.com: accounts in "),
    ] {
        let all = ["import", "lego", &dir].into_iter().chain(arguments);
        let ran = tokio::task::block_in_place(|| world.run(all));
        assert!(ran.code == 2 && ran.err.contains(expected), "{ran:?}");
    }
    let ran = tokio::task::block_in_place(|| world.run(["import", "caddy", &dir]));
    assert!(ran.code == 1 && !ran.out.contains("imported"), "{ran:?}");

    // Beside a running agent only a dry run is possible.
    let _agent = world.start_agent();
    world.admin().await;
    let ran = tokio::task::block_in_place(|| world.run(["import", "lego", &dir]));
    assert!(ran.code == 1 && ran.err.contains("is in use by another agent"), "{ran:?}");
    let ran = tokio::task::block_in_place(|| world.run(["import", "lego", &dir, "--dry-run"]));
    assert!(ran.out.contains("skipped, pebble has it already"), "{ran:?}");
}
