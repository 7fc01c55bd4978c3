//! Servers that are not ours: real ones get a certificate, serve it, and get the next one. Whatever stands in the way,
//! it is told, what was served stays served, and they have it once nothing stands in the way any more.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sealwire_proto::probe::handshake;
use sealwire_proto::v1::{CertificateStatus, DeliveryStatus};
use sealwire_tests::envoy::{self, Xds};
use sealwire_tests::hostile::{Hostile, Leaf};
use sealwire_tests::process::{Process, Ran, run};
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};

/// One target of "web", which goes to no node of ours.
fn configure(world: &World, target: &str) {
    let certificate = format!("nodes = []\n[[certificate.deploy]]\n{target}");
    world.configure_agent(&AgentSettings { certificate, ..AgentSettings::default() });
}

fn public(world: &World) -> SocketAddr {
    (world.address, 9443).into()
}

/// The leaf that a server presents.
async fn leaf(address: SocketAddr) -> Option<[u8; 32]> {
    let seen = handshake(&address.to_string(), "node.test", Duration::from_secs(5)).await;
    seen.ok().map(|seen| seen.leaf_sha256)
}

async fn renew(world: &World) -> Renewal {
    Renewal::follow(&mut world.admin().await, true).await.unwrap()
}

/// What status says of the only target, once that is as wanted.
async fn target(world: &World, what: &str, wanted: impl Fn(&DeliveryStatus) -> bool) -> DeliveryStatus {
    eventually(what, PATIENCE, || async {
        let web = world.web().await?;
        web.deliveries.into_iter().next().filter(&wanted)
    })
    .await
}

/// Waits until the newest generation is proven, and is the one that the server presents.
async fn serves(world: &World, address: SocketAddr, generation: u64) -> CertificateStatus {
    let web = eventually(&format!("generation {generation} is proven"), PATIENCE, || async {
        let web = world.web().await.filter(|web| web.state == "proven")?;
        (web.current.as_ref()?.generation == generation).then_some(web)
    })
    .await;
    assert_eq!(leaf(address).await.unwrap().to_vec(), web.current.as_ref().unwrap().leaf_sha256);
    web
}

async fn metrics(world: &World) -> String {
    world.admin().await;
    reqwest::get(format!("http://{}:9464/metrics", world.address)).await.unwrap().text().await.unwrap()
}

/// A real nginx.
struct Nginx {
    program: PathBuf,
    conf: PathBuf,
    prefix: PathBuf,
}

impl Nginx {
    fn new(world: &World) -> Option<Self> {
        let program = tools::find("nginx")?;
        let live = world.path("tls/live");
        let text = format!(
            "daemon off;\npid nginx.pid;\nerror_log stderr info;\nevents {{ worker_connections 64; }}\n\
             http {{\nclient_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;\n\
             scgi_temp_path t5; access_log off;\ninclude extra*.conf;\n\
             server {{ listen {} ssl; ssl_certificate {live}/fullchain.pem;\n\
             ssl_certificate_key {live}/privkey.pem; return 204; }}\n}}\n",
            public(world),
            live = live.display()
        );
        Some(Self { program, conf: world.write("nginx.conf", &text), prefix: world.path("") })
    }

    /// Its command line, with these at the end.
    fn command(&self, more: &[&str]) -> Vec<String> {
        let own = [
            &self.program,
            &"-p".into(),
            &self.prefix,
            &"-e".into(),
            &"stderr".into(),
            &"-c".into(),
            &self.conf,
        ]
        .map(|part: &PathBuf| part.display().to_string());
        own.into_iter().chain(more.iter().map(|one| (*one).to_owned())).collect()
    }

    fn start(&self) -> Process {
        let command = self.command(&[]);
        Process::start("nginx", Command::new(&command[0]).args(&command[1..]))
    }

    fn reload(&self) -> Ran {
        let command = self.command(&["-s", "reload"]);
        run(Command::new(&command[0]).args(&command[1..]))
    }
}

fn nginx_target(world: &World, nginx: &Nginx, how: &str) -> String {
    format!(
        "name = \"edge\"\ntype = \"nginx\"\ndirectory = \"{}\"\nprove = [\"{}\"]\nserver_names = [\"node.test\"]\n\
         test = {:?}\n{how}\n",
        world.path("tls").display(),
        public(world),
        nginx.command(&["-t", "-q"])
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_has_it_once_it_is_up_and_keeps_what_was_good() {
    let world = World::new();
    let Some(nginx) = Nginx::new(&world) else { return };
    let reload = format!("reload = {:?}", nginx.command(&["-s", "reload"]));
    configure(&world, &nginx_target(&world, &nginx, &reload));
    let agent = world.start_agent();

    // It is down: that is told, and nothing is given up.
    let told = target(&world, "the reload fails", |target| target.nacked == 1).await;
    assert_eq!((told.node_id.as_str(), told.nack_reason.as_str()), ("edge", "INTERNAL"), "{told:?}");
    assert!(told.nack_detail.contains("(`reload`)") && told.nack_detail.contains("attempt "), "{told:?}");
    let status = tokio::task::block_in_place(|| world.run(["status"]));
    assert!(status.out.contains("! web: edge refused generation 1: INTERNAL: "), "{status:?}");
    let _told = agent.line("a target does not serve what it should", PATIENCE);
    let _running = nginx.start();
    let web = serves(&world, public(&world), 1).await;
    assert_eq!((web.deliveries[0].nacked, web.quarantined_generation), (0, 0), "{web:?}");

    let renewal = renew(&world).await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    let web = serves(&world, public(&world), 2).await;
    let good = web.current.unwrap().leaf_sha256;

    // Somebody breaks its configuration: the files of before come back, so that a restart would work as before.
    let broken = world.write("extra-broken.conf", "nonsense;\n");
    let renewal = renew(&world).await;
    assert!(!renewal.is_done(), "{:?}", renewal.steps);
    let told = target(&world, "the test fails", |target| target.nacked == 3).await;
    assert!(
        told.nack_detail.contains("nonsense") && told.nack_detail.contains("those of before"),
        "{told:?}"
    );
    assert_eq!(leaf(public(&world)).await.unwrap().to_vec(), good);
    std::fs::remove_file(broken).unwrap();
    serves(&world, public(&world), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_reloaded_by_whoever_watches_the_signal_file() {
    let world = World::new();
    let Some(nginx) = Nginx::new(&world) else { return };
    let signal = world.path("reload-nginx");
    let how = format!("signal_file = \"{}\"", signal.display());
    // Only root may judge the files of other users' servers.
    let target = nginx_target(&world, &nginx, &how).replace("test = ", "# test = ");
    configure(&world, &target);
    let _agent = world.start_agent();
    eventually("the signal", PATIENCE, || async { std::fs::read_to_string(&signal).ok() }).await;
    let _running = nginx.start();
    serves(&world, public(&world), 1).await;

    // What the path unit does.
    let before = std::fs::read_to_string(&signal).unwrap();
    let (renewal, ()) = tokio::join!(renew(&world), async {
        eventually("another signal", PATIENCE, || async {
            std::fs::read_to_string(&signal).ok().filter(|now| !now.is_empty() && *now != before)
        })
        .await;
        assert_eq!(nginx.reload().code, 0);
    });
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    serves(&world, public(&world), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_put_files_into_service() {
    let world = World::new();
    let Some(nginx) = Nginx::new(&world) else { return };
    let (said, reload) = (world.path("said"), nginx.command(&["-s", "reload"]).join(" "));
    let said_by = |what: &str| {
        let script = format!("echo {what} $SEALWIRE_GENERATION $RENEWED_DOMAINS >> {}", said.display());
        vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
    };
    let deploy =
        vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("{} && exec {reload}", said_by("deploy")[2])];
    configure(
        &world,
        &format!(
            "name = \"mail\"\ntype = \"files\"\ndirectory = \"{}\"\nprove = [\"{}\"]\nserver_names = [\"node.test\"]\n\
             pre = {:?}\ndeploy = {deploy:?}\npost = {:?}\n",
            world.path("tls").display(),
            public(&world),
            said_by("pre"),
            said_by("post"),
        ),
    );
    let _agent = world.start_agent();
    let told = target(&world, "the hook fails", |target| target.nacked == 1).await;
    assert!(told.nack_detail.contains("(`deploy`)"), "{told:?}");
    let _running = nginx.start();
    serves(&world, public(&world), 1).await;
    std::fs::remove_file(&said).unwrap();
    let renewal = renew(&world).await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    serves(&world, public(&world), 2).await;
    let names = format!("2 node.test {}", world.address);
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(said, format!("pre {names}\ndeploy {names}\npost {names}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_takes_it_while_it_runs_and_has_it_after_a_restart() {
    let world = World::new();
    let Some(program) = tools::find("haproxy") else { return };
    let (pem, socket) = (world.path("web.pem"), world.path("haproxy.sock"));
    let conf = world.write(
        "haproxy.cfg",
        &format!(
            "global\n  stats socket {} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 5s\n  timeout server 5s\n\
             frontend public\n  bind {} ssl crt {}\n  http-request return status 204\n",
            socket.display(),
            public(&world),
            pem.display()
        ),
    );
    let start = || Process::start("haproxy", Command::new(&program).arg("-db").arg("-f").arg(&conf));
    let target_toml = format!(
        "name = \"lb\"\ntype = \"haproxy\"\npem_file = \"{}\"\nsocket = \"{}\"\nprove = [\"{}\"]\n\
         server_names = [\"node.test\"]\ntimeout = \"1s\"\n",
        pem.display(),
        socket.display(),
        public(&world)
    );
    configure(&world, &target_toml);
    let text = std::fs::read_to_string(world.path("agent.toml")).unwrap();
    let listen = format!("[admin]\nmetrics = \"{}:9464\"\n", world.address);
    world.write("agent.toml", &text.replace("[admin]\n", &listen));
    let agent = world.start_agent();

    // It is down: it finds the new one when it starts.
    let told = target(&world, "nobody answers", |target| target.nacked == 1).await;
    assert!(told.nack_detail.contains("for when HAProxy starts"), "{told:?}");
    assert_eq!(std::fs::metadata(&pem).unwrap().permissions().mode() & 0o777, 0o600);
    let mut haproxy = start();
    serves(&world, public(&world), 1).await;

    let renewal = renew(&world).await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    serves(&world, public(&world), 2).await;
    assert!(haproxy.is_running(), "it was not restarted");

    // It hangs, and comes back.
    haproxy.freeze();
    let renewal = renew(&world).await;
    assert!(!renewal.is_done(), "{:?}", renewal.steps);
    let told = target(&world, "it does not answer", |target| target.nacked == 3).await;
    assert!(told.nack_detail.contains("did not answer within 1s"), "{told:?}");
    haproxy.go_on();
    let web = serves(&world, public(&world), 3).await;
    haproxy.kill();
    let _again = start();
    eventually("the restarted one serves it", PATIENCE, || async { leaf(public(&world)).await }).await;
    assert_eq!(leaf(public(&world)).await.unwrap().to_vec(), web.current.unwrap().leaf_sha256);

    let metrics = metrics(&world).await;
    assert!(metrics.contains("sealwire_target_proven{target=\"lb\",certificate=\"web\"} 1"), "{metrics}");
    let refused = "sealwire_target_attempts_total{target=\"lb\",certificate=\"web\",outcome=\"refused\"}";
    assert!(metrics.contains(refused), "{metrics}");
    let status = tokio::task::block_in_place(|| world.run(["node", "halt", "lb"]));
    assert_eq!((status.code, status.err.contains("cannot be halted")), (2, true), "{status:?}");
    drop(agent);

    // An agent that comes back finds it served, and disturbs nobody.
    let agent = world.start_agent();
    serves(&world, public(&world), 3).await;
    assert_eq!(agent.count("a target does not serve"), 0, "{}", agent.log());
}

/// Sets out an agent with a CA that does as it is told, and an Envoy.
async fn with_envoy(how: Xds) -> Option<(World, Hostile, Process, Process)> {
    let world = World::new();
    let ca = Hostile::start(&world).await;
    let target = format!(
        "nodes = []\n[[certificate.deploy]]\nname = \"envoy-1\"\ntype = \"sds\"\nprove = [\"{}\"]\n\
         server_names = [\"node.test\"]\n",
        envoy::address(&world)
    );
    world.configure_agent(&AgentSettings {
        issuers: ca.issuer.clone(),
        certificate: target,
        ..AgentSettings::default()
    });
    let envoy = envoy::start(&world, "envoy-1", how)?;
    let agent = world.start_agent();
    Some((world, ca, agent, envoy))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_rotates_and_keeps_what_it_has_when_it_refuses() {
    let Some((world, ca, agent, mut envoy)) = with_envoy(Xds::StreamSecrets).await else { return };
    let address = envoy::address(&world);
    serves(&world, address, 1).await;
    let status = world.status().await.unwrap();
    let node = status.nodes.iter().find(|node| node.node_id == "envoy-1").unwrap();
    assert!(node.connected && node.ready && node.version == "envoy 1.40.0", "{node:?}");
    let renewal = renew(&world).await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    let good = serves(&world, address, 2).await.current.unwrap().leaf_sha256;

    // Sound for us, and not for Envoy: it wants a staple that nobody gives.
    ca.issue(Leaf::MustStaple);
    let renewal = renew(&world).await;
    assert!(!renewal.is_done(), "{:?}", renewal.steps);
    let web = eventually("generation 3 is refused", PATIENCE, || async {
        let web = world.web().await?;
        (web.quarantined_generation == 3 && web.deliveries[0].serving == 2).then_some(web)
    })
    .await;
    let told = &web.deliveries[0];
    assert_eq!((told.nacked, told.nack_reason.as_str()), (3, "BAD_STAPLE"), "{told:?}");
    assert!(told.nack_detail.contains("must-staple"), "{told:?}");
    assert_eq!((web.state.as_str(), web.current.unwrap().generation), ("refused", 2));
    assert_eq!(leaf(address).await.unwrap().to_vec(), good);
    let status = tokio::task::block_in_place(|| world.run(["status"]));
    assert!(status.out.contains("envoy-1 refused generation 3: BAD_STAPLE"), "{status:?}");

    ca.issue(Leaf::Good);
    let renewal = renew(&world).await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    let web = serves(&world, address, 4).await;
    assert_eq!(web.deliveries[0].nacked, 0, "{web:?}");

    // Either side may restart.
    envoy.kill();
    target(&world, "it is gone", |target| !target.connected).await;
    let _envoy = envoy::start(&world, "envoy-1", Xds::StreamSecrets).unwrap();
    target(&world, "it is back", |target| target.connected).await;
    serves(&world, address, 4).await;
    drop(agent);
    let _agent = world.start_agent();
    target(&world, "it has dialled again", |target| target.connected).await;
    serves(&world, address, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_rotates_incrementally() {
    let Some((world, _ca, _agent, _envoy)) = with_envoy(Xds::DeltaSecrets).await else { return };
    let address = envoy::address(&world);
    serves(&world, address, 1).await;
    let renewal = renew(&world).await;
    assert!(renewal.is_done(), "{:?}", renewal.steps);
    serves(&world, address, 2).await;
}
