//! Every challenge type against Pebble, which looks at what we set just as a public CA does.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sealwire_proto::v1::CertificateStatus;
use sealwire_tests::hook::{Request, Service, names, obtained, secret, settings};
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::{Process, run};
use sealwire_tests::world::{PATIENCE, World};
use sealwire_tests::{eventually, tools};

/// Every order is validated anew.
const ANEW: [(&str, &str); 1] = [("PEBBLE_AUTHZREUSE", "0")];

/// Waits until an attempt has failed, and gives its error.
async fn refused(world: &World) -> String {
    let failing = |web: &CertificateStatus| web.failures > 0 && web.current.is_none();
    let web = eventually("a failure", PATIENCE, || async { world.web().await.filter(failing) }).await;
    web.last_error
}

fn renew(world: &World) -> sealwire_tests::process::Ran {
    tokio::task::block_in_place(|| world.run(["renew", "--force"]))
}

/// A hook that sets and clears records of challtestsrv, and writes down what it was asked.
fn exec_hook(world: &World) -> String {
    use std::os::unix::fs::PermissionsExt;
    let log = world.path("hook.log");
    let script = format!(
        "#!/bin/sh\nset -eu\necho \"$SEALWIRE_DNS_ACTION $SEALWIRE_DNS_FQDN\" >>{}\n\
         case $SEALWIRE_DNS_ACTION in\n\
         present) curl -fsS -d \"{{\\\"host\\\": \\\"$SEALWIRE_DNS_FQDN.\\\", \\\"value\\\": \\\"$SEALWIRE_DNS_VALUE\\\"}}\" http://{address}:8055/set-txt ;;\n\
         cleanup) curl -fsS -d \"{{\\\"host\\\": \\\"$SEALWIRE_DNS_FQDN.\\\"}}\" http://{address}:8055/clear-txt ;;\n\
         esac\n",
        log.display(),
        address = world.address
    );
    let path = world.write("hook.sh", &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// `dns = "hook"` and a table for the hook.
fn exec_dns(world: &World, more: &str) -> String {
    format!("dns = \"hook\"\n[dns.hook]\ntype = \"exec\"\nprogram = \"{}\"\n{more}", exec_hook(world))
}

fn resolvers(world: &World, port: u16) -> String {
    format!("resolvers = [\"{}:{port}\"]\n", world.address)
}

fn hook_log(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.path("hook.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcard_and_base_by_dns_01_with_a_program() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let dns = exec_dns(&world, &format!("propagation = \"required\"\n{}", resolvers(&world, 8053)));
    let acme = format!("challenges = [\"dns-01\"]\n{dns}");
    world.configure_agent(&settings(&pebble, &acme, &["a.test", "*.a.test"]));
    let agent = world.start_agent();
    obtained(&world).await;
    assert!(
        names(&world).contains("DNS:*.a.test, DNS:a.test")
            || names(&world).contains("DNS:a.test, DNS:*.a.test")
    );
    assert_eq!(agent.count("dns-01 for "), 2, "{}", agent.log());
    let log =
        eventually("cleaned up", PATIENCE, || async { Some(hook_log(&world)).filter(|log| log.len() >= 4) })
            .await;
    let present = "present _acme-challenge.a.test".to_owned();
    let cleanup = "cleanup _acme-challenge.a.test".to_owned();
    assert_eq!(log, [present.clone(), present, cleanup.clone(), cleanup]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_name_is_set_where_its_cname_leads() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    pebble.dns().set_cname("_acme-challenge.a.test", "a-test.delegated.example").await;
    let dns = exec_dns(&world, &format!("propagation = \"required\"\n{}", resolvers(&world, 8053)));
    world.configure_agent(&settings(&pebble, &format!("challenges = [\"dns-01\"]\n{dns}"), &["a.test"]));
    let _agent = world.start_agent();
    obtained(&world).await;
    assert_eq!(hook_log(&world)[0], "present a-test.delegated.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_01_with_a_webhook() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let (dns, asked) = (pebble.dns(), Arc::new(Mutex::new(Vec::new())));
    let heard = Arc::clone(&asked);
    let service = Service::start(world.address, move |request: Request| {
        let (bearer, body) = (request.header("authorization").unwrap_or_default().to_owned(), request.body);
        let first = heard.lock().unwrap().is_empty();
        heard.lock().unwrap().push((bearer, body.clone()));
        async move {
            if first {
                return 503;
            }
            let fqdn = body["fqdn"].as_str().unwrap_or_default();
            match body["action"].as_str() {
                Some("present") => dns.set_txt(fqdn, body["value"].as_str().unwrap_or_default()).await,
                Some("cleanup") => dns.clear_txt(fqdn).await,
                _ => return 400,
            }
            200
        }
    })
    .await;
    let token = secret(&world, "token", "s3cret\n");
    let acme = format!(
        "challenges = [\"dns-01\"]\ndns = \"hook\"\n[dns.hook]\ntype = \"webhook\"\nurl = \"http://{}/dns\"\n\
         token_file = \"{token}\"\n{}",
        service.address,
        resolvers(&world, 8053)
    );
    world.configure_agent(&settings(&pebble, &acme, &["*.a.test"]));
    let agent = world.start_agent();
    obtained(&world).await;
    let asked = eventually("cleaned up", PATIENCE, || async {
        Some(asked.lock().unwrap().clone()).filter(|asked| asked.len() == 3)
    })
    .await;
    let actions: Vec<_> = asked.iter().map(|(_, body)| body["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["present", "present", "cleanup"], "the 503 was tried again");
    assert!(asked.iter().all(|(bearer, body)| bearer == "Bearer s3cret" && body["identifier"] == "*.a.test"));
    assert!(!agent.log().contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_01_with_acme_dns_once_its_cname_is_set() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let dns = pebble.dns();
    let service = Service::start(world.address, move |request: Request| async move {
        let known = request.header("x-api-user") == Some("u") && request.header("x-api-key") == Some("p4ss");
        if request.path != "/update" || !known || request.body["subdomain"] != "x" {
            return 401;
        }
        dns.set_txt("x.auth.test", request.body["txt"].as_str().unwrap_or_default()).await;
        200
    })
    .await;
    let account = r#"{"username": "u", "password": "p4ss", "fulldomain": "x.auth.test", "subdomain": "x"}"#;
    let credentials = secret(&world, "acme-dns.json", account);
    let acme = format!(
        "challenges = [\"dns-01\"]\ndns = \"hook\"\n[dns.hook]\ntype = \"acme-dns\"\nurl = \"http://{}\"\n\
         credentials_file = \"{credentials}\"\n{}",
        service.address,
        resolvers(&world, 8053)
    );
    world.configure_agent(&settings(&pebble, &acme, &["a.test"]));
    let agent = world.start_agent();
    let error = refused(&world).await;
    assert!(error.contains("set this record: _acme-challenge.a.test. CNAME x.auth.test."), "{error}");
    dns.set_cname("_acme-challenge.a.test", "x.auth.test").await;
    let ran = renew(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    obtained(&world).await;
    assert!(!agent.log().contains("p4ss"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_an_address_by_tls_alpn_01() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let acme = format!("challenges = [\"tls-alpn-01\"]\n[tls_alpn01]\nlisten = \"{}:5001\"\n", world.address);
    world.configure_agent(&settings(&pebble, &acme, &["a.test", &world.address.to_string()]));
    let agent = world.start_agent();
    obtained(&world).await;
    assert!(names(&world).contains(&format!("IP Address:{}", world.address)));
    assert_eq!(agent.count("tls-alpn-01 for "), 2, "{}", agent.log());
    // Nothing asked for the listener of HTTP-01.
    assert!(std::net::TcpStream::connect((world.address, 5002)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_with_the_same_account_answers_without_state() {
    let (world, other) = (World::new(), World::new());
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let mut stateless = settings(&pebble, "", &["first.test"]);
    // `[http01]` stands right before the issuers.
    stateless.issuers = format!("stateless = true\n{}", stateless.issuers);
    world.configure_agent(&stateless);
    let _answering = world.start_agent();
    obtained(&world).await;

    // Names lead to the first agent; the second listens elsewhere, and nobody asks it.
    let copied = run(Command::new("sh").args([
        "-c",
        &format!(
            "mkdir -m 700 {0} && cp -a {1}/accounts {0}/",
            other.path("state").display(),
            world.path("state").display()
        ),
    ]));
    assert_eq!(copied.code, 0, "{copied:?}");
    other.configure_agent(&settings(&pebble, "", &["second.test"]));
    let ordering = other.start_agent();
    obtained(&other).await;
    assert_eq!(ordering.count("account registered"), 0, "{}", ordering.log());
    assert_eq!(pebble.orders(), 2);
}

/// A DNS server that answers, but never has our records: the inside of a split horizon.
fn inside_dns(world: &World) -> Option<Process> {
    let address = world.address;
    Some(Process::start(
        "inside",
        Command::new(tools::find("bin/pebble-challtestsrv")?)
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""])
            .args(["-dnsserver", &format!("{address}:8153"), "-management", &format!("{address}:8155")])
            .args(["-defaultIPv4", &address.to_string()]),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_defect_16_advisory_propagation_does_not_block_and_required_does() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let Some(inside) = inside_dns(&world) else { return };
    let configure = |mode: &str| {
        let more =
            format!("propagation = \"{mode}\"\npropagation_timeout = \"2s\"\n{}", resolvers(&world, 8153));
        let acme = format!("challenges = [\"dns-01\"]\n{}", exec_dns(&world, &more));
        world.configure_agent(&settings(&pebble, &acme, &["a.test"]));
    };
    eventually("the DNS inside", PATIENCE, || async {
        std::net::TcpStream::connect((world.address, 8153)).ok()
    })
    .await;
    configure("required");
    let mut agent = world.start_agent();
    let error = refused(&world).await;
    assert!(error.contains("TXT record at _acme-challenge.a.test cannot be seen"), "{error}");
    agent.terminate();
    assert!(agent.ended(PATIENCE).success());
    assert_eq!(pebble.server.count("Pulled a task"), 0, "the CA was asked to look");

    configure("advisory");
    let started = Instant::now();
    let agent = world.start_agent();
    world.admin().await;
    let ran = renew(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    obtained(&world).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "it was waited for");
    assert_eq!(agent.count("cannot be seen from here; going on"), 1, "{}", agent.log());
    drop(inside);
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_persist_01_says_which_record_to_set_and_uses_it() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let acme = format!("challenges = [\"dns-persist-01\"]\n{}", resolvers(&world, 8053));
    world.configure_agent(&settings(&pebble, &acme, &["*.a.test"]));
    let mut agent = world.start_agent();
    let error = refused(&world).await;
    let (_, record) = error.split_once("set this record once, then renew: ").expect(&error);
    let (name, rest) = record.split_once(". TXT \"").unwrap();
    let (value, _) = rest.split_once('"').unwrap();
    assert_eq!(name, "_validation-persist.a.test");
    pebble.dns().set_txt(name, value).await;
    let ran = renew(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(names(&world).contains("DNS:*.a.test"));
    assert_eq!(pebble.orders(), 1, "the order waited for the record");

    agent.terminate();
    assert!(agent.ended(PATIENCE).success());
    let agent = world.start_agent();
    let told = agent.line("dns-persist-01 needs this record", PATIENCE);
    assert!(told.contains(&format!("{name}. TXT \"{value}\"")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_failed_gives_way_to_the_next_one() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    // Pebble connects to port 5001, where nobody listens.
    let acme = format!(
        "challenges = [\"tls-alpn-01\", \"http-01\"]\n[tls_alpn01]\nlisten = \"{}:5101\"\n",
        world.address
    );
    world.configure_agent(&settings(&pebble, &acme, &["a.test"]));
    let agent = world.start_agent();
    let error = refused(&world).await;
    assert!(error.contains("the CA connected to a.test:443 for \"acme-tls/1\""), "{error}");
    let ran = renew(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("http-01 for a.test"), "{}", ran.out);
    assert_eq!(agent.count("tls-alpn-01 for a.test"), 1, "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_gives_way_at_once() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &ANEW).await else { return };
    let acme = format!(
        "challenges = [\"dns-01\", \"http-01\"]\ndns = \"hook\"\n[dns.hook]\ntype = \"exec\"\nprogram = \"/bin/false\"\n{}",
        resolvers(&world, 8053)
    );
    world.configure_agent(&settings(&pebble, &acme, &["a.test"]));
    let agent = world.start_agent();
    assert_eq!(obtained(&world).await.failures, 0);
    assert_eq!(agent.count("http-01 for a.test"), 1, "{}", agent.log());
}
