//! `make bench-issue`: how long it takes to obtain many certificates from Pebble: Sealwire, Caddy, and lego in a
//! loop, one after the other in one run, against Pebbles of their own. Both others take a time for each certificate
//! that does not depend on how many there are (Caddy starts ten orders in ten seconds, lego one after the other),
//! so fewer tell as much; what is compared is the time per certificate.

// A benchmark is what it prints.
#![allow(clippy::print_stdout)]

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::Process;
use sealwire_tests::world::World;

/// For each of the three.
const LIMIT: Duration = Duration::from_mins(10);
/// Orders under way in ours, most of which wait for the second that Pebble asks for between two looks.
const PARALLEL: usize = 64;
/// Certificates for each of the others.
const OTHERS: usize = 100;

#[tokio::main]
async fn main() -> Result<()> {
    let count: usize = match std::env::var("SEALWIRE_CERTIFICATES") {
        Ok(text) => text.parse().context("SEALWIRE_CERTIFICATES")?,
        Err(_) => 500,
    };
    println!("{count} certificates from Pebble (NOSLEEP, always valid, 5 % bad nonces), HTTP-01, P-256");
    let ours = sealwire(count).await?;
    let each = |took: Duration, count: usize| took.as_secs_f64() * 1000.0 / count as f64;
    println!("sealwire {count:>5} in {:>7.1} s, {:>7.1} ms each", ours.as_secs_f64(), each(ours, count));
    let (all, count) = (count, count.min(OTHERS));
    for (name, took) in [("caddy", caddy(count).await), ("lego", lego(count).await)] {
        match took {
            Ok(took) => println!(
                "{name:<8} {count:>5} in {:>7.1} s, {:>7.1} ms each: {:.1} times ours",
                took.as_secs_f64(),
                each(took, count),
                each(took, count) / each(ours, all)
            ),
            Err(error) => println!("{name:<10} not measured: {error:#}"),
        }
    }
    Ok(())
}

const PEBBLE: [(&str, &str); 2] = [("PEBBLE_VA_ALWAYS_VALID", "1"), ("PEBBLE_WFE_NONCEREJECT", "5")];

async fn pebble(world: &World) -> Result<Pebble> {
    Pebble::start(world, &PEBBLE).await.context("Pebble is not installed: tests/tools/install")
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("host-{index}.bench.test"))
}

async fn sealwire(count: usize) -> Result<Duration> {
    let world = World::new();
    let pebble = pebble(&world).await?;
    let mut text = format!(
        "state_dir = \"{0}state\"\n[delivery]\nsocket = \"{0}run/delivery.sock\"\n[admin]\nsocket = \"{0}run/admin.sock\"\n\
         [log]\nlevel = \"warn\"\n[http01]\nlisten = \"{1}:5002\"\n{2}parallel_orders = {PARALLEL}\n\
         [acme.pebble.limits]\norders = \"off\"\nper_domain = \"off\"\nper_set = \"off\"\nfailed_authorizations = \"off\"\n",
        world.path("").display(),
        world.address,
        pebble.issuer
    );
    for (index, name) in names(count).enumerate() {
        let _ =
            write!(text, "[[certificate]]\nname = \"c{index}\"\nidentifiers = [\"{name}\"]\nnodes = []\n");
    }
    world.write("agent.toml", &text);
    let started = Instant::now();
    let _agent = world.start_agent();
    loop {
        let all = world.status().await.map(|status| status.certificates).unwrap_or_default();
        if all.iter().filter(|certificate| certificate.state == "stored").count() == count {
            return Ok(started.elapsed());
        }
        ensure!(started.elapsed() < LIMIT, "not done within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn lego(count: usize) -> Result<Duration> {
    let world = World::new();
    let _pebble = pebble(&world).await?;
    let started = Instant::now();
    for name in names(count) {
        let mut command = Command::new("lego");
        command
            .env("LEGO_CA_CERTIFICATES", world.path("pebble-ca.pem"))
            .args(["--server", &format!("https://{}:14000/dir", world.address), "--accept-tos"])
            .args(["--email", "bench@example.com", "--key-type", "ec256", "--domains", &name, "--path"])
            .arg(world.path("lego"))
            .args(["--http", "--http.port", &format!("{}:5002", world.address), "run"]);
        let ran =
            tokio::task::block_in_place(|| command.stdout(Stdio::null()).stderr(Stdio::piped()).output());
        let ran = ran.context("lego is not installed: apt-get install lego")?;
        ensure!(ran.status.success(), "lego: {}", String::from_utf8_lossy(&ran.stderr));
        ensure!(started.elapsed() < LIMIT, "not done within {LIMIT:?}");
    }
    Ok(started.elapsed())
}

async fn caddy(count: usize) -> Result<Duration> {
    let world = World::new();
    let _pebble = pebble(&world).await?;
    let (address, dir) = (world.address, world.path("caddy"));
    let mut text = format!(
        "{{\n admin off\n http_port 5002\n https_port 5443\n default_bind {address}\n email bench@example.com\n \
         acme_ca https://{address}:14000/dir\n acme_ca_root {}\n storage file_system {}\n \
         cert_issuer acme {{\n  disable_tlsalpn_challenge\n }}\n log {{\n  level ERROR\n }}\n}}\n",
        world.path("pebble-ca.pem").display(),
        dir.display()
    );
    for name in names(count) {
        let _ = write!(text, "{name} {{\n respond ok\n}}\n");
    }
    let config = world.write("Caddyfile", &text);
    let started = Instant::now();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
    ensure!(which("caddy"), "caddy is not installed: apt-get install caddy");
    let process = Process::start("caddy", &mut command);
    loop {
        if files(&dir, "crt") == count {
            return Ok(started.elapsed());
        }
        ensure!(started.elapsed() < LIMIT, "only {} within {LIMIT:?}: {}", files(&dir, "crt"), process.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn which(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// How many files with an extension lie below a directory.
fn files(dir: &Path, extension: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files(&path, extension)
            } else {
                usize::from(path.extension().is_some_and(|e| e == extension))
            }
        })
        .sum()
}
