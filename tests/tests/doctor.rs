//! The pre-flight check against Pebble and its DNS server: what is wrong is found, and nothing is ordered or
//! written.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use sealwire_agent::config::Config;
use sealwire_agent::doctor::{Finding, Level, Options, run, worst};
use sealwire_tests::hook::{Service, obtained, settings};
use sealwire_tests::pebble::Pebble;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Pebble's ports instead of 80 and 443.
fn options() -> Options {
    Options { http_port: 5002, tls_port: 5001, ..Options::default() }
}

async fn doctor(world: &World, options: Options) -> Vec<Finding> {
    let config = Config::load(&world.path("agent.toml")).unwrap();
    but_for_the_room(Box::pin(run(config, options)).await.unwrap())
}

/// Without what is said of the room on the disk of this machine, which is not ours to fill or to empty.
fn but_for_the_room(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| !finding.message.contains(" %) are free")).collect()
}

/// Names, modes, times of change and content of everything below a directory.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u32, SystemTime, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let found = std::fs::symlink_metadata(&path).unwrap();
        let content = if found.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        if found.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen.insert(path, (found.permissions().mode(), found.modified().unwrap(), content));
    }
    seen
}

/// The only finding of a check on a subject that begins so.
fn only<'a>(findings: &'a [Finding], check: &str, subject: &str) -> &'a Finding {
    let mut found =
        findings.iter().filter(|finding| finding.check == check && finding.subject.starts_with(subject));
    let first = found.next().unwrap_or_else(|| panic!("no {check} of {subject}: {findings:#?}"));
    assert!(found.next().is_none(), "{findings:#?}");
    first
}

fn acme(world: &World) -> String {
    let address = world.address;
    format!(
        "challenges = [\"http-01\", \"tls-alpn-01\"]\nresolvers = [\"{address}:8053\"]\n\
         [tls_alpn01]\nlisten = \"{address}:5001\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_setup_before_the_start_beside_the_agent_and_after_it() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    pebble
        .dns()
        .set(
            "add-caa",
            &json!({"host": "a.test.", "policies": [{"tag": "issue", "value": "pebble.letsencrypt.org"}]}),
        )
        .await;
    let own = world.address.to_string();
    world.configure_agent(&settings(&pebble, &acme(&world), &["a.test", &own]));

    let before = doctor(&world, options()).await;
    assert_eq!(worst(&before), Level::Ok, "{before:#?}");
    for check in ["http-01", "tls-alpn-01"] {
        for name in ["a.test", &own] {
            let leads = only(&before, check, &format!("{name} at "));
            assert!(leads.message.starts_with("leads to "), "{leads:?}");
        }
    }
    assert!(only(&before, "caa", "a.test").message.contains("at a.test. allow"), "{before:#?}");
    assert!(!world.path("state").exists() && !world.path("run").exists());
    assert_eq!(pebble.server.count("POST "), 0, "{}", pebble.server.log());

    let mut agent = world.start_agent();
    obtained(&world).await;
    let (posts, orders) = (pebble.server.count("POST "), pebble.orders());
    assert_eq!(orders, 1);
    let beside = doctor(&world, options()).await;
    assert_eq!(worst(&beside), Level::Ok, "{beside:#?}");
    let has_it = |finding: &&Finding| finding.check == "state" && finding.message.starts_with("an agent");
    let running = beside.iter().find(has_it).unwrap_or_else(|| panic!("{beside:#?}"));
    assert!(running.message.contains(&agent.pid().to_string()), "{running:?}");
    assert_eq!(only(&beside, "http-01", "a.test").message, "is answered as the running agent does");
    assert_eq!(only(&beside, "tls-alpn-01", "a.test").message, "is answered as the running agent does");

    agent.terminate();
    assert!(agent.ended(PATIENCE).success());
    let was = snapshot(&world.path("state"));
    let after = doctor(&world, options()).await;
    assert_eq!(worst(&after), Level::Ok, "{after:#?}");
    assert_eq!(snapshot(&world.path("state")), was);
    assert_eq!((pebble.server.count("POST "), pebble.orders()), (posts, orders));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_validated() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    let dns = pebble.dns();
    dns.set("set-default-ipv4", &json!({"ip": ""})).await;
    let names = ["gone.test", "dead.test", "caa.test", "account.test", "method.test", "servfail.test"];
    for name in names.iter().skip(1) {
        dns.set("add-a", &json!({"host": format!("{name}."), "addresses": [world.address.to_string()]}))
            .await;
    }
    dns.set("add-aaaa", &json!({"host": "dead.test.", "addresses": ["::1"]})).await;
    let ours = "pebble.letsencrypt.org";
    for (name, value) in [
        ("caa.test.", "ca2.example".to_owned()),
        ("account.test.", format!("{ours}; accounturi=https://ca.example/account/7")),
        ("method.test.", format!("{ours}; validationmethods=dns-01")),
    ] {
        dns.set("add-caa", &json!({"host": name, "policies": [{"tag": "issue", "value": value}]})).await;
    }
    dns.set("set-servfail", &json!({"host": "servfail.test."})).await;
    world.configure_agent(&settings(&pebble, &acme(&world), &names));
    let findings = doctor(&world, options()).await;
    assert_eq!(worst(&findings), Level::Error);

    let error = |check: &str, subject: &str, message: &str, advice: &str| {
        let found = only(&findings, check, subject);
        assert_eq!(found.level, Level::Error, "{found:?}");
        assert!(found.message.contains(message), "{found:?}");
        assert!(found.advice.as_deref().unwrap().contains(advice), "{found:?}");
    };
    error("dns", "gone.test", "has no address", "gone.test. A ADDRESS");
    error("caa", "caa.test", "do not allow", &format!("add a record: caa.test. CAA 0 issue \"{ours}\""));
    error("caa", "account.test", "account https://ca.example/account/7 only", "accounturi");
    error("caa", "method.test", "only by \"dns-01\"", "validationmethods=http-01,tls-alpn-01");
    error("caa", "servfail.test", "Server Failure", "dig CAA servfail.test.");
    let dead = only(&findings, "http-01", "dead.test at [::1]:5002");
    assert_ne!(dead.level, Level::Ok, "{dead:?}");
    assert!(dead.advice.as_deref().unwrap().contains("remove the AAAA record"), "{dead:?}");
    let living = only(&findings, "http-01", &format!("dead.test at {}", world.address));
    assert_eq!(living.level, Level::Ok, "{living:?}");
    assert_eq!(only(&findings, "caa", "gone.test").level, Level::Ok);
    assert_eq!(pebble.server.count("POST "), 0, "{}", pebble.server.log());
    assert!(!world.path("state").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_01_is_followed_over_its_alias_and_nothing_is_set() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    pebble.dns().set("set-default-ipv4", &json!({"ip": ""})).await;
    pebble.dns().set_cname("_acme-challenge.a.test", "x.delegated.example").await;
    let acme = format!(
        "challenges = [\"dns-01\"]\ndns = \"hook\"\nresolvers = [\"{}:8053\"]\n\
         [dns.hook]\ntype = \"exec\"\nprogram = \"/usr/bin/touch\"\nargs = [\"{}\"]\n",
        world.address,
        world.path("called").display()
    );
    world.configure_agent(&settings(&pebble, &acme, &["a.test", "*.a.test"]));
    let findings = doctor(&world, options()).await;
    // challtestsrv knows no NS records; a name without an address is no matter here.
    assert_eq!(worst(&findings), Level::Warning, "{findings:#?}");
    let record = only(&findings, "dns-01", "_acme-challenge.a.test");
    assert!(record.message.contains("goes to x.delegated.example., but no zone"), "{record:?}");
    assert!(record.advice.as_deref().unwrap().contains("dig NS"), "{record:?}");
    assert!(
        !findings.iter().any(|finding| matches!(finding.check, "dns" | "http-01" | "listen")),
        "{findings:#?}"
    );
    assert!(!world.path("called").exists());
    assert_eq!(pebble.server.count("POST "), 0);
}

/// A CA that has a directory and nonces, says that it is `date`, and notes what it is asked.
async fn directory(world: &World, date: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((world.address, 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let body = json!({
        "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
        "newOrder": format!("{base}/order"),
        "meta": {"externalAccountRequired": true, "profiles": {"short": "6 days"}}
    });
    let reply = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nReplay-Nonce: abc\r\nConnection: close\r\nContent-Length: "
    );
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let line = head.lines().next().unwrap_or_default().to_owned();
            let body = if line.starts_with("HEAD") { String::new() } else { body.to_string() };
            heard.lock().unwrap().push(line);
            let reply = format!("{reply}{}\r\n\r\n{body}", body.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (base, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_a_ca_that_wants_more_and_a_wrong_server() {
    let world = World::new();
    // Its DNS server is what is needed.
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    let wrong = Service::start(world.address, |_| async { 404 }).await;
    for (seconds, level) in [(3600, Level::Error), (120, Level::Warning)] {
        let ca = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let date = ca.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let (base, asked) = directory(&world, &date).await;
        let issuers = format!(
            "[acme.test]\ndirectory = \"{base}/dir\"\nterms_of_service_agreed = true\nprofile = \"long\"\n\
             resolvers = [\"{}:8053\"]\n",
            world.address
        );
        let identifiers = vec!["a.test".to_owned()];
        world.configure_agent(&AgentSettings { issuers, identifiers, ..AgentSettings::default() });
        let findings = doctor(&world, Options { http_port: wrong.address.port(), ..options() }).await;

        let clock = only(&findings, "clock", "test");
        assert_eq!(clock.level, level, "{clock:?}");
        assert!(clock.message.contains(" behind that of test"), "{clock:?}");
        let ca = |text: &str| {
            let about = |finding: &&Finding| finding.check == "ca" && finding.message.contains(text);
            findings.iter().find(about).unwrap_or_else(|| panic!("{text}: {findings:#?}")).level
        };
        assert_eq!(ca("external account binding"), Level::Error);
        assert_eq!(ca("no profile \"long\"; it offers short"), Level::Error);
        assert_eq!(ca("gives nonces"), Level::Ok);
        let server = only(&findings, "http-01", "a.test at ");
        assert_eq!(server.level, Level::Error);
        assert!(server.message.contains("answered by something else: HTTP 404"), "{server:?}");
        assert!(server.advice.as_deref().unwrap().contains("/.well-known/acme-challenge/"), "{server:?}");
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked, ["GET /dir HTTP/1.1", "HEAD /nonce HTTP/1.1"]);
    }
    assert_eq!(pebble.server.count("POST "), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_and_what_is_in_the_state_directory() {
    let world = World::new();
    let (mut agent, _node) = world.start().await;
    agent.kill();
    let run = |arguments: &[&str]| {
        tokio::task::block_in_place(|| world.run(["doctor"].into_iter().chain(arguments.iter().copied())))
    };
    let mode = |mode| {
        std::fs::set_permissions(world.path("state"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let state = world.path("state").display().to_string();
    let sound = run(&[]);
    assert_eq!(sound.code, 0, "{sound:?}");
    let low = sound.out.contains("warning  state: ") && sound.out.contains(" %) are free");
    let warnings = u32::from(low);
    assert!(sound.out.ends_with(&format!("0 error(s), {warnings} warning(s)\n")), "{}", sound.out);

    mode(0o755);
    let open = run(&["web"]);
    assert_eq!(open.code, 1, "{open:?}");
    assert!(
        open.out.contains("\nerror    state: ") || open.out.starts_with("error    state: "),
        "{}",
        open.out
    );
    assert!(open.out.contains(&format!("         do: chmod 0700 {state}\n")), "{}", open.out);
    mode(0o700);

    let unknown = run(&["other"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("no certificate is named \"other\"; known: web"), "{}", unknown.err);

    let leaf = std::fs::canonicalize(world.path("state/live/web/fullchain.pem")).unwrap();
    std::fs::write(&leaf, "cut").unwrap();
    let memory = world.write("state/certificates/web/memory.json", "{");
    let was = snapshot(&world.path("state"));
    let damaged = run(&["--json"]);
    assert_eq!(damaged.code, 1, "{damaged:?}");
    let findings: Value = serde_json::from_str(&damaged.out).unwrap();
    let of = |path: &Path| {
        let about = |finding: &&Value| {
            finding["level"] != "ok" && finding.to_string().contains(&path.display().to_string())
        };
        findings.as_array().unwrap().iter().find(about).unwrap_or_else(|| panic!("{findings:#}")).clone()
    };
    assert_eq!(of(&leaf)["level"], "error");
    assert!(of(&leaf)["advice"].as_str().unwrap().contains("sealwire renew web"));
    assert_eq!(of(&memory)["level"], "warning");
    assert_eq!(snapshot(&world.path("state")), was);
}
