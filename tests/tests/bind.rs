//! Dynamic updates, signed, against BIND: what most people who run their own DNS have.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use sealwire_tests::hook::{names, obtained, secret, settings};
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::Process;
use sealwire_tests::world::{PATIENCE, World};
use sealwire_tests::{eventually, tools};

/// named listens on addresses of interfaces only, and worlds' addresses are none.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// BIND as the primary of `zone.test`, which takes TXT updates from our key.
fn named(world: &World, server: SocketAddr, key: &str) -> Option<Process> {
    // Debian has it where the path of most users does not lead.
    let debian = Some(PathBuf::from("/usr/sbin/named")).filter(|path| path.is_file());
    let program = debian.or_else(|| tools::find("named"))?;
    let (address, dir) = (world.address, world.path("named"));
    std::fs::create_dir(&dir).unwrap();
    let zone = format!(
        "$TTL 60\n@ SOA ns admin 1 60 60 600 60\n@ NS ns\nns A {address}\n@ A {address}\n\
         _acme-challenge TXT \"somebody else's\"\n"
    );
    world.write("named/zone.test", &zone);
    let config = world.write(
        "named.conf",
        &format!(
            "options {{ directory \"{dir}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; \
             recursion no; pid-file none; session-keyfile \"{dir}/session.key\"; \
             managed-keys-directory \"{dir}\"; dnssec-validation no; notify no; }};\n\
             controls {{ }};\n\
             key \"sealwire.\" {{ algorithm hmac-sha512; secret \"{key}\"; }};\n\
             zone \"zone.test\" {{ type primary; file \"zone.test\"; update-policy {{ grant sealwire. zonesub TXT; }}; }};\n",
            dir = dir.display(),
            port = server.port(),
            ip = server.ip()
        ),
    );
    Some(Process::start("named", Command::new(program).args(["-g", "-n", "1", "-c"]).arg(config)))
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_01_by_signed_updates_of_a_real_bind() {
    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let world = World::new();
    let server = free_address();
    let Some(named) = named(&world, server, KEY) else { return };
    let _ready = named.line("all zones loaded", PATIENCE);
    let Some(pebble) = Pebble::start_with_dns(&world, &[("PEBBLE_AUTHZREUSE", "0")], server).await else {
        return;
    };
    let key = secret(&world, "tsig", KEY);
    let acme = format!(
        "challenges = [\"dns-01\"]\ndns = \"bind\"\n[dns.bind]\ntype = \"rfc2136\"\nserver = \"{server}\"\n\
         tsig_name = \"sealwire\"\ntsig_algorithm = \"hmac-sha512\"\ntsig_key_file = \"{key}\"\n\
         propagation = \"required\"\n{}",
        format_args!("resolvers = [\"{server}\"]\n")
    );
    world.configure_agent(&settings(&pebble, &acme, &["zone.test", "*.zone.test"]));
    let agent = world.start_agent();
    obtained(&world).await;
    assert!(names(&world).contains("DNS:*.zone.test"));
    assert!(!agent.log().contains(KEY));
    eventually("both values removed", PATIENCE, || async {
        (named.count("deleting an RR at _acme-challenge.zone.test TXT") == 2).then_some(())
    })
    .await;
    assert_eq!(named.count("adding an RR at '_acme-challenge.zone.test' TXT"), 2, "{}", named.log());
    assert_eq!(named.count("deleting an RRset at"), 0, "only our values");
}
